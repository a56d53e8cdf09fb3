//! The schema in a database that other programs use as well.

use futures_util::future::join_all;

use tokio_postgres::NoTls;

use super::super::database::open_pool;
use super::super::error::ServerName;
use super::super::schema::{LockWaits, migrate_with};
use super::*;
use crate::storage::tests::options;
use crate::storage::tests::server::Database;
use crate::storage::{CopyError, copy};

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_as_it_is() {
    let fixture = Fixture::postgres().await;
    fixture.sql("UPDATE schema_version SET version = 8, min_reader = 8");
    let database = fixture.database.as_ref().unwrap();
    let newer = StoreError::NewerServerSchema {
        server: database.url(),
        found: 8,
        known: 7,
    };
    let refused = connect(database).await.err();
    assert_eq!(refused, Some(newer));
    let version = database.sql("SELECT version FROM parlor.schema_version");
    assert_eq!(version, "8");
}

#[tokio::test]
async fn a_newer_schema_for_this_version_is_used_and_not_copied() {
    let fixture = Fixture::postgres().await;
    fixture.sql(
        "UPDATE schema_version SET version = 8; ALTER TABLE room_bans ADD COLUMN severity integer",
    );
    let database = fixture.database.as_ref().unwrap();
    let store = connect(database).await.unwrap();
    store.provision("alice", None).await.unwrap();
    let version = database.sql("SELECT version FROM parlor.schema_version");
    assert_eq!(version, "8");
    let newer = StoreError::NewerServerSchema {
        server: database.url(),
        found: 8,
        known: 7,
    };
    let empty = Fixture::new();
    for (source, target) in [(&store, &empty.store), (&empty.store, &store)] {
        let copied = copy(source, "a", target).await;
        assert_eq!(copied, Err(CopyError::Store(newer.clone())));
    }
}

#[tokio::test]
async fn a_schema_of_another_program_is_refused_and_left_as_it_is() {
    let database = server().create(None);
    database.sql("CREATE SCHEMA parlor; CREATE TABLE parlor.users (id text)");
    let refused = connect(&database).await.err();
    assert_eq!(refused, Some(StoreError::ServerNotOurs(database.url())));
    assert_eq!(database.sql("SELECT count(*) FROM parlor.users"), "0");
}

#[tokio::test]
async fn tables_of_another_program_in_the_same_database_stay() {
    let database = server().create(None);
    database.sql("CREATE TABLE public.users (id text); INSERT INTO public.users VALUES ('theirs')");
    let store = connect(&database).await.unwrap();
    store.provision("ours", None).await.unwrap();
    assert_eq!(
        database.sql("SELECT string_agg(id, ',') FROM public.users"),
        "theirs"
    );
    assert_eq!(
        database.sql("SELECT string_agg(id, ',') FROM parlor.users"),
        "ours"
    );
}

#[tokio::test]
async fn several_processes_that_start_together_migrate_once() {
    let database = server().create(None);
    let stores = join_all((0..4).map(|_| connect(&database))).await;
    for store in stores {
        store.unwrap().provision("alice", None).await.unwrap();
    }
    assert_eq!(
        database.sql("SELECT count(*) FROM parlor.schema_version"),
        "1"
    );
    assert_eq!(database.sql("SELECT count(*) FROM parlor.users"), "1");
}

#[tokio::test]
async fn a_database_that_cannot_store_all_text_is_refused() {
    let database = server().create(Some("template0 ENCODING 'SQL_ASCII'"));
    let refused = connect(&database).await.err().unwrap().to_string();
    assert!(refused.contains("SQL_ASCII"), "{refused}");
}

#[tokio::test]
async fn a_role_needs_no_rights_beyond_a_schema_of_its_own() {
    let database = server().create(None);
    let role = database
        .url()
        .rsplit_once('/')
        .unwrap()
        .1
        .replace("test", "role");
    database.sql(&format!(
        "CREATE ROLE {role} LOGIN; CREATE SCHEMA parlor AUTHORIZATION {role}"
    ));
    let url = database.url().replace("//parlor@", &format!("//{role}@"));
    let options = super::super::PostgresOptions {
        url: url.parse().unwrap(),
        password: None,
        ca_file: None,
        max_connections: 2,
    };
    let store = crate::storage::Store::connect(&options).await.unwrap();
    store.check_writable().await.unwrap();
    store.provision("alice", None).await.unwrap();
    let changed = store.changes();
    drop(store);
    assert!(!changed.has_changed().unwrap_or(false));
    database.sql(&format!("DROP OWNED BY {role};; DROP ROLE {role}"));
}

#[tokio::test]
async fn functions_use_parlors_tables_with_any_search_path() {
    let fixture = Fixture::postgres().await;
    let database = fixture.database.as_ref().unwrap();
    // Without columns, so that any use of them fails.
    database.sql(
        "CREATE TABLE public.users (); CREATE TABLE public.coworking_rooms ();
         CREATE TABLE public.room_participants (); CREATE TABLE public.room_messages ();
         CREATE TABLE public.room_invites (); CREATE TABLE public.room_bans ();
         CREATE TABLE public.room_moderators (); CREATE TABLE public.room_audit ()",
    );
    let calls = [
        ("create_user('a', 'a', 'A', NULL, false, now())", "done"),
        ("create_user('b', 'b', 'B', NULL, false, now())", "done"),
        ("(provision_user('c', 'C', now())).id", "c"),
        (
            "create_room('r', 'r', true, true, 5, 'a', 10, now())",
            "done",
        ),
        (
            "(change_room('r', 'room', true, true, true, 4)).outcome",
            "done",
        ),
        (
            "create_invite('i', 'r', 'h', 'b', now() + interval '1 day', 5, 10, now())",
            "done",
        ),
        ("(join_room('r', 'a', 'none', NULL, now())).outcome", "done"),
        (
            "(join_room('r', 'b', 'invite', 'h', now())).outcome",
            "done",
        ),
        (
            "(join_room('r', 'c', 'token', NULL, now())).outcome",
            "done",
        ),
        (
            "(redeem_invite('r', 'h', 'guest', 'G', now() + interval '1 day', now())).outcome",
            "done",
        ),
        ("(post_message('r', 'a', 'text', 5, now())).outcome", "done"),
        ("(leave_room('r', 'a', now())).was_member", "t"),
        (
            "(kick('r', 'b', now() + interval '1 minute', now())).was_member",
            "t",
        ),
        (
            "(ban('r', 'guest', NULL, NULL, false, 10, now())).revoked",
            "t",
        ),
        ("unban('r', 'guest', 'a', 'reason', now())", "t"),
        ("(lock_room('r', true, 'a', NULL, now())).outcome", "done"),
        (
            "(set_role('r', 'b', 'owner', true, 'a', NULL, 10, now())).former_owner",
            "a",
        ),
        ("(disable_user('b', now())).account.id", "b"),
        ("(delete_user('b', 'Deleted', now())).account.id", "b"),
        ("(close_room('r', now())).room.id", "r"),
        ("(delete_room('r', now())).room.id", "r"),
        ("delete_expired(now() + interval '1 year', now(), 5)", "f"),
    ];
    for (call, expected) in calls {
        let found = call.find(|letter: char| letter.is_alphabetic()).unwrap();
        let sql = format!(
            "SET search_path = public; SELECT {}parlor.{}",
            &call[..found],
            &call[found..]
        );
        assert_eq!(database.sql(&sql), expected, "{call}");
    }
    let functions = database.sql(
        "SELECT string_agg(proname, ' ') FROM pg_proc
         WHERE pronamespace = 'parlor'::regnamespace AND prorettype <> 'trigger'::regtype",
    );
    for function in functions.split(' ') {
        let is_called = calls.iter().any(|(call, _)| call.contains(function));
        let helpers = [
            "active_members",
            "add_audit",
            "inactive",
            "is_member_anywhere",
            "revoke_invite",
            "revoke_invites_of",
        ];
        assert!(is_called || helpers.contains(&function), "{function}");
    }
}

/// The objects of the schema, with their definitions.
const OBJECTS: &str = "
    SELECT string_agg(definition, E'\n' ORDER BY definition) FROM (
        SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'parlor'::regnamespace
        UNION ALL SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
                  WHERE c.relnamespace = 'parlor'::regnamespace AND NOT tgisinternal
        UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'parlor'
        UNION ALL SELECT conrelid::regclass || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
                  WHERE connamespace = 'parlor'::regnamespace
        UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default, is_identity)
                  FROM information_schema.columns WHERE table_schema = 'parlor'
    ) objects (definition)";

#[tokio::test]
async fn a_database_of_schema_3_is_migrated_with_every_row() {
    let schema = [
        include_str!("../schema_3.sql"),
        include_str!("../triggers_3.sql"),
        // As it was on the main branch.
        include_str!("functions_3.sql"),
    ];
    every_row_is_migrated(3, &schema).await;
}

#[tokio::test]
async fn a_database_of_schema_4_is_migrated_with_every_row() {
    let schema = [
        include_str!("../schema_3.sql"),
        include_str!("../triggers_3.sql"),
        include_str!("../schema_4.sql"),
        include_str!("../triggers_4.sql"),
        include_str!("../functions_4.sql"),
        include_str!("../join_4.sql"),
    ];
    every_row_is_migrated(4, &schema).await;
}

#[tokio::test]
async fn a_database_of_schema_5_is_migrated_with_every_row() {
    every_row_is_migrated(5, &SCHEMA_5).await;
}

const SCHEMA_5: [&str; 7] = [
    include_str!("../schema_3.sql"),
    include_str!("../triggers_3.sql"),
    include_str!("../schema_4.sql"),
    include_str!("../triggers_4.sql"),
    include_str!("../functions_4.sql"),
    include_str!("../join_4.sql"),
    // Adds a column to the table with the version.
    concat!(
        "CREATE TABLE schema_version (version integer NOT NULL);",
        include_str!("../schema_5.sql")
    ),
];

#[tokio::test]
async fn a_database_of_schema_6_is_migrated_with_every_row() {
    let step = [
        include_str!("../schema_6.sql"),
        include_str!("../functions_6.sql"),
        include_str!("../join_6.sql"),
    ];
    every_row_is_migrated(6, &[&SCHEMA_5[..], &step].concat()).await;
}

/// A session that holds a lock on a table until it is dropped, as a long transaction of another node does.
async fn lock_table(database: &Database, table: &str, mode: &str) -> tokio_postgres::Client {
    let (other, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let lock = format!("BEGIN; LOCK TABLE parlor.{table} IN {mode} MODE");
    other.batch_execute(&lock).await.unwrap();
    other
}

/// Migrates with short waits for locks.
async fn migrate(database: &Database, attempts: u32) -> Result<(), StoreError> {
    let server = ServerName(database.url().into());
    let pool = open_pool(&options(database), 1, &server, "origin").unwrap();
    let waits = LockWaits {
        timeout: Duration::from_millis(50),
        attempts,
        pause: Duration::from_millis(10),
    };
    let migrated = migrate_with(&pool, &server, waits);
    let migrated = tokio::time::timeout(Duration::from_secs(60), migrated).await;
    migrated.expect("no wait for a lock is unbounded")
}

fn with_schema_5() -> Database {
    let database = server().create(None);
    database.sql(&format!(
        "CREATE SCHEMA parlor; SET search_path = parlor; {} INSERT INTO schema_version VALUES (5)",
        SCHEMA_5.join("\n")
    ));
    database
}

#[tokio::test]
async fn a_migration_that_finds_a_table_locked_keeps_its_earlier_steps_and_continues_later() {
    let database = with_schema_5();
    // Step 7 creates an index of this table, and step 6 does not use it.
    let other = lock_table(&database, "room_messages", "ROW EXCLUSIVE").await;
    let in_use = StoreError::ServerTablesInUse {
        server: database.url(),
        schema: 7,
    };
    assert_eq!(migrate(&database, 3).await, Err(in_use));
    let version = "SELECT version FROM parlor.schema_version";
    assert_eq!(database.sql(version), "6");
    drop(other);
    assert_eq!(migrate(&database, u32::MAX).await, Ok(()));
    assert_eq!(database.sql(version), "7");
}

#[tokio::test]
async fn a_migration_waits_for_a_locked_table_and_lets_other_sessions_pass() {
    let database = with_schema_5();
    let other = lock_table(&database, "coworking_rooms", "ACCESS SHARE").await;
    let queries = async {
        // Each would wait for the migration if that waited in front of it without end.
        for _ in 0..5 {
            let query = "SET lock_timeout = '20s'; SELECT count(*) FROM parlor.coworking_rooms";
            assert_eq!(database.sql(query), "0");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            database.sql("SELECT version FROM parlor.schema_version"),
            "5"
        );
        drop(other);
    };
    let (migrated, ()) = tokio::join!(migrate(&database, u32::MAX), queries);
    assert_eq!(migrated, Ok(()));
    assert_eq!(
        database.sql("SELECT version FROM parlor.schema_version"),
        "7"
    );
}

/// A parlor of schema 5 beside newer ones calls these functions with the parameters that it knows.
#[tokio::test]
async fn calls_of_parlor_with_schema_5_stay_valid() {
    let fixture = Fixture::postgres().await;
    let reader = "SELECT min_reader FROM schema_version";
    assert_eq!(fixture.number(reader), 5);
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    fixture.join("r", &alice).await.unwrap();
    let database = fixture.database.as_ref().unwrap();
    for (call, expected) in [
        ("SELECT was_member FROM kick($1, $2, now(), now())", "t"),
        (
            "SELECT outcome FROM ban($1, $2, NULL, NULL, false, 10, now())",
            "done",
        ),
    ] {
        let call = call
            .replace("$1", "'r'")
            .replace("$2", &format!("'{alice}'"));
        let outcome = database.sql(&format!("SET search_path = parlor; {call}"));
        assert_eq!(outcome, expected, "{call}");
    }
    assert_eq!(fixture.count("room_audit"), 2);
}

async fn every_row_is_migrated(version: u32, schema: &[&str]) {
    let database = server().create(None);
    database.sql(&format!(
        "CREATE SCHEMA parlor; SET search_path = parlor; {}
         CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL);
         INSERT INTO schema_version VALUES ({version});
         INSERT INTO users (id, name, display_name) VALUES ('alice', 'alice', 'Alice');
         INSERT INTO coworking_rooms (id, name) VALUES ('r', 'Room');
         INSERT INTO room_participants (room_id, user_id) VALUES ('r', 'alice');
         UPDATE room_participants SET left_at = now();
         INSERT INTO room_messages (room_id, user_id, content) VALUES ('r', 'alice', 'hello');
         CREATE FUNCTION theirs() RETURNS integer LANGUAGE sql AS 'SELECT 1';
         CREATE PROCEDURE theirs(integer) LANGUAGE sql AS 'SELECT 1'",
        schema.join("\n")
    ));
    let store = connect(&database).await.unwrap();
    let joined = store.join("r", "alice", JoinGrant::None, NOW).await;
    assert_eq!(joined.unwrap().generation, 1);
    let messages = store.messages("r", None, None, 10).await.unwrap();
    assert_eq!(messages[0].content, "hello");
    let new = server().create(None);
    drop(connect(&new).await.unwrap());
    // Fails if they are gone.
    database.sql("DROP FUNCTION parlor.theirs(); DROP PROCEDURE parlor.theirs(integer)");
    let objects = database.sql(OBJECTS);
    assert!(objects.contains("join_room"), "{objects}");
    assert_eq!(objects, new.sql(OBJECTS));
}

#[tokio::test]
async fn the_check_that_nothing_references_a_deleted_user_uses_an_index() {
    let fixture = Fixture::postgres().await;
    let unindexed = fixture.database.as_ref().unwrap().sql(
        "SELECT string_agg(conrelid::regclass || '.' || attname, ' ')
         FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
         WHERE c.confrelid = 'parlor.users'::regclass AND NOT EXISTS (
             SELECT 1 FROM pg_index i
             WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
               AND coalesce(pg_get_expr(i.indpred, i.indrelid), '') IN ('', format('(%s IS NOT NULL)', attname)))",
    );
    assert_eq!(unindexed, "");
}
