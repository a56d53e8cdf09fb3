-- Joins and guests, with locks of rooms and roles. The rules of `functions_4.sql` apply.

-- p_grant is 'none', 'token', 'admin', 'operator' or 'invite'.
CREATE OR REPLACE FUNCTION join_room(
    p_room text, p_user text, p_grant text, p_hash bytea, p_now timestamptz,
    OUT outcome text, OUT until timestamptz, OUT membership bigint, OUT room parlor.coworking_rooms
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    account parlor.users;
    member  parlor.room_participants;
    invite  parlor.room_invites;
    locked  record;
    known   record;
    -- Owner or moderator.
    is_manager boolean;
BEGIN
    IF p_grant = 'invite' THEN
        -- Joins of one user run one after the other, so that the second finds the membership and needs no invite.
        PERFORM FROM parlor.users WHERE id = p_user FOR NO KEY UPDATE;
    END IF;
    -- One statement locks the user, and then the room.
    SELECT u AS account, r AS room INTO locked FROM parlor.users u CROSS JOIN parlor.coworking_rooms r
    WHERE u.id = p_user AND r.id = p_room FOR SHARE OF u, r;
    IF FOUND THEN
        account := locked.account;
        room := locked.room;
    ELSE
        SELECT * INTO account FROM parlor.users WHERE id = p_user;
    END IF;
    outcome := parlor.inactive(account, p_now);
    IF outcome IS NULL AND account.guest_room_id <> p_room THEN
        outcome := 'guest-elsewhere';
    END IF;
    IF outcome IS NULL AND room.id IS NULL THEN
        outcome := CASE p_grant WHEN 'invite' THEN 'bad-invite' ELSE 'no-such-room' END;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;
    IF room.max_participants IS NOT NULL THEN
        -- Joins of a limited room run one after the other, so that the last place is taken once. The lock on the row
        -- keeps the limit as it is.
        PERFORM pg_advisory_xact_lock(1919905645, hashtext(p_room));
    END IF;

    SELECT b.room_id IS NOT NULL AS banned, b.expires_at AS until, p AS member,
           m.user_id IS NOT NULL AS is_moderator INTO known
    FROM (VALUES (p_room, p_user)) requested (room_id, user_id)
    LEFT JOIN parlor.room_bans b ON b.room_id = requested.room_id AND b.user_id = requested.user_id
         AND (b.expires_at IS NULL OR b.expires_at > p_now)
    LEFT JOIN parlor.room_participants p ON p.room_id = requested.room_id AND p.user_id = requested.user_id
    LEFT JOIN parlor.room_moderators m ON m.room_id = requested.room_id AND m.user_id = requested.user_id;
    IF known.banned THEN
        outcome := 'banned';
        until := known.until;
        RETURN;
    END IF;
    member := known.member;
    IF member.user_id IS NOT NULL AND member.left_at IS NULL THEN
        -- Waits for a leave or a kick that is about to commit.
        SELECT * INTO member FROM parlor.room_participants WHERE room_id = p_room AND user_id = p_user FOR NO KEY UPDATE;
    END IF;
    IF member.left_at IS NOT NULL AND member.kicked_until > p_now AND p_grant <> 'operator' THEN
        outcome := 'kicked';
        until := member.kicked_until;
        RETURN;
    END IF;
    IF room.closed_at IS NULL AND member.user_id IS NOT NULL AND member.left_at IS NULL THEN
        outcome := 'done';
        membership := member.generation;
        RETURN;
    END IF;

    is_manager := room.owner_id IS NOT DISTINCT FROM p_user OR known.is_moderator;
    -- Before outcomes that would reveal that the room exists.
    IF room.is_private AND account.guest_until IS NULL AND NOT is_manager THEN
        IF p_grant = 'none' THEN
            outcome := CASE WHEN member.user_id IS NOT NULL THEN 'not-invited' ELSE 'no-such-room' END;
        ELSIF p_grant = 'invite' THEN
            SELECT * INTO invite FROM parlor.room_invites
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
            WHEN room.locked_at IS NOT NULL AND NOT is_manager AND NOT account.is_admin
                 AND p_grant NOT IN ('admin', 'operator') THEN 'room-locked'
            WHEN room.max_participants IS NOT NULL AND room.max_participants <= parlor.active_members(p_room, p_now)
                THEN 'room-full'
        END;
    END IF;
    IF outcome IS NOT NULL THEN
        RETURN;
    END IF;

    IF invite.uses_left IS NOT NULL THEN
        UPDATE parlor.room_invites SET uses_left = uses_left - 1 WHERE id = invite.id;
    END IF;
    IF member.user_id IS NULL THEN
        INSERT INTO parlor.room_participants (room_id, user_id, joined_at) VALUES (p_room, p_user, p_now)
        ON CONFLICT (room_id, user_id) DO NOTHING RETURNING generation INTO membership;
    ELSE
        UPDATE parlor.room_participants SET joined_at = p_now, left_at = NULL, kicked_until = NULL
        WHERE room_id = p_room AND user_id = p_user AND left_at IS NOT NULL AND generation = member.generation
          AND kicked_until IS NOT DISTINCT FROM member.kicked_until
        RETURNING generation INTO membership;
    END IF;
    IF membership IS NULL THEN
        -- The user has joined or was kicked meanwhile: parlor repeats the call.
        RAISE EXCEPTION 'the membership has changed' USING ERRCODE = 'serialization_failure';
    END IF;
    outcome := 'done';
END $$;

CREATE OR REPLACE FUNCTION redeem_invite(
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
        WHEN room.locked_at IS NOT NULL THEN 'room-locked'
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
