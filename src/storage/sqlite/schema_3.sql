-- The number of memberships that have ended: the generation of the current or the next one. TURN credentials of earlier
-- generations are rejected.
ALTER TABLE room_participants ADD COLUMN generation INTEGER NOT NULL DEFAULT 0 CHECK (generation >= 0);

UPDATE room_participants SET generation = 1 WHERE left_at IS NOT NULL;
