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
