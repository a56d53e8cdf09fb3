-- One function for each write that has more than one statement: a round trip, and no lock is held while PostgreSQL
-- waits for parlor. Bodies name the schema: psql has another search path, and a search path as an option of a function
-- costs 1.3 µs a call, and keeps the small ones from being inlined.
--
-- Every function locks rows in the same order: user, room, membership, invite, ban, and several rows of one table in
-- the order of their keys. `FOR SHARE` lets joins of an unlimited room run beside each other, and still waits for a
-- disabling or a close that is about to commit. The outcome 'done' means success; every other one leaves the tables
-- unchanged.

-- Members who count: no expired guests, and no disabled users, whose membership is kept until they are enabled. In
-- plpgsql, which keeps the plans of a session; a function in SQL is planned for each call.
CREATE FUNCTION active_members(p_room text, p_now timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT count(*) FROM parlor.room_participants p JOIN parlor.users u ON u.id = p.user_id
            WHERE p.room_id = p_room AND p.left_at IS NULL AND u.disabled_at IS NULL
              AND (u.guest_until IS NULL OR u.guest_until > p_now));
END $$;

CREATE FUNCTION is_member_anywhere(p_user text) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT 1 FROM parlor.room_participants WHERE user_id = p_user AND left_at IS NULL);
END $$;

-- The reason why a user may not act at all, or NULL.
CREATE FUNCTION inactive(u parlor.users, p_now timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
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
    INSERT INTO parlor.users (id, name, display_name, password_hash, is_admin, created_at)
    VALUES (p_id, p_name, p_display_name, p_hash, p_admin, p_now) ON CONFLICT DO NOTHING;
    outcome := CASE WHEN FOUND THEN 'done' ELSE 'name-taken' END;
END $$;

-- Returns the user, also a deleted one, and creates a missing one. If another user has the name, a number is added.
CREATE FUNCTION provision_user(p_id text, p_display_name text, p_now timestamptz) RETURNS SETOF parlor.users
LANGUAGE plpgsql AS $$
DECLARE
    number integer := 1;
BEGIN
    LOOP
        RETURN QUERY SELECT * FROM parlor.users WHERE id = p_id;
        EXIT WHEN FOUND;
        INSERT INTO parlor.users (id, name, display_name, created_at)
        VALUES (p_id, p_id || CASE number WHEN 1 THEN '' ELSE '~' || number END, p_display_name, p_now)
        ON CONFLICT DO NOTHING;
        number := number + 1;
    END LOOP;
END $$;

CREATE FUNCTION revoke_invites_of(p_user text, p_now timestamptz, OUT revoked bigint) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE parlor.room_invites SET revoked_at = p_now
    WHERE id IN (
        SELECT id FROM parlor.room_invites
        WHERE created_by = p_user AND expires_at > p_now
          AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)
        ORDER BY id FOR NO KEY UPDATE);
    GET DIAGNOSTICS revoked = ROW_COUNT;
END $$;

CREATE FUNCTION disable_user(p_id text, p_now timestamptz) RETURNS TABLE (account parlor.users, revoked bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE parlor.users SET disabled_at = p_now, token_generation = token_generation + 1, tokens_from = p_now
    WHERE id = p_id AND disabled_at IS NULL AND deleted_at IS NULL;
    SELECT * INTO account FROM parlor.users WHERE id = p_id AND deleted_at IS NULL;
    IF FOUND THEN
        revoked := parlor.revoke_invites_of(p_id, p_now);
        RETURN NEXT;
    END IF;
END $$;

-- Returns the user as they were. A repetition (no other call has the same p_now) returns them as they are.
CREATE FUNCTION delete_user(p_id text, p_display_name text, p_now timestamptz)
RETURNS TABLE (account parlor.users, revoked bigint) LANGUAGE plpgsql AS $$
BEGIN
    SELECT * INTO account FROM parlor.users
    WHERE id = p_id AND (deleted_at IS NULL OR deleted_at = p_now) FOR NO KEY UPDATE;
    IF FOUND THEN
        UPDATE parlor.users SET deleted_at = p_now, name = id, display_name = p_display_name, password_hash = NULL,
                         is_admin = false
        WHERE id = p_id;
        PERFORM FROM parlor.room_participants
        WHERE user_id = p_id AND left_at IS NULL ORDER BY room_id FOR NO KEY UPDATE;
        UPDATE parlor.room_participants SET left_at = p_now WHERE user_id = p_id AND left_at IS NULL;
        revoked := parlor.revoke_invites_of(p_id, p_now);
        RETURN NEXT;
    END IF;
END $$;

-- p_valid says whether the name and the capacity are valid.
CREATE FUNCTION create_room(
    p_id text, p_name text, p_valid boolean, p_private boolean, p_max integer, p_owner text, p_max_owned bigint,
    p_now timestamptz, OUT outcome text
) LANGUAGE plpgsql AS $$
DECLARE
    owner parlor.users;
BEGIN
    outcome := CASE
        WHEN EXISTS (SELECT 1 FROM parlor.coworking_rooms WHERE id = p_id) THEN 'id-taken'
        WHEN NOT p_valid THEN 'invalid'
        WHEN EXISTS (SELECT 1 FROM parlor.coworking_rooms WHERE name = p_name AND closed_at IS NULL) THEN 'name-taken'
    END;
    IF outcome IS NULL AND p_owner IS NOT NULL THEN
        -- Rooms of one owner are created one after the other, so that the limit holds.
        SELECT * INTO owner FROM parlor.users WHERE id = p_owner FOR NO KEY UPDATE;
        outcome := coalesce(parlor.inactive(owner, p_now), CASE
            WHEN NOT owner.is_admin AND p_max_owned <=
                 (SELECT count(*) FROM parlor.coworking_rooms WHERE owner_id = p_owner AND closed_at IS NULL)
                THEN 'too-many-rooms'
        END);
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO parlor.coworking_rooms (id, name, is_private, max_participants, owner_id, created_at)
    VALUES (p_id, p_name, p_private, p_max, p_owner, p_now) ON CONFLICT DO NOTHING;
    outcome := CASE
        WHEN FOUND THEN 'done'
        WHEN EXISTS (SELECT 1 FROM parlor.coworking_rooms WHERE id = p_id) THEN 'id-taken'
        ELSE 'name-taken'
    END;
END $$;

-- p_name and p_private are NULL, and p_set_max is false, for values that do not change. A room may keep its name, even
-- one that is not valid (p_name_valid).
CREATE FUNCTION change_room(
    p_id text, p_name text, p_name_valid boolean, p_private boolean, p_set_max boolean, p_max integer,
    OUT outcome text, OUT room parlor.coworking_rooms
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_id FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'no-such-room'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN p_name <> room.name AND NOT p_name_valid THEN 'bad-name'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    BEGIN
        UPDATE parlor.coworking_rooms
        SET name = coalesce(p_name, name), is_private = coalesce(p_private, is_private),
            max_participants = CASE WHEN p_set_max THEN p_max ELSE max_participants END
        WHERE id = p_id RETURNING * INTO room;
        outcome := 'done';
    EXCEPTION
        WHEN check_violation THEN
            outcome := 'bad-capacity';
        WHEN unique_violation THEN
            outcome := 'name-taken';
    END;
END $$;

-- Returns no row if there is no such room.
CREATE FUNCTION close_room(p_id text, p_now timestamptz)
RETURNS TABLE (room parlor.coworking_rooms, members text[], elsewhere boolean[], next_generations bigint[])
LANGUAGE plpgsql AS $$
BEGIN
    members := '{}';
    elsewhere := '{}';
    next_generations := '{}';
    UPDATE parlor.coworking_rooms SET closed_at = p_now WHERE id = p_id AND closed_at IS NULL;
    IF FOUND THEN
        PERFORM FROM parlor.room_participants
        WHERE room_id = p_id AND left_at IS NULL ORDER BY user_id FOR NO KEY UPDATE;
        WITH ended AS (
            UPDATE parlor.room_participants SET left_at = p_now WHERE room_id = p_id AND left_at IS NULL
            RETURNING user_id, generation
        )
        SELECT coalesce(array_agg(user_id ORDER BY user_id), '{}'),
               coalesce(array_agg(generation ORDER BY user_id), '{}')
        INTO members, next_generations FROM ended;
        SELECT coalesce(array_agg(parlor.is_member_anywhere(m.id) ORDER BY m.id COLLATE "C"), '{}') INTO elsewhere
        FROM unnest(members) m (id);
    END IF;
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_id;
    IF FOUND THEN
        RETURN NEXT;
    END IF;
END $$;

CREATE FUNCTION delete_room(p_id text, p_now timestamptz)
RETURNS TABLE (room parlor.coworking_rooms, members text[], elsewhere boolean[], next_generations bigint[])
LANGUAGE plpgsql AS $$
BEGIN
    -- A room that is closed already is not locked by close_room.
    PERFORM FROM parlor.coworking_rooms WHERE id = p_id FOR NO KEY UPDATE;
    RETURN QUERY SELECT * FROM parlor.close_room(p_id, p_now);
    DELETE FROM parlor.room_messages WHERE room_id = p_id;
    PERFORM FROM parlor.room_invites WHERE room_id = p_id ORDER BY id FOR UPDATE;
    DELETE FROM parlor.room_invites WHERE room_id = p_id;
    PERFORM FROM parlor.room_bans WHERE room_id = p_id ORDER BY user_id FOR UPDATE;
    DELETE FROM parlor.room_bans WHERE room_id = p_id;
    UPDATE parlor.coworking_rooms SET name = id WHERE id = p_id;
END $$;

-- Revokes an invite; false if there is none with this id, or it was revoked before. The room keeps the newest
-- p_keep revoked invites.
CREATE FUNCTION revoke_invite(p_room text, p_id text, p_keep bigint, p_now timestamptz, OUT revoked boolean)
LANGUAGE plpgsql AS $$
DECLARE
    room text;
BEGIN
    UPDATE parlor.room_invites SET revoked_at = p_now
    WHERE id = p_id AND (p_room IS NULL OR room_id = p_room) AND revoked_at IS NULL
    RETURNING room_id INTO room;
    revoked := FOUND;
    IF revoked THEN
        -- Invites that another function holds are left to the next revocation.
        DELETE FROM parlor.room_invites WHERE id IN (
            SELECT id FROM parlor.room_invites WHERE id IN (
                SELECT id FROM parlor.room_invites WHERE room_id = room AND revoked_at IS NOT NULL
                ORDER BY revoked_at DESC, id OFFSET p_keep)
            FOR UPDATE SKIP LOCKED);
    END IF;
END $$;

CREATE FUNCTION ban(
    p_room text, p_user text, p_reason text, p_until timestamptz, p_keep_invite boolean, p_keep bigint,
    p_now timestamptz,
    OUT outcome text, OUT was_member boolean, OUT ever_member boolean, OUT elsewhere boolean,
    OUT next_generation bigint, OUT invite text, OUT revoked boolean
) LANGUAGE plpgsql AS $$
DECLARE
    room    parlor.coworking_rooms;
    account parlor.users;
    departure record;
BEGIN
    -- The row of an expired guest stays for as long as the ban needs it.
    SELECT * INTO account FROM parlor.users WHERE id = p_user FOR KEY SHARE;
    -- Joins of this room wait, so that none overlooks the ban.
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'no-such-room'
        WHEN account.id IS NULL OR account.deleted_at IS NOT NULL THEN 'no-such-user'
        WHEN account.guest_room_id <> p_room THEN 'guest-elsewhere'
        WHEN account.is_admin THEN 'admin'
        WHEN room.owner_id = p_user THEN 'owner'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT * INTO departure FROM parlor.leave_room(p_room, p_user, p_now);
    was_member := departure.was_member;
    ever_member := departure.ever_member;
    elsewhere := departure.elsewhere;
    next_generation := departure.next_generation;
    invite := account.invite_id;
    revoked := false;
    IF NOT p_keep_invite AND invite IS NOT NULL THEN
        revoked := parlor.revoke_invite(NULL, invite, p_keep, p_now);
    END IF;
    INSERT INTO parlor.room_bans (room_id, user_id, reason, created_at, expires_at)
    VALUES (p_room, p_user, p_reason, p_now, p_until)
    ON CONFLICT (room_id, user_id) DO UPDATE
        SET reason = excluded.reason, created_at = excluded.created_at, expires_at = excluded.expires_at;
    outcome := 'done';
END $$;

CREATE FUNCTION create_invite(
    p_id text, p_room text, p_hash bytea, p_author text, p_expires timestamptz, p_uses bigint, p_max bigint,
    p_now timestamptz, OUT outcome text
) LANGUAGE plpgsql AS $$
DECLARE
    author parlor.users;
    room   parlor.coworking_rooms;
BEGIN
    -- Invites of one author and of one room are created one after the other, so that the limits hold.
    IF p_author IS NOT NULL THEN
        SELECT * INTO author FROM parlor.users WHERE id = p_author FOR NO KEY UPDATE;
        outcome := parlor.inactive(author, p_now);
        IF outcome IS NOT NULL THEN
            RETURN;
        END IF;
    END IF;
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'no-such-room'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN p_max <= (
            SELECT count(*) FROM parlor.room_invites
            WHERE room_id = p_room AND expires_at > p_now
              AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)) THEN 'too-many'
        WHEN p_max <= (
            SELECT count(*) FROM parlor.room_invites
            WHERE created_by = p_author AND expires_at > p_now
              AND revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0)) THEN 'too-many'
    END;
    IF outcome IS NULL THEN
        INSERT INTO parlor.room_invites (id, room_id, hash, created_by, created_at, expires_at, uses_left)
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
    room   parlor.coworking_rooms;
    invite parlor.room_invites;
BEGIN
    SELECT * INTO invite FROM parlor.room_invites
    WHERE hash = p_hash AND (p_room IS NULL OR room_id = p_room) AND expires_at > p_now;
    IF NOT FOUND THEN
        outcome := 'bad-invite';
        RETURN;
    END IF;
    -- The room first, like every other function; then the invite again, as it is now.
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = invite.room_id FOR SHARE;
    SELECT * INTO invite FROM parlor.room_invites WHERE id = invite.id AND expires_at > p_now FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'bad-invite'
        WHEN invite.revoked_at IS NOT NULL THEN 'revoked'
        WHEN invite.uses_left = 0 THEN 'bad-invite'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN room.max_participants IS NOT NULL AND room.max_participants <= parlor.active_members(room.id, p_now)
            THEN 'room-full'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    UPDATE parlor.room_invites SET uses_left = uses_left - 1 WHERE id = invite.id AND uses_left IS NOT NULL;
    INSERT INTO parlor.users (id, name, display_name, guest_room_id, guest_until, invite_id, created_at)
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
    account parlor.users;
    room    parlor.coworking_rooms;
BEGIN
    SELECT * INTO account FROM parlor.users WHERE id = p_user FOR SHARE;
    outcome := parlor.inactive(account, p_now);
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_room;
    IF NOT FOUND THEN
        outcome := 'no-such-room';
    ELSIF room.closed_at IS NOT NULL THEN
        outcome := 'room-closed';
    ELSE
        -- Waits for a leave that is about to commit.
        PERFORM FROM parlor.room_participants
        WHERE room_id = p_room AND user_id = p_user AND left_at IS NULL FOR SHARE;
        IF NOT FOUND THEN
            outcome := 'not-a-member';
        END IF;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO parlor.room_messages (room_id, user_id, content, created_at)
    VALUES (p_room, p_user, p_content, p_now) RETURNING id INTO message;
    IF p_keep > 0 THEN
        DELETE FROM parlor.room_messages WHERE room_id = p_room AND id <= (
            SELECT id FROM parlor.room_messages WHERE room_id = p_room ORDER BY id DESC OFFSET p_keep LIMIT 1);
    END IF;
    author := account.display_name;
    outcome := 'done';
END $$;

-- Deletes at most p_max guests, and returns whether there may be more.
CREATE FUNCTION delete_expired(p_before timestamptz, p_revoked_before timestamptz, p_max bigint, OUT is_limited boolean)
LANGUAGE plpgsql AS $$
DECLARE
    guests text[];
BEGIN
    -- The rows of guests who have written messages stay.
    SELECT coalesce(array_agg(id), '{}') INTO guests FROM (
        SELECT id FROM parlor.users u
        WHERE guest_until < p_before
          AND NOT EXISTS (SELECT 1 FROM parlor.room_messages m WHERE m.user_id = u.id)
        ORDER BY id LIMIT p_max FOR UPDATE) locked;
    -- One statement each: between two, rows are added that the first one has not locked in order.
    DELETE FROM parlor.room_participants WHERE (room_id, user_id) IN (
        SELECT room_id, user_id FROM parlor.room_participants
        WHERE user_id IN (SELECT id FROM parlor.users WHERE guest_until < p_before)
        ORDER BY room_id, user_id FOR UPDATE);
    DELETE FROM parlor.room_invites WHERE id IN (
        SELECT id FROM parlor.room_invites
        WHERE expires_at < p_before OR revoked_at < p_revoked_before
        ORDER BY id FOR UPDATE);
    DELETE FROM parlor.room_bans WHERE (room_id, user_id) IN (
        SELECT room_id, user_id FROM parlor.room_bans
        WHERE expires_at < p_before OR user_id IN (SELECT id FROM parlor.users WHERE guest_until < p_before)
        ORDER BY room_id, user_id FOR UPDATE);
    DELETE FROM parlor.users WHERE id = ANY (guests);
    is_limited := cardinality(guests) >= p_max;
END $$;
