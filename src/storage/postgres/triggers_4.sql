-- Triggers that report also the generation that changed alone, the row that was moved to another key (as it was before
-- and after), and the table that was truncated. A missing subject means any row.

CREATE OR REPLACE FUNCTION membership_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.room_participants := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.room_id, OLD.user_id) <> (NEW.room_id, NEW.user_id) THEN
        INSERT INTO parlor.events (kind, room_id, user_id, generation)
        VALUES ('left', OLD.room_id, OLD.user_id, OLD.generation);
    END IF;
    INSERT INTO parlor.events (kind, room_id, user_id, generation)
    VALUES (CASE
                WHEN TG_OP <> 'DELETE' AND changed.left_at IS NULL THEN 'joined'
                WHEN TG_OP = 'UPDATE' AND NEW.kicked_until IS DISTINCT FROM OLD.kicked_until THEN 'kicked'
                ELSE 'left'
            END,
            changed.room_id, changed.user_id, changed.generation);
    RETURN NULL;
END $$;

DROP TRIGGER event_of_change ON room_participants;
CREATE TRIGGER event_of_change AFTER UPDATE ON room_participants FOR EACH ROW
    WHEN ((OLD.left_at IS NULL) <> (NEW.left_at IS NULL) OR OLD.generation <> NEW.generation
          OR (OLD.room_id, OLD.user_id) <> (NEW.room_id, NEW.user_id))
    EXECUTE FUNCTION membership_event();

CREATE OR REPLACE FUNCTION user_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.users := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN
        INSERT INTO parlor.events (kind, user_id, generation) VALUES ('user-deleted', OLD.id, OLD.token_generation);
    END IF;
    INSERT INTO parlor.events (kind, user_id, generation)
    VALUES (CASE
                WHEN TG_OP = 'DELETE' OR OLD.deleted_at IS DISTINCT FROM NEW.deleted_at THEN 'user-deleted'
                WHEN OLD.disabled_at IS NULL AND NEW.disabled_at IS NOT NULL THEN 'user-disabled'
                WHEN OLD.disabled_at IS NOT NULL AND NEW.disabled_at IS NULL THEN 'user-enabled'
                WHEN OLD.token_generation <> NEW.token_generation OR OLD.tokens_from IS DISTINCT FROM NEW.tokens_from
                    THEN 'signed-out'
                ELSE 'user-changed'
            END,
            changed.id, changed.token_generation);
    RETURN NULL;
END $$;

DROP TRIGGER event_of_change ON users;
CREATE TRIGGER event_of_change AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.id, OLD.display_name, OLD.is_admin, OLD.guest_room_id, OLD.guest_until, OLD.disabled_at IS NULL,
           OLD.deleted_at IS NULL, OLD.token_generation, OLD.tokens_from) IS DISTINCT FROM
          (NEW.id, NEW.display_name, NEW.is_admin, NEW.guest_room_id, NEW.guest_until, NEW.disabled_at IS NULL,
           NEW.deleted_at IS NULL, NEW.token_generation, NEW.tokens_from))
    EXECUTE FUNCTION user_event();

CREATE OR REPLACE FUNCTION room_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.coworking_rooms := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.id <> NEW.id THEN
        INSERT INTO parlor.events (kind, room_id) VALUES ('room-closed', OLD.id);
    END IF;
    INSERT INTO parlor.events (kind, room_id)
    VALUES (CASE
                WHEN TG_OP = 'INSERT' THEN 'room-opened'
                WHEN TG_OP = 'DELETE' THEN 'room-closed'
                WHEN OLD.closed_at IS NULL AND NEW.closed_at IS NOT NULL THEN 'room-closed'
                WHEN OLD.closed_at IS NOT NULL AND NEW.closed_at IS NULL THEN 'room-opened'
                ELSE 'room-changed'
            END,
            changed.id);
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION ban_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.room_bans := coalesce(NEW, OLD);
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.room_id, OLD.user_id) <> (NEW.room_id, NEW.user_id) THEN
        INSERT INTO parlor.events (kind, room_id, user_id) VALUES ('unbanned', OLD.room_id, OLD.user_id);
    END IF;
    INSERT INTO parlor.events (kind, room_id, user_id, data)
    VALUES (CASE TG_OP WHEN 'DELETE' THEN 'unbanned' ELSE 'banned' END,
            changed.room_id, changed.user_id,
            jsonb_strip_nulls(jsonb_build_object('reason', changed.reason, 'until', changed.expires_at)));
    RETURN NULL;
END $$;

CREATE FUNCTION truncated_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parlor.events (kind, data) VALUES ('truncated', jsonb_build_object('table', TG_TABLE_NAME));
    RETURN NULL;
END $$;

CREATE TRIGGER event_of_truncated AFTER TRUNCATE ON users EXECUTE FUNCTION truncated_event();
CREATE TRIGGER event_of_truncated AFTER TRUNCATE ON coworking_rooms EXECUTE FUNCTION truncated_event();
CREATE TRIGGER event_of_truncated AFTER TRUNCATE ON room_participants EXECUTE FUNCTION truncated_event();
CREATE TRIGGER event_of_truncated AFTER TRUNCATE ON room_bans EXECUTE FUNCTION truncated_event();
-- Unread events may be lost.
CREATE TRIGGER event_of_truncated AFTER TRUNCATE ON events EXECUTE FUNCTION truncated_event();
