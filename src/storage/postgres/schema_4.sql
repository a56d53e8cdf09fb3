-- Indexes, and no functions: those of this schema follow in files of their own. The number is SQLite's schema in which the
-- ids of messages are never used again, as here from the beginning.

-- It served no query.
DROP INDEX participants_gone;

-- A deleted user must not be referenced: without an index, each check reads a whole table. The partial index of
-- current memberships stays beside that of all: while few of them exist, the planner would rather read all current ones.
DROP INDEX rooms_by_owner;
CREATE INDEX rooms_by_owner ON coworking_rooms (owner_id, closed_at);
CREATE INDEX participants_ever ON room_participants (user_id);
CREATE INDEX invites_by_author ON room_invites (created_by) WHERE created_by IS NOT NULL;
CREATE INDEX bans_by_author ON room_bans (created_by) WHERE created_by IS NOT NULL;

-- All functions of schema 3. An admin's own stay. A later step that changes one drops the functions of this one first.
DO $$
DECLARE
    signature regprocedure;
BEGIN
    FOR signature IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'parlor'::regnamespace AND prokind = 'f' AND proname IN (
            'active_members', 'ban', 'change_room', 'close_room', 'create_invite', 'create_room', 'create_user',
            'delete_expired', 'delete_room', 'delete_user', 'disable_user', 'inactive', 'is_member_anywhere',
            'join_room', 'kick', 'leave_room', 'post_message', 'provision_user', 'redeem_invite', 'revoke_invite',
            'revoke_invites_of')
    LOOP
        EXECUTE 'DROP FUNCTION ' || signature;
    END LOOP;
END $$;
