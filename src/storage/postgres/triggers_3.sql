-- Triggers that write events, and count the generations of memberships. They name the schema, because other
-- programs (psql) have another search path.

CREATE FUNCTION count_generation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.generation := OLD.generation + 1;
    RETURN NEW;
END $$;

CREATE TRIGGER generation BEFORE UPDATE ON room_participants FOR EACH ROW
    WHEN (OLD.left_at IS NULL AND NEW.left_at IS NOT NULL)
    EXECUTE FUNCTION count_generation();

CREATE FUNCTION membership_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.room_participants := coalesce(NEW, OLD);
BEGIN
    INSERT INTO parlor.events (kind, room_id, user_id, generation)
    VALUES (CASE
                WHEN TG_OP <> 'DELETE' AND changed.left_at IS NULL THEN 'joined'
                WHEN TG_OP = 'UPDATE' AND NEW.kicked_until IS DISTINCT FROM OLD.kicked_until THEN 'kicked'
                ELSE 'left'
            END,
            changed.room_id, changed.user_id, changed.generation);
    RETURN NULL;
END $$;

CREATE TRIGGER event_of_new AFTER INSERT ON room_participants FOR EACH ROW
    WHEN (NEW.left_at IS NULL) EXECUTE FUNCTION membership_event();
CREATE TRIGGER event_of_change AFTER UPDATE ON room_participants FOR EACH ROW
    WHEN ((OLD.left_at IS NULL) IS DISTINCT FROM (NEW.left_at IS NULL))
    EXECUTE FUNCTION membership_event();
CREATE TRIGGER event_of_deleted AFTER DELETE ON room_participants FOR EACH ROW
    WHEN (OLD.left_at IS NULL) EXECUTE FUNCTION membership_event();

CREATE FUNCTION user_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.users := coalesce(NEW, OLD);
BEGIN
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

CREATE TRIGGER event_of_change AFTER UPDATE ON users FOR EACH ROW
    WHEN ((OLD.display_name, OLD.is_admin, OLD.guest_room_id, OLD.guest_until, OLD.disabled_at IS NULL,
           OLD.deleted_at IS NULL, OLD.token_generation, OLD.tokens_from) IS DISTINCT FROM
          (NEW.display_name, NEW.is_admin, NEW.guest_room_id, NEW.guest_until, NEW.disabled_at IS NULL,
           NEW.deleted_at IS NULL, NEW.token_generation, NEW.tokens_from))
    EXECUTE FUNCTION user_event();
CREATE TRIGGER event_of_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION user_event();

CREATE FUNCTION room_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.coworking_rooms := coalesce(NEW, OLD);
BEGIN
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

CREATE TRIGGER event AFTER INSERT OR UPDATE OR DELETE ON coworking_rooms FOR EACH ROW
    EXECUTE FUNCTION room_event();

CREATE FUNCTION ban_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed parlor.room_bans := coalesce(NEW, OLD);
BEGIN
    INSERT INTO parlor.events (kind, room_id, user_id, data)
    VALUES (CASE TG_OP WHEN 'DELETE' THEN 'unbanned' ELSE 'banned' END,
            changed.room_id, changed.user_id,
            jsonb_strip_nulls(jsonb_build_object('reason', changed.reason, 'until', changed.expires_at)));
    RETURN NULL;
END $$;

CREATE TRIGGER event AFTER INSERT OR UPDATE OR DELETE ON room_bans FOR EACH ROW
    EXECUTE FUNCTION ban_event();
