-- Drops an index that served no query. A message's number is never used again, in SQLite as well.

DROP INDEX participants_gone;

-- The functions follow anew: whoever changes one adds a step with this block and all functions.
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
