-- Moderation. The owner of a room stays in coworking_rooms.owner_id, so that existing owners keep their rooms.

-- NULL: newcomers may join.
ALTER TABLE coworking_rooms ADD COLUMN locked_at TEXT;

-- Moderators whom the owner named. The role outlives a membership; everybody else is a member.
CREATE TABLE room_moderators (
    room_id    TEXT NOT NULL REFERENCES coworking_rooms (id),
    user_id    TEXT NOT NULL REFERENCES users (id),
    created_at TEXT NOT NULL,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX moderators_by_user ON room_moderators (user_id);

-- What moderators did. No content of messages. Ids have no foreign key, because a guest's row is deleted earlier.
CREATE TABLE room_audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    room_id   TEXT NOT NULL REFERENCES coworking_rooms (id),
    at        TEXT NOT NULL,
    action    TEXT NOT NULL,
    -- NULL: an admin at the command line.
    actor_id  TEXT,
    -- NULL: the room itself.
    target_id TEXT,
    reason    TEXT,
    -- The end of a ban; NULL: permanent.
    until     TEXT,
    -- The new role, or the id of a deleted message.
    value     TEXT
) STRICT;

CREATE INDEX audit_by_room ON room_audit (room_id, id);
CREATE INDEX audit_by_time ON room_audit (at);
