-- Roles, locks and the audit of moderation. The rules of `functions_4.sql` apply; moderators are locked after bans, and
-- audit rows are never locked. New parameters have defaults, so that calls of parlor with schema 5 stay valid.

DROP FUNCTION kick(text, text, timestamptz, timestamptz);
DROP FUNCTION ban(text, text, text, timestamptz, boolean, bigint, timestamptz);

-- Records a change once, also if parlor repeats the call: then p_now is the same.
CREATE FUNCTION add_audit(
    p_room text, p_action text, p_actor text, p_target text, p_reason text, p_until timestamptz, p_value text,
    p_now timestamptz
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parlor.room_audit (room_id, at, action, actor_id, target_id, reason, until, value)
    SELECT p_room, p_now, p_action, p_actor, p_target, p_reason, p_until, p_value
    WHERE NOT EXISTS (
        SELECT 1 FROM parlor.room_audit
        WHERE at = p_now AND room_id = p_room AND action = p_action
          AND (actor_id, target_id, reason, until, value)
              IS NOT DISTINCT FROM (p_actor, p_target, p_reason, p_until, p_value));
END $$;

-- Returns no row if the user is no member.
CREATE FUNCTION kick(
    p_room text, p_user text, p_until timestamptz, p_now timestamptz, p_actor text DEFAULT NULL, p_reason text DEFAULT NULL
)
RETURNS TABLE (was_member boolean, ever_member boolean, elsewhere boolean, next_generation bigint)
LANGUAGE plpgsql AS $$
BEGIN
    UPDATE parlor.room_participants SET left_at = p_now, kicked_until = p_until
    WHERE room_id = p_room AND user_id = p_user AND left_at IS NULL
    RETURNING generation INTO next_generation;
    IF FOUND THEN
        was_member := true;
        ever_member := true;
        PERFORM parlor.add_audit(p_room, 'kick', p_actor, p_user, p_reason, NULL, NULL, p_now);
        elsewhere := parlor.is_member_anywhere(p_user);
        RETURN NEXT;
    END IF;
END $$;

CREATE FUNCTION ban(
    p_room text, p_user text, p_reason text, p_until timestamptz, p_keep_invite boolean, p_keep bigint,
    p_now timestamptz, p_actor text DEFAULT NULL,
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
    INSERT INTO parlor.room_bans (room_id, user_id, reason, created_by, created_at, expires_at)
    VALUES (p_room, p_user, p_reason, p_actor, p_now, p_until)
    ON CONFLICT (room_id, user_id) DO UPDATE
        SET reason = excluded.reason, created_by = excluded.created_by, created_at = excluded.created_at,
            expires_at = excluded.expires_at;
    -- A ban ends the role.
    DELETE FROM parlor.room_moderators WHERE room_id = p_room AND user_id = p_user;
    PERFORM parlor.add_audit(p_room, 'ban', p_actor, p_user, p_reason, p_until, NULL, p_now);
    outcome := 'done';
END $$;

CREATE FUNCTION unban(
    p_room text, p_user text, p_actor text, p_reason text, p_now timestamptz, OUT is_unbanned boolean
) LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM parlor.room_bans WHERE room_id = p_room AND user_id = p_user;
    is_unbanned := FOUND;
    IF is_unbanned THEN
        PERFORM parlor.add_audit(p_room, 'unban', p_actor, p_user, p_reason, NULL, NULL, p_now);
    END IF;
END $$;

CREATE FUNCTION lock_room(
    p_room text, p_locked boolean, p_actor text, p_reason text, p_now timestamptz,
    OUT outcome text, OUT room parlor.coworking_rooms
) LANGUAGE plpgsql AS $$
BEGIN
    -- Joins wait, so that none overlooks the lock.
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    outcome := CASE
        WHEN NOT FOUND THEN 'no-such-room'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        ELSE 'done'
    END;
    IF outcome = 'done' AND (room.locked_at IS NOT NULL) <> p_locked THEN
        UPDATE parlor.coworking_rooms SET locked_at = CASE WHEN p_locked THEN p_now END
        WHERE id = p_room RETURNING * INTO room;
        PERFORM parlor.add_audit(
            p_room, CASE WHEN p_locked THEN 'lock' ELSE 'unlock' END, p_actor, NULL, p_reason, NULL, NULL, p_now);
    END IF;
END $$;

-- p_role is 'owner', 'moderator' or 'member'. The former owner becomes a moderator. p_as_owner means that the actor
-- must own the room. former_owner is NULL if the owner stays.
CREATE FUNCTION set_role(
    p_room text, p_user text, p_role text, p_as_owner boolean, p_actor text, p_reason text, p_max_owned bigint,
    p_now timestamptz, OUT outcome text, OUT is_changed boolean, OUT former_owner text
) LANGUAGE plpgsql AS $$
DECLARE
    account      parlor.users;
    room         parlor.coworking_rooms;
    is_moderator boolean;
BEGIN
    is_changed := false;
    -- Rooms of one owner are created and handed over one after the other, so that the limit holds.
    SELECT * INTO account FROM parlor.users WHERE id = p_user FOR NO KEY UPDATE;
    SELECT * INTO room FROM parlor.coworking_rooms WHERE id = p_room FOR NO KEY UPDATE;
    outcome := CASE
        WHEN room.id IS NULL THEN 'no-such-room'
        WHEN room.closed_at IS NOT NULL THEN 'room-closed'
        WHEN p_as_owner AND room.owner_id IS DISTINCT FROM p_actor THEN 'not-owner'
        WHEN account.id IS NULL OR account.deleted_at IS NOT NULL THEN 'no-such-user'
        WHEN account.guest_until IS NOT NULL THEN 'guest'
        WHEN room.owner_id = p_user AND p_role <> 'owner' THEN 'last-owner'
        WHEN p_role = 'member' THEN NULL
        WHEN account.disabled_at IS NOT NULL THEN 'user-disabled'
        WHEN EXISTS (
            SELECT 1 FROM parlor.room_bans
            WHERE room_id = p_room AND user_id = p_user AND (expires_at IS NULL OR expires_at > p_now)) THEN 'banned'
        WHEN p_role = 'owner' AND room.owner_id IS DISTINCT FROM p_user AND NOT account.is_admin AND p_max_owned <= (
            SELECT count(*) FROM parlor.coworking_rooms WHERE owner_id = p_user AND closed_at IS NULL)
            THEN 'too-many-rooms'
    END;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    outcome := 'done';
    is_moderator := EXISTS (SELECT 1 FROM parlor.room_moderators WHERE room_id = p_room AND user_id = p_user);
    is_changed := CASE p_role
        WHEN 'owner' THEN room.owner_id IS DISTINCT FROM p_user
        WHEN 'moderator' THEN NOT is_moderator
        ELSE is_moderator
    END;
    IF NOT is_changed THEN
        RETURN;
    END IF;
    IF p_role = 'moderator' THEN
        INSERT INTO parlor.room_moderators (room_id, user_id, created_at) VALUES (p_room, p_user, p_now);
    ELSE
        DELETE FROM parlor.room_moderators WHERE room_id = p_room AND user_id = p_user;
    END IF;
    PERFORM parlor.add_audit(p_room, 'role', p_actor, p_user, p_reason, NULL, p_role, p_now);
    IF p_role = 'owner' THEN
        UPDATE parlor.coworking_rooms SET owner_id = p_user WHERE id = p_room;
        INSERT INTO parlor.room_moderators (room_id, user_id, created_at)
        SELECT p_room, id, p_now FROM parlor.users WHERE id = room.owner_id AND deleted_at IS NULL
        ON CONFLICT DO NOTHING RETURNING user_id INTO former_owner;
        IF FOUND THEN
            PERFORM parlor.add_audit(p_room, 'role', p_actor, former_owner, p_reason, NULL, 'moderator', p_now);
        END IF;
    END IF;
END $$;

-- Returns the user as they were. A repetition (no other call has the same p_now) returns them as they are.
CREATE OR REPLACE FUNCTION delete_user(p_id text, p_display_name text, p_now timestamptz)
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
        PERFORM FROM parlor.room_moderators WHERE user_id = p_id ORDER BY room_id FOR UPDATE;
        DELETE FROM parlor.room_moderators WHERE user_id = p_id;
        RETURN NEXT;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION delete_room(p_id text, p_now timestamptz)
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
    PERFORM FROM parlor.room_moderators WHERE room_id = p_id ORDER BY user_id FOR UPDATE;
    DELETE FROM parlor.room_moderators WHERE room_id = p_id;
    DELETE FROM parlor.room_audit WHERE room_id = p_id;
    UPDATE parlor.coworking_rooms SET name = id WHERE id = p_id;
END $$;
