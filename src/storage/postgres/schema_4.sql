-- Drops an index that served no query. The number is SQLite's schema in which the ids of messages are never used again, as
-- here from the beginning.

DROP INDEX participants_gone;

-- All functions follow anew. A later step that changes one begins with this block, too.
DO $$
DECLARE
    signature regprocedure;
BEGIN
    FOR signature IN
        SELECT oid FROM pg_proc
        WHERE pronamespace = 'parlor'::regnamespace AND prorettype <> 'trigger'::regtype
    LOOP
        EXECUTE 'DROP FUNCTION ' || signature;
    END LOOP;
END $$;
