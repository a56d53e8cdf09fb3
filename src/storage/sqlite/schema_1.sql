-- Times are UTC text of fixed width (2026-01-31T23:59:59Z). Ids are text.

CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    name          TEXT NOT NULL,
    display_name  TEXT NOT NULL,
    password_hash TEXT,
    is_admin      INTEGER NOT NULL DEFAULT 0 CHECK (is_admin IN (0, 1)),
    -- A guest belongs to one room, until a time.
    guest_room_id TEXT REFERENCES coworking_rooms (id),
    guest_until   TEXT,
    created_at    TEXT NOT NULL,
    disabled_at   TEXT,
    -- A deleted user's row stays, so that the id stays refused.
    deleted_at    TEXT,
    CHECK ((guest_room_id IS NULL) = (guest_until IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX users_by_name ON users (name)
    WHERE guest_until IS NULL AND deleted_at IS NULL;
CREATE INDEX users_guests ON users (guest_until) WHERE guest_until IS NOT NULL;
CREATE INDEX users_refused ON users (id)
    WHERE disabled_at IS NOT NULL OR deleted_at IS NOT NULL;

CREATE TABLE coworking_rooms (
    id               TEXT PRIMARY KEY,
    name             TEXT NOT NULL,
    is_private       INTEGER NOT NULL DEFAULT 0 CHECK (is_private IN (0, 1)),
    max_participants INTEGER CHECK (max_participants BETWEEN 1 AND 1000000),
    owner_id         TEXT REFERENCES users (id),
    created_at       TEXT NOT NULL,
    closed_at        TEXT
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX rooms_by_name ON coworking_rooms (name) WHERE closed_at IS NULL;

-- left_at IS NULL means a member.
CREATE TABLE room_participants (
    room_id   TEXT NOT NULL REFERENCES coworking_rooms (id),
    user_id   TEXT NOT NULL REFERENCES users (id),
    joined_at TEXT NOT NULL,
    left_at   TEXT,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX participants_present ON room_participants (room_id) WHERE left_at IS NULL;
CREATE INDEX participants_by_user ON room_participants (user_id) WHERE left_at IS NULL;
CREATE INDEX participants_gone ON room_participants (left_at) WHERE left_at IS NOT NULL;

CREATE TABLE room_messages (
    id         INTEGER PRIMARY KEY,
    room_id    TEXT NOT NULL REFERENCES coworking_rooms (id),
    user_id    TEXT NOT NULL REFERENCES users (id),
    content    TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

CREATE INDEX messages_by_room ON room_messages (room_id, id);

-- The text of an invite is not kept, only its SHA-256.
CREATE TABLE room_invites (
    id         TEXT PRIMARY KEY,
    room_id    TEXT NOT NULL REFERENCES coworking_rooms (id),
    hash       BLOB NOT NULL UNIQUE,
    created_by TEXT REFERENCES users (id),
    created_at TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    -- NULL: as often as asked.
    uses_left  INTEGER CHECK (uses_left >= 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE room_bans (
    room_id    TEXT NOT NULL REFERENCES coworking_rooms (id),
    user_id    TEXT NOT NULL REFERENCES users (id),
    reason     TEXT,
    created_by TEXT REFERENCES users (id),
    created_at TEXT NOT NULL,
    -- NULL: for good.
    expires_at TEXT,
    PRIMARY KEY (room_id, user_id)
) STRICT, WITHOUT ROWID;
