-- One function for each write that has more than one statement: a round trip, and no lock is held while PostgreSQL
-- waits for parlor.
--
-- Every function locks rows in the same order: user, room, membership, invite. `FOR SHARE` lets joins of an unlimited
-- room run beside each other, and still waits for a disabling or a close that is about to commit. The outcome
-- 'done' means success; every other one leaves the tables unchanged.

-- Members who count: no expired guests, and no disabled users, whose membership is kept until they are enabled.
CREATE FUNCTION active_members(p_room text, p_now timestamptz) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT count(*) FROM room_participants p JOIN users u ON u.id = p.user_id
    WHERE p.room_id = p_room AND p.left_at IS NULL AND u.disabled_at IS NULL
      AND (u.guest_until IS NULL OR u.guest_until > p_now)
$$;

CREATE FUNCTION is_member_anywhere(p_user text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM room_participants WHERE user_id = p_user AND left_at IS NULL)
$$;

-- The reason why a user may not act at all, or NULL.
CREATE FUNCTION inactive(u users, p_now timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN u.id IS NULL OR u.deleted_at IS NOT NULL THEN 'no-such-user'
        WHEN u.disabled_at IS NOT NULL THEN 'user-disabled'
        WHEN u.guest_until <= p_now THEN 'guest-expired'
    END
$$;

CREATE FUNCTION create_user(
    p_id text, p_name text, p_display_name text, p_hash text, p_admin boolean, p_now timestamptz, OUT outcome text
) LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO users (id, name, display_name, password_hash, is_admin, created_at)
    VALUES (p_id, p_name, p_display_name, p_hash, p_admin, p_now) ON CONFLICT DO NOTHING;
    outcome := CASE WHEN FOUND THEN 'done' ELSE 'name-taken' END;
END $$;

-- Returns the user, also a deleted one, and creates a missing one. If another user has the name, a number is added.
CREATE FUNCTION provision_user(p_id text, p_display_name text, p_now timestamptz) RETURNS SETOF users
LANGUAGE plpgsql AS $$
DECLARE
    number integer := 1;
BEGIN
    LOOP
        RETURN QUERY SELECT * FROM users WHERE id = p_id;
        EXIT WHEN FOUND;
        INSERT INTO users (id, name, display_name, created_at)
        VALUES (p_id, p_id || CASE number WHEN 1 THEN '' ELSE '~' || number END, p_display_name, p_now)
        ON CONFLICT DO NOTHING;
        number := number + 1;
    END LOOP;
END $$;

CREATE FUNCTION revoke_invites_of(p_user text, p_now timestamptz, OUT revoked bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE room_invites SET revoked_at = p_now
    WHERE created_by = p_user AND expires_at > p_now
      AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0);
    GET DIAGNOSTICS revoked = ROW_COUNT;
END $$;

CREATE FUNCTION disable_user(p_id text, p_now timestamptz) RETURNS TABLE (account users, revoked bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE users SET disabled_at = p_now, token_generation = token_generation + 1, tokens_from = p_now
    WHERE id = p_id AND disabled_at IS NULL AND deleted_at IS NULL;
    SELECT * INTO account FROM users WHERE id = p_id AND deleted_at IS NULL;
    IF FOUND THEN
        revoked := revoke_invites_of(p_id, p_now);
        RETURN NEXT;
    END IF;
END $$;

-- Returns the user as they were.
CREATE FUNCTION delete_user(p_id text, p_display_name text, p_now timestamptz)
RETURNS TABLE (account users, revoked bigint) LANGUAGE plpgsql AS $$
BEGIN
    SELECT * INTO account FROM users WHERE id = p_id AND deleted_at IS NULL FOR NO KEY UPDATE;
    IF FOUND THEN
        UPDATE users SET deleted_at = p_now, name = id, display_name = p_display_name, password_hash = NULL,
                         is_admin = false
        WHERE id = p_id;
        UPDATE room_participants SET left_at = p_now WHERE user_id = p_id AND left_at IS NULL;
        revoked := revoke_invites_of(p_id, p_now);
        RETURN NEXT;
    END IF;
END $$;

CREATE FUNCTION create_room(
    p_id text, p_name text, p_private boolean, p_max integer, p_owner text, p_max_owned bigint, p_now timestamptz,
    OUT outcome text
) LANGUAGE plpgsql AS $$
DECLARE
    owner users;
BEGIN
    outcome := CASE
        WHEN EXISTS (SELECT 1 FROM coworking_rooms WHERE id = p_id) THEN 'id-taken'
        WHEN EXISTS (SELECT 1 FROM coworking_rooms WHERE name = p_name AND closed_at IS NULL) THEN 'name-taken'
    END;
    IF outcome IS NULL AND p_owner IS NOT NULL THEN
        -- Rooms of one owner are created one after the other, so that the limit holds.
        SELECT * INTO owner FROM users WHERE id = p_owner FOR NO KEY UPDATE;
        outcome := CASE
            WHEN NOT FOUND THEN 'no-such-owner'
            WHEN NOT owner.is_admin AND p_max_owned <=
                 (SELECT count(*) FROM coworking_rooms WHERE owner_id = p_owner AND closed_at IS NULL)
                THEN 'too-many-rooms'
        END;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO coworking_rooms (id, name, is_private, max_participants, owner_id, created_at)
    VALUES (p_id, p_name, p_private, p_max, p_owner, p_now) ON CONFLICT DO NOTHING;
    outcome := CASE
        WHEN FOUND THEN 'done'
        WHEN EXISTS (SELECT 1 FROM coworking_rooms WHERE id = p_id) THEN 'id-taken'
        ELSE 'name-taken'
    END;
END $$;

-- p_name and p_private are NULL, and p_set_max is false, for values that do not change. A room may keep its name, even
-- one that is not valid (p_name_valid).
CREATE FUNCTION change_room(
    p_id text, p_name text, p_name_valid boolean, p_private boolean, p_set_max boolean, p_max integer,
    OUT outcome text, OUT room coworking_rooms
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT * INTO room FROM coworking_rooms WHERE id = p_id FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'no-such-room'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN p_name <> room.name AND NOT p_name_valid THEN 'bad-name'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    BEGIN
        UPDATE coworking_rooms
        SET name = coalesce(p_name, name), is_private = coalesce(p_private, is_private),
            max_participants = CASE WHEN p_set_max THEN p_max ELSE max_participants END
        WHERE id = p_id RETURNING * INTO room;
        outcome := 'done';
    EXCEPTION WHEN unique_violation THEN
        outcome := 'name-taken';
    END;
END $$;

-- Returns no row if there is no such room.
CREATE FUNCTION close_room(p_id text, p_now timestamptz)
RETURNS TABLE (room coworking_rooms, members text[], elsewhere boolean[]) LANGUAGE plpgsql AS $$
BEGIN
    members := '{}';
    elsewhere := '{}';
    UPDATE coworking_rooms SET closed_at = p_now WHERE id = p_id AND closed_at IS NULL;
    IF FOUND THEN
        WITH ended AS (
            UPDATE room_participants SET left_at = p_now WHERE room_id = p_id AND left_at IS NULL RETURNING user_id
        )
        SELECT coalesce(array_agg(user_id ORDER BY user_id), '{}') INTO members FROM ended;
        SELECT coalesce(array_agg(is_member_anywhere(m.id) ORDER BY m.id COLLATE "C"), '{}') INTO elsewhere
        FROM unnest(members) m (id);
    END IF;
    SELECT * INTO room FROM coworking_rooms WHERE id = p_id;
    IF FOUND THEN
        RETURN NEXT;
    END IF;
END $$;

CREATE FUNCTION delete_room(p_id text, p_now timestamptz)
RETURNS TABLE (room coworking_rooms, members text[], elsewhere boolean[]) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM close_room(p_id, p_now);
    DELETE FROM room_messages WHERE room_id = p_id;
    DELETE FROM room_invites WHERE room_id = p_id;
    DELETE FROM room_bans WHERE room_id = p_id;
    UPDATE coworking_rooms SET name = id WHERE id = p_id;
END $$;

-- p_grant is 'none', 'token', 'operator' or 'invite'.
CREATE FUNCTION join_room(
    p_room text, p_user text, p_grant text, p_hash bytea, p_now timestamptz,
    OUT outcome text, OUT until timestamptz, OUT membership bigint, OUT room coworking_rooms
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    account users;
    member  room_participants;
    invite  room_invites;
    limited boolean;
    known   boolean;
BEGIN
    IF p_grant = 'invite' THEN
        -- Joins of one user run one after the other, so that the second finds the membership and needs no invite.
        SELECT * INTO account FROM users WHERE id = p_user FOR NO KEY UPDATE;
    ELSE
        SELECT * INTO account FROM users WHERE id = p_user FOR SHARE;
    END IF;
    outcome := inactive(account, p_now);
    IF outcome IS NULL AND account.guest_room_id <> p_room THEN
        outcome := 'guest-elsewhere';
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;

    -- Joins of a limited room run one after the other, so that the last place is taken once.
    SELECT max_participants IS NOT NULL INTO limited FROM coworking_rooms WHERE id = p_room;
    IF limited THEN
        SELECT * INTO room FROM coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    ELSE
        SELECT * INTO room FROM coworking_rooms WHERE id = p_room FOR SHARE;
    END IF;
    IF NOT FOUND THEN
        outcome := CASE p_grant WHEN 'invite' THEN 'bad-invite' ELSE 'no-such-room' END;
        RETURN;
    END IF;
    IF NOT limited AND room.max_participants IS NOT NULL THEN
        -- The room has become limited since: parlor repeats the call.
        RAISE EXCEPTION 'the capacity of the room has changed' USING ERRCODE = 'serialization_failure';
    END IF;

    SELECT expires_at INTO until FROM room_bans
    WHERE room_id = p_room AND user_id = p_user AND (expires_at IS NULL OR expires_at > p_now);
    IF FOUND THEN
        outcome := 'banned';
        RETURN;
    END IF;
    -- Waits for a leave that is about to commit.
    SELECT * INTO member FROM room_participants WHERE room_id = p_room AND user_id = p_user FOR NO KEY UPDATE;
    known := FOUND;
    IF known AND member.left_at IS NOT NULL AND member.kicked_until > p_now AND p_grant <> 'operator' THEN
        outcome := 'kicked';
        until := member.kicked_until;
        RETURN;
    END IF;
    IF room.closed_at IS NULL AND known AND member.left_at IS NULL THEN
        outcome := 'done';
        membership := member.generation;
        RETURN;
    END IF;

    -- Before outcomes that would reveal that the room exists.
    IF room.is_private AND account.guest_until IS NULL AND room.owner_id IS DISTINCT FROM p_user THEN
        IF p_grant = 'none' THEN
            outcome := CASE WHEN known THEN 'not-invited' ELSE 'no-such-room' END;
        ELSIF p_grant = 'invite' THEN
            SELECT * INTO invite FROM room_invites
            WHERE hash = p_hash AND room_id = p_room AND expires_at > p_now FOR NO KEY UPDATE;
            outcome := CASE
                WHEN NOT FOUND THEN 'bad-invite'
                WHEN invite.revoked_at IS NOT NULL THEN 'revoked'
                WHEN invite.uses_left = 0 THEN 'bad-invite'
            END;
        END IF;
    END IF;
    IF outcome IS NULL THEN
        outcome := CASE
            WHEN room.closed_at IS NOT NULL THEN 'room-closed'
            WHEN room.max_participants <= active_members(p_room, p_now) THEN 'room-full'
        END;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;

    UPDATE room_invites SET uses_left = uses_left - 1 WHERE id = invite.id AND uses_left IS NOT NULL;
    INSERT INTO room_participants (room_id, user_id, joined_at) VALUES (p_room, p_user, p_now)
    ON CONFLICT (room_id, user_id) DO UPDATE
        SET joined_at = excluded.joined_at, left_at = NULL, kicked_until = NULL
    RETURNING generation INTO membership;
    outcome := 'done';
END $$;

CREATE FUNCTION leave_room(
    p_room text, p_user text, p_now timestamptz,
    OUT was_member boolean, OUT ever_member boolean, OUT elsewhere boolean
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE room_participants SET left_at = p_now WHERE room_id = p_room AND user_id = p_user AND left_at IS NULL;
    was_member := FOUND;
    ever_member := was_member
        OR EXISTS (SELECT 1 FROM room_participants WHERE room_id = p_room AND user_id = p_user);
    elsewhere := is_member_anywhere(p_user);
END $$;

-- Returns no row if the user is no member.
CREATE FUNCTION kick(p_room text, p_user text, p_until timestamptz, p_now timestamptz)
RETURNS TABLE (was_member boolean, ever_member boolean, elsewhere boolean) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE room_participants SET left_at = p_now, kicked_until = p_until
    WHERE room_id = p_room AND user_id = p_user AND left_at IS NULL;
    IF FOUND THEN
        RETURN QUERY SELECT true, true, is_member_anywhere(p_user);
    END IF;
END $$;

-- Revokes an invite; false if there is none with this id, or it was revoked before. The room keeps the newest
-- p_keep revoked invites.
CREATE FUNCTION revoke_invite(p_room text, p_id text, p_keep bigint, p_now timestamptz, OUT revoked boolean)
LANGUAGE plpgsql AS $$
DECLARE
    room text;
BEGIN
    UPDATE room_invites SET revoked_at = p_now
    WHERE id = p_id AND (p_room IS NULL OR room_id = p_room) AND revoked_at IS NULL
    RETURNING room_id INTO room;
    revoked := FOUND;
    IF revoked THEN
        DELETE FROM room_invites WHERE id IN (
            SELECT id FROM room_invites WHERE room_id = room AND revoked_at IS NOT NULL
            ORDER BY revoked_at DESC, id OFFSET p_keep);
    END IF;
END $$;

CREATE FUNCTION ban(
    p_room text, p_user text, p_reason text, p_until timestamptz, p_keep_invite boolean, p_keep bigint,
    p_now timestamptz,
    OUT outcome text, OUT was_member boolean, OUT ever_member boolean, OUT elsewhere boolean, OUT invite text,
    OUT revoked boolean
) LANGUAGE plpgsql AS $$
DECLARE
    room    coworking_rooms;
    account users;
    departure record;
BEGIN
    -- Joins of this room wait, so that none overlooks the ban.
    SELECT * INTO room FROM coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        outcome := 'no-such-room';
        RETURN;
    END IF;
    SELECT * INTO account FROM users WHERE id = p_user;
    outcome := CASE
        WHEN NOT FOUND OR account.deleted_at IS NOT NULL THEN 'no-such-user'
        WHEN account.guest_room_id <> p_room THEN 'guest-elsewhere'
        WHEN account.is_admin THEN 'admin'
        WHEN room.owner_id = p_user THEN 'owner'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO room_bans (room_id, user_id, reason, created_at, expires_at)
    VALUES (p_room, p_user, p_reason, p_now, p_until)
    ON CONFLICT (room_id, user_id) DO UPDATE
        SET reason = excluded.reason, created_at = excluded.created_at, expires_at = excluded.expires_at;
    SELECT * INTO departure FROM leave_room(p_room, p_user, p_now);
    was_member := departure.was_member;
    ever_member := departure.ever_member;
    elsewhere := departure.elsewhere;
    invite := account.invite_id;
    revoked := false;
    IF NOT p_keep_invite AND invite IS NOT NULL THEN
        revoked := revoke_invite(NULL, invite, p_keep, p_now);
    END IF;
    outcome := 'done';
END $$;

CREATE FUNCTION create_invite(
    p_id text, p_room text, p_hash bytea, p_author text, p_expires timestamptz, p_uses bigint, p_max bigint,
    p_now timestamptz, OUT outcome text
) LANGUAGE plpgsql AS $$
DECLARE
    author users;
    room   coworking_rooms;
BEGIN
    -- Invites of one author and of one room are created one after the other, so that the limits hold.
    IF p_author IS NOT NULL THEN
        SELECT * INTO author FROM users WHERE id = p_author FOR NO KEY UPDATE;
        outcome := inactive(author, p_now);
        IF outcome IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    SELECT * INTO room FROM coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'no-such-room'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN p_max <= (
            SELECT count(*) FROM room_invites
            WHERE room_id = p_room AND expires_at > p_now
              AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)) THEN 'too-many'
        WHEN p_max <= (
            SELECT count(*) FROM room_invites
            WHERE created_by = p_author AND expires_at > p_now
              AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)) THEN 'too-many'
    END;
    IF outcome IS NULL THEN
        INSERT INTO room_invites (id, room_id, hash, created_by, created_at, expires_at, uses_left)
        VALUES (p_id, p_room, p_hash, p_author, p_now, p_expires, p_uses);
        outcome := 'done';
    END IF;
END $$;

CREATE FUNCTION redeem_invite(
    p_room text, p_hash bytea, p_guest text, p_display_name text, p_until timestamptz, p_now timestamptz,
    OUT outcome text, OUT guest_room text, OUT invite_id text
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    room   coworking_rooms;
    invite room_invites;
BEGIN
    SELECT * INTO invite FROM room_invites
    WHERE hash = p_hash AND (p_room IS NULL OR room_id = p_room) AND expires_at > p_now;
    IF NOT FOUND THEN
        outcome := 'bad-invite';
        RETURN;
    END IF;
    -- The room first, like every other function; then the invite again, as it is now.
    SELECT * INTO room FROM coworking_rooms WHERE id = invite.room_id FOR SHARE;
    SELECT * INTO invite FROM room_invites WHERE id = invite.id AND expires_at > p_now FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'bad-invite'
        WHEN invite.revoked_at IS NOT NULL THEN 'revoked'
        WHEN invite.uses_left = 0 THEN 'bad-invite'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN room.max_participants <= active_members(room.id, p_now) THEN 'room-full'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    UPDATE room_invites SET uses_left = uses_left - 1 WHERE id = invite.id AND uses_left IS NOT NULL;
    INSERT INTO users (id, name, display_name, guest_room_id, guest_until, invite_id, created_at)
    VALUES (p_guest, p_guest, p_display_name, room.id, p_until, invite.id, p_now);
    guest_room := room.id;
    invite_id := invite.id;
    outcome := 'done';
END $$;

CREATE FUNCTION post_message(
    p_room text, p_user text, p_content text, p_keep bigint, p_now timestamptz,
    OUT outcome text, OUT message bigint, OUT author text
) LANGUAGE plpgsql AS $$
DECLARE
    account users;
    room    coworking_rooms;
BEGIN
    SELECT * INTO account FROM users WHERE id = p_user FOR SHARE;
    outcome := inactive(account, p_now);
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT * INTO room FROM coworking_rooms WHERE id = p_room;
    IF NOT FOUND THEN
        outcome := 'no-such-room';
    ELSIF room.closed_at IS NOT NULL THEN
        outcome := 'room-closed';
    ELSE
        -- Waits for a leave that is about to commit.
        PERFORM FROM room_participants
        WHERE room_id = p_room AND user_id = p_user AND left_at IS NULL FOR SHARE;
        IF NOT FOUND THEN
            outcome := 'not-a-member';
        END IF;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO room_messages (room_id, user_id, content, created_at)
    VALUES (p_room, p_user, p_content, p_now) RETURNING id INTO message;
    IF p_keep > 0 THEN
        DELETE FROM room_messages WHERE room_id = p_room AND id <= (
            SELECT id FROM room_messages WHERE room_id = p_room ORDER BY id DESC OFFSET p_keep LIMIT 1);
    END IF;
    author := account.display_name;
    outcome := 'done';
END $$;

CREATE FUNCTION delete_expired(p_before timestamptz, p_revoked_before timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM room_invites WHERE expires_at < p_before;
    DELETE FROM room_bans WHERE expires_at < p_before;
    DELETE FROM room_bans WHERE user_id IN (SELECT id FROM users WHERE guest_until < p_before);
    DELETE FROM room_participants WHERE user_id IN (SELECT id FROM users WHERE guest_until < p_before);
    DELETE FROM users u WHERE u.guest_until < p_before
        AND NOT EXISTS (SELECT 1 FROM room_messages m WHERE m.user_id = u.id);
    DELETE FROM room_invites WHERE revoked_at < p_revoked_before;
END $$;
