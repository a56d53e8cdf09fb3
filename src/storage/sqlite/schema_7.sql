-- The messages of a room by time: for those that are older than `rooms.message_retention`, and for the first one that a
-- guest may read.
CREATE INDEX messages_by_time ON room_messages (room_id, created_at);
