-- The id of a deleted message is not used again (AUTOINCREMENT).
CREATE TABLE numbered_messages (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id    TEXT NOT NULL REFERENCES coworking_rooms (id),
    user_id    TEXT NOT NULL REFERENCES users (id),
    content    TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
INSERT INTO numbered_messages SELECT id, room_id, user_id, content, created_at FROM room_messages;
DROP TABLE room_messages;
ALTER TABLE numbered_messages RENAME TO room_messages;
CREATE INDEX messages_by_room ON room_messages (room_id, id);

-- A deleted user must not be referenced: without an index, each check reads a whole table.
CREATE INDEX messages_by_user ON room_messages (user_id);
CREATE INDEX rooms_by_owner ON coworking_rooms (owner_id, closed_at);
DROP INDEX participants_by_user;
CREATE INDEX participants_by_user ON room_participants (user_id, left_at);
CREATE INDEX invites_by_author ON room_invites (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX bans_by_author ON room_bans (created_by) WHERE created_by IS NOT NULL;

-- For other programs. parlor counts in its own statements, because RETURNING has no changes by triggers.
CREATE TRIGGER generation AFTER UPDATE OF left_at ON room_participants
WHEN OLD.left_at IS NULL AND NEW.left_at IS NOT NULL AND NEW.generation = OLD.generation
BEGIN
    UPDATE room_participants SET generation = generation + 1 WHERE room_id = NEW.room_id AND user_id = NEW.user_id;
END;
