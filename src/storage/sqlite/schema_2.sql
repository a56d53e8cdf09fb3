-- Tokens issued before a sign-out, a new password or a disabling are refused: parlor's own by
-- their generation, those of others by their time of issue (`iat`).
ALTER TABLE users ADD COLUMN token_generation INTEGER NOT NULL DEFAULT 0 CHECK (token_generation >= 0);
-- NULL: no token was ever ended.
ALTER TABLE users ADD COLUMN tokens_from TEXT;
-- The invite that a guest came by. It may be gone from room_invites.
ALTER TABLE users ADD COLUMN invite_id TEXT;

-- A user who was disabled under schema 1 gets no old token back by being enabled.
UPDATE users SET token_generation = 1, tokens_from = disabled_at
    WHERE disabled_at IS NOT NULL AND deleted_at IS NULL;

-- A kicked user cannot join again before this.
ALTER TABLE room_participants ADD COLUMN kicked_until TEXT;

-- A revoked invite stays for a while, so that those who bring it learn that it was withdrawn.
ALTER TABLE room_invites ADD COLUMN revoked_at TEXT;

-- Invites that may still open a room, oldest first.
CREATE INDEX invites_open ON room_invites (created_at, id)
    WHERE revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0);
CREATE INDEX invites_open_by_room ON room_invites (room_id, created_at, id)
    WHERE revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0);
CREATE INDEX invites_open_by_author ON room_invites (created_by, created_at)
    WHERE revoked_at IS NULL AND (uses_left IS NULL OR uses_left > 0);
CREATE INDEX invites_by_expiry ON room_invites (expires_at);
CREATE INDEX invites_revoked ON room_invites (room_id, revoked_at) WHERE revoked_at IS NOT NULL;

CREATE INDEX bans_by_user ON room_bans (user_id);
