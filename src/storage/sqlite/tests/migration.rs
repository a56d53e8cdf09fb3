//! Databases with older schemas are migrated without loss.

use super::*;
use crate::storage::sqlite::schema::STEPS;

/// A database with the first released schema and a row in every table.
const FIRST: &str = "
    INSERT INTO coworking_rooms (id, name, is_private, max_participants, created_at)
        VALUES ('r', 'Room', 1, 5, '2025-01-01T00:00:00Z');
    INSERT INTO users (id, name, display_name, password_hash, is_admin, created_at)
        VALUES ('alice', 'alice', 'Alice', '$argon2id$x', 1, '2025-01-01T00:00:00Z');
    INSERT INTO users (id, name, display_name, created_at, disabled_at)
        VALUES ('bob', 'bob', 'Bob', '2025-01-01T00:00:00Z', '2025-02-01T00:00:00Z');
    INSERT INTO users (id, name, display_name, guest_room_id, guest_until, created_at)
        VALUES ('gast', 'gast', 'Gast', 'r', '2999-01-01T00:00:00Z', '2025-01-01T00:00:00Z');
    INSERT INTO room_participants (room_id, user_id, joined_at)
        VALUES ('r', 'alice', '2025-01-01T00:00:00Z'), ('r', 'gast', '2025-01-02T00:00:00Z');
    INSERT INTO room_messages (room_id, user_id, content, created_at)
        VALUES ('r', 'gast', 'hello', '2025-01-03T00:00:00Z');
    INSERT INTO room_invites (id, room_id, hash, created_by, created_at, expires_at, uses_left)
        VALUES ('i', 'r', x'00', 'alice', '2025-01-01T00:00:00Z', '2999-01-01T00:00:00Z', 3);
    INSERT INTO room_bans (room_id, user_id, reason, created_at)
        VALUES ('r', 'bob', 'noise', '2025-01-01T00:00:00Z');
";

fn first_schema() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let file = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    file.execute_batch(include_str!("../schema_1.sql")).unwrap();
    file.execute_batch("PRAGMA application_id = 0x70726c72; PRAGMA user_version = 1;")
        .unwrap();
    file.execute_batch(FIRST).unwrap();
    dir
}

#[tokio::test]
async fn a_file_of_each_older_schema_is_migrated_with_every_row() {
    for schema in 1..STEPS.len() {
        let dir = first_schema();
        let file = Connection::open(dir.path().join(FILE_NAME)).unwrap();
        for step in &STEPS[1..schema] {
            file.execute_batch(step).unwrap();
        }
        file.pragma_update(None, "user_version", schema as i64)
            .unwrap();
        drop(file);
        every_row_is_migrated(dir).await;
    }
}

async fn every_row_is_migrated(dir: tempfile::TempDir) {
    let store = Store::open(&dir.path().join(FILE_NAME)).unwrap();
    let fixture = Fixture {
        store,
        dir,
        database: None,
    };
    let version: u32 = fixture
        .other()
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .unwrap();
    assert_eq!(version, 7);
    let alice = fixture.found("alice").await.expect("alice");
    assert!(alice.admin && !alice.disabled);
    assert!(fixture.store.has_password("alice").await.unwrap());
    assert!(fixture.found("bob").await.expect("bob").disabled);
    assert_eq!(fixture.members("r").await, ["alice", "gast"]);
    let invites = fixture.store.invites(Some("r"), NOW, 10).await.unwrap();
    assert_eq!(invites[0].uses_left, Some(3));
    let messages = fixture.store.messages("r", None, None, 10).await.unwrap();
    assert_eq!(messages[0].content, "hello");
    fixture.store.enable_user("bob").await.unwrap();
    let banned = fixture.store.join("r", "bob", JoinGrant::Token, NOW);
    assert_eq!(banned.await, Err(JoinError::Banned { until: None }));
}

#[tokio::test]
async fn a_file_of_schema_2_is_migrated_with_every_row() {
    let dir = first_schema();
    let path = dir.path().join(FILE_NAME);
    let file = Connection::open(&path).unwrap();
    file.execute_batch(include_str!("../schema_2.sql")).unwrap();
    file.execute_batch(
        "PRAGMA user_version = 2;
         UPDATE room_participants SET left_at = '2025-02-01T00:00:00Z',
                kicked_until = '2999-01-01T00:00:00Z' WHERE user_id = 'gast';
         UPDATE room_invites SET revoked_at = '2025-02-01T00:00:00Z'",
    )
    .unwrap();
    drop(file);
    let store = Store::open(&path).unwrap();
    let fixture = Fixture {
        store,
        dir,
        database: None,
    };
    assert_eq!(fixture.members("r").await, ["alice"]);
    let kicked = fixture.store.admission("r", "gast", NOW).await.unwrap();
    assert!(matches!(kicked.removal, Some(Removal::Kicked { .. })));
    assert_eq!((kicked.generation, kicked.ever_member), (1, true));
    assert_eq!(fixture.store.invites(Some("r"), NOW, 10).await.unwrap(), []);
}

#[tokio::test]
async fn only_those_disabled_before_the_migration_have_ended_tokens() {
    let dir = first_schema();
    let store = Store::open(&dir.path().join(FILE_NAME)).unwrap();
    let ended = "SELECT group_concat(id) FROM users
                 WHERE token_generation > 0 AND tokens_from = disabled_at";
    let fixture = Fixture {
        store,
        dir,
        database: None,
    };
    let ended: String = fixture
        .other()
        .query_row(ended, (), |row| row.get(0))
        .unwrap();
    assert_eq!(ended, "bob");
}

#[test]
fn a_schema_after_the_newest_is_refused_and_left_as_it_is() {
    let fixture = Fixture::new();
    fixture.sql("PRAGMA user_version = 8");
    let path = fixture.dir.path().join(FILE_NAME);
    let refused = Store::open(&path).err();
    let newer = StoreError::NewerSchema {
        path,
        found: 8,
        known: 7,
    };
    assert_eq!(refused, Some(newer));
    let version: u32 = fixture
        .other()
        .query_row("PRAGMA user_version", (), |row| row.get(0))
        .unwrap();
    assert_eq!(version, 8);
}

#[tokio::test]
async fn a_membership_that_had_ended_before_the_migration_has_ended_once() {
    let dir = first_schema();
    let path = dir.path().join(FILE_NAME);
    let file = Connection::open(&path).unwrap();
    file.execute_batch(
        "UPDATE room_participants SET left_at = '2025-02-01T00:00:00Z' WHERE user_id = 'gast'",
    )
    .unwrap();
    let store = Store::open(&path).unwrap();
    let fixture = Fixture {
        store,
        dir,
        database: None,
    };
    assert_eq!(fixture.generation("r", "alice"), 0);
    assert_eq!(fixture.generation("r", "gast"), 1);
}
