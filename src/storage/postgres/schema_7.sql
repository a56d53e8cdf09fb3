-- An index, and a function with the same parameters: parlor of schema 5 may use this database beside newer ones.

-- The messages of a room by time: for those that are older than `rooms.message_retention`, and for the first one that a
-- guest may read.
CREATE INDEX messages_by_time ON room_messages (room_id, created_at);

-- A post deletes at most 1000 messages, so that it stays fast after `rooms.max_messages` was lowered. It waits for no
-- other one that deletes the same messages.
CREATE OR REPLACE FUNCTION post_message(
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
        DELETE FROM parlor.room_messages WHERE id IN (
            SELECT id FROM parlor.room_messages WHERE room_id = p_room AND id <= (
                SELECT id FROM parlor.room_messages WHERE room_id = p_room ORDER BY id DESC OFFSET p_keep LIMIT 1)
            ORDER BY id LIMIT 1000 FOR UPDATE SKIP LOCKED);
    END IF;
    author := account.display_name;
    outcome := 'done';
END $$;
