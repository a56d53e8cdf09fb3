//! Changes by other processes.

use std::collections::HashMap;

use deadpool_postgres::{Manager, Pool};
use tokio::sync::watch;
use tokio_postgres::NoTls;

use super::super::changes::{POLL, Poller};
use super::super::doubt::Doubt;
use super::super::error::ServerName;
use super::*;
use crate::clock;
use crate::credential::Subjects;
use crate::storage::{Cause, Changes};

/// Limit of a wait; a passing test never reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

pub(super) async fn noticed(changes: &mut watch::Receiver<u64>) -> u64 {
    let changed = tokio::time::timeout(DEADLINE, changes.changed());
    changed.await.expect("noticed in time").unwrap();
    *changes.borrow_and_update()
}

#[tokio::test]
async fn changes_of_other_processes_are_noticed_and_own_ones_are_not() {
    let fixture = Fixture::postgres().await;
    let mut changes = fixture.store.changes();
    fixture.room("r", false, None).await;
    fixture.room("other", false, None).await;
    fixture.store.provision("alice", None).await.unwrap();
    fixture.join("r", "alice").await.unwrap();
    // Longer than the interval of the polls.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!changes.has_changed().unwrap());
    for sql in [
        "UPDATE users SET disabled_at = now()",
        "UPDATE users SET disabled_at = NULL",
        "UPDATE users SET token_generation = 7",
        "UPDATE users SET tokens_from = now()",
        "UPDATE users SET guest_room_id = 'r', guest_until = now() + interval '1 day'",
        "UPDATE users SET guest_room_id = 'other'",
        "UPDATE users SET guest_room_id = NULL, guest_until = NULL",
        "UPDATE room_participants SET left_at = now()",
        "UPDATE room_participants SET left_at = NULL",
        "DELETE FROM room_participants",
        "INSERT INTO room_bans (room_id, user_id) VALUES ('r', 'alice')",
        "UPDATE coworking_rooms SET closed_at = now()",
        "DELETE FROM room_bans",
        "DELETE FROM coworking_rooms",
    ] {
        let before = *changes.borrow_and_update();
        fixture.sql(sql);
        assert!(noticed(&mut changes).await > before, "{sql}");
    }
    fixture
        .second_store()
        .await
        .provision("bob", None)
        .await
        .unwrap();
    let other = fixture.second_store().await;
    other.sign_out("bob", NOW).await.unwrap();
    noticed(&mut changes).await;
}

#[tokio::test]
async fn an_event_has_the_names_and_generations_of_the_change() {
    let fixture = Fixture::postgres().await;
    fixture.room("r", false, None).await;
    fixture.store.provision("a", None).await.unwrap();
    fixture.join("r", "a").await.unwrap();
    fixture
        .store
        .kick("r", "a", NOW + 1, Cause::default(), NOW)
        .await
        .unwrap();
    let join = fixture.store.join("r", "a", JoinGrant::Operator, NOW);
    join.await.unwrap();
    fixture.store.leave("r", "a", NOW).await.unwrap();
    fixture.store.leave("r", "a", NOW).await.unwrap();
    fixture.store.sign_out("a", NOW).await.unwrap();
    fixture.store.close_room("r", NOW).await.unwrap();
    let events = fixture.database.as_ref().unwrap().sql(
        "SELECT string_agg(concat_ws(' ', kind, room_id, user_id, generation), ', ' ORDER BY id)
         FROM parlor.events WHERE origin IS NOT NULL",
    );
    assert_eq!(
        events,
        "room-opened r, joined r a 0, kicked r a 1, joined r a 1, left r a 2, signed-out a 1, room-closed r"
    );
}

#[tokio::test]
async fn an_open_transaction_holds_no_change_back() {
    let fixture = Fixture::postgres().await;
    for user in ["early", "late"] {
        fixture.store.provision(user, None).await.unwrap();
    }
    let mut changes = fixture.store.changes();
    let url = fixture.database.as_ref().unwrap().url();
    let (slow, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    slow.batch_execute("BEGIN; UPDATE parlor.users SET disabled_at = now() WHERE id = 'early'")
        .await
        .unwrap();
    fixture.sql("UPDATE users SET disabled_at = now() WHERE id = 'late'");
    assert_eq!(noticed(&mut changes).await, 1);
    slow.batch_execute("COMMIT").await.unwrap();
    assert_eq!(noticed(&mut changes).await, 2);
}

/// A poller whose own events have the origin `own`.
async fn poller(url: &str) -> Poller {
    let mut config: tokio_postgres::Config = url.parse().unwrap();
    config.options("-c search_path=parlor");
    let pool = Pool::builder(Manager::new(config, NoTls)).max_size(1);
    let (server, doubt) = (ServerName("test".into()), Doubt::default());
    let poller = Poller::start(pool.build().unwrap(), &server, "own", &doubt);
    poller.await.unwrap()
}

#[tokio::test]
async fn a_pause_after_which_events_may_be_gone_counts_as_a_change_of_everything() {
    let fixture = Fixture::postgres().await;
    fixture.store.provision("alice", None).await.unwrap();
    let mut poller = poller(&fixture.database.as_ref().unwrap().url()).await;
    let mut now = clock::now().mono;
    fixture.sql("UPDATE users SET disabled_at = now()");
    let mut alice = Subjects::default();
    alice.insert(Some("alice"), None);
    for (pause, expected) in [
        (Duration::from_secs(49 * 60), Changes::Of(alice)),
        (Duration::from_secs(49 * 60), Changes::default()),
        (Duration::from_secs(51 * 60), Changes::Everything),
        (Duration::from_secs(1), Changes::default()),
    ] {
        now = now + pause;
        assert_eq!(poller.tick(now).await, expected, "{pause:?}");
    }
}

#[tokio::test]
async fn a_poll_finds_each_commit_once_in_any_order_of_transactions() {
    const TRANSACTIONS: usize = 24;
    let fixture = Fixture::postgres().await;
    let url = fixture.database.as_ref().unwrap().url();
    let mut poller = poller(&url).await;
    let mut open = Vec::new();
    for number in 0..TRANSACTIONS {
        let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        tokio::spawn(connection);
        let origin = if number % 4 == 1 { "'own'" } else { "NULL" };
        let insert = format!(
            "BEGIN; SAVEPOINT s; INSERT INTO parlor.events (kind, user_id, origin)
             VALUES ('x', 'user-{number}', {origin}); RELEASE s"
        );
        client.batch_execute(&insert).await.unwrap();
        open.push(client);
        // Polls see none of the open ones, but begin between them.
        assert!(poller.poll(true).await.unwrap().is_empty(), "{number}");
    }
    // Every number once, up and down; the first transaction, which is the oldest, ends last.
    for step in 1..=TRANSACTIONS {
        let number = step * 7 % TRANSACTIONS;
        let is_own = number % 4 == 1;
        let is_in_doubt = number % 8 == 1;
        let end = if number % 4 == 2 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        open[number].batch_execute(end).await.unwrap();
        let mut expected = Subjects::default();
        if end == "COMMIT" && (!is_own || is_in_doubt) {
            expected.insert(Some(&format!("user-{number}")), None);
        }
        assert_eq!(
            poller.poll(is_in_doubt).await.unwrap(),
            Changes::Of(expected),
            "{number}"
        );
        assert!(
            poller.poll(true).await.unwrap().is_empty(),
            "{number} again"
        );
    }
}

#[tokio::test]
async fn polls_beside_many_writers_find_each_commit_once() {
    const WRITERS: usize = 12;
    const TRANSACTIONS: usize = 60;
    let fixture = Fixture::postgres().await;
    let url = fixture.database.as_ref().unwrap().url();
    let mut poller = poller(&url).await;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let url = url.clone();
        writers.spawn(async move {
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            for number in 0..TRANSACTIONS {
                // Short and long ones, and every sixth has no effect.
                let end = if number % 6 == 5 { "ROLLBACK" } else { "COMMIT" };
                let longest = if number % 10 == writer % 10 { 0.2 } else { 0.01 };
                let transaction = format!(
                    "BEGIN; INSERT INTO parlor.events (kind, user_id) VALUES ('x', '{writer}-{number}');
                     SELECT pg_sleep(random() * {longest}); {end}"
                );
                client.batch_execute(&transaction).await.unwrap();
            }
        });
    }
    let mut found = HashMap::new();
    let mut is_written = false;
    loop {
        match poller.poll(false).await.unwrap() {
            Changes::Everything => panic!("more events than a poll reads"),
            Changes::Of(subjects) => {
                for user in subjects.users {
                    *found.entry(user).or_insert(0) += 1;
                }
            }
        }
        if is_written {
            break;
        }
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
        is_written = writers.is_empty();
    }
    for writer in 0..WRITERS {
        for number in 0..TRANSACTIONS {
            let user: Box<str> = format!("{writer}-{number}").into();
            let expected = (number % 6 != 5).then_some(1);
            assert_eq!(found.remove(&user), expected, "{user}");
        }
    }
}

#[tokio::test]
async fn a_poll_uses_the_index_after_one_transaction_has_written_most_events() {
    let fixture = Fixture::postgres().await;
    let database = fixture.database.as_ref().unwrap();
    database.sql(
        "INSERT INTO parlor.events (kind, user_id) SELECT 'x', n::text FROM generate_series(1, 20000) n;
         ANALYZE parlor.events",
    );
    for mode in ["force_custom_plan", "force_generic_plan"] {
        let plan = database.sql(&format!(
            "SET search_path = parlor; SET plan_cache_mode = {mode}; PREPARE poll AS {POLL};
             EXPLAIN EXECUTE poll('10:20:10,12', 'own', false, 1001)"
        ));
        assert!(!plan.contains("Seq Scan"), "{plan}");
        assert!(plan.contains("xid <= was_open"), "{plan}");
    }
}

#[tokio::test]
async fn old_events_are_deleted_after_all_have_read_them() {
    let database = server().create(None);
    drop(connect(&database).await.unwrap());
    let url = database.url();
    let kinds =
        || database.sql("SELECT string_agg(DISTINCT kind, ' ' ORDER BY kind) FROM parlor.events");
    let (slow, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    slow.batch_execute(
        "BEGIN; INSERT INTO parlor.events (kind, user_id, at)
                VALUES ('late', 'alice', now() - interval '61 minutes')",
    )
    .await
    .unwrap();
    database.sql(
        "INSERT INTO parlor.events (kind, user_id, at)
         SELECT 'old', 'bob', now() - interval '61 minutes' FROM generate_series(1, 15000);
         INSERT INTO parlor.events (kind, user_id, at) VALUES ('young', 'bob', now() - interval '59 minutes');
         INSERT INTO parlor.events (kind, user_id, at, xid)
         VALUES ('restored', 'bob', now() - interval '61 minutes', '999999999')",
    );
    let mut poller = poller(&url).await;
    let mut now = clock::now().mono;
    poller.clean_up(now).await;
    assert_eq!(kinds(), "old restored young");
    now = now + Duration::from_secs(60);
    // Two parts.
    for expected in ["old restored young", "young"] {
        poller.clean_up(now).await;
        assert_eq!(kinds(), expected);
    }
    slow.batch_execute("COMMIT").await.unwrap();
    // It is old, but nobody has read it.
    now = now + Duration::from_secs(60);
    poller.clean_up(now).await;
    assert_eq!(kinds(), "late young");
    let mut alice = Subjects::default();
    alice.insert(Some("alice"), None);
    assert_eq!(poller.poll(false).await.unwrap(), Changes::Of(alice));
    for expected in ["late young", "young"] {
        now = now + Duration::from_secs(60);
        poller.clean_up(now).await;
        assert_eq!(kinds(), expected);
    }
}

#[tokio::test]
async fn raw_changes_report_the_rows_before_and_after_them() {
    let fixture = Fixture::postgres().await;
    for room in ["r", "s"] {
        fixture.room(room, false, None).await;
    }
    for user in ["a", "b", "unused"] {
        fixture.store.provision(user, None).await.unwrap();
    }
    fixture.join("r", "a").await.unwrap();
    let mut poller = poller(&fixture.database.as_ref().unwrap().url()).await;
    for (sql, expected) in [
        ("UPDATE room_participants SET generation = 5", "a@r"),
        ("UPDATE room_participants SET room_id = 's'", "a@r a@s"),
        ("UPDATE room_participants SET user_id = 'b'", "a@s b@s"),
        ("UPDATE room_participants SET left_at = now()", "b@s"),
        ("UPDATE room_participants SET generation = 9", "b@s"),
        ("UPDATE room_participants SET joined_at = now()", ""),
        (
            "INSERT INTO room_bans (room_id, user_id) VALUES ('r', 'a')",
            "a@r",
        ),
        ("UPDATE room_bans SET user_id = 'b'", "a@r b@r"),
        ("UPDATE room_bans SET room_id = 's'", "b@r b@s"),
        (
            "INSERT INTO room_moderators (room_id, user_id) VALUES ('r', 'a')",
            "a@r",
        ),
        ("UPDATE room_moderators SET user_id = 'b'", "a@r b@r"),
        ("DELETE FROM room_moderators", "b@r"),
        (
            "UPDATE coworking_rooms SET locked_at = now() WHERE id = 'r'",
            "@r",
        ),
        (
            "UPDATE users SET id = 'used' WHERE id = 'unused'",
            "unused used",
        ),
        (
            "UPDATE coworking_rooms SET id = 'q' WHERE id = 'r'",
            "@q @r",
        ),
        ("TRUNCATE room_bans", "everything"),
        ("TRUNCATE room_moderators", "everything"),
        ("TRUNCATE room_participants", "everything"),
        ("TRUNCATE events", "everything"),
        ("TRUNCATE users CASCADE", "everything"),
        ("TRUNCATE coworking_rooms CASCADE", "everything"),
    ] {
        fixture.sql(sql);
        let found = match poller.poll(false).await.unwrap() {
            Changes::Everything => "everything".to_owned(),
            Changes::Of(subjects) => {
                let memberships = subjects.memberships.iter();
                let mut found: Vec<_> = memberships
                    .map(|(user, room)| format!("{user}@{room}"))
                    .chain(subjects.rooms.iter().map(|room| format!("@{room}")))
                    .chain(subjects.users.iter().map(ToString::to_string))
                    .collect();
                found.sort();
                found.join(" ")
            }
        };
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn a_commit_that_comes_after_its_timeout_is_noticed() {
    let fixture = Fixture::postgres().await;
    fixture.store.provision("alice", None).await.unwrap();
    // The server's timeouts of a statement do not count at the commit.
    fixture.sql(
        "CREATE FUNCTION hang() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             PERFORM set_config('lock_timeout', '0', true), pg_advisory_xact_lock(1);
             RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER hang AFTER UPDATE ON users DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW EXECUTE FUNCTION hang()",
    );
    let url = fixture.database.as_ref().unwrap().url();
    let (disk, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    disk.batch_execute("SELECT pg_advisory_lock(1)")
        .await
        .unwrap();
    let mut changes = fixture.store.changes();
    let failed = fixture.store.sign_out("alice", NOW).await.unwrap_err();
    assert!(
        matches!(failed, StoreError::ServerTimedOut { .. }),
        "{failed}"
    );
    noticed(&mut changes).await;
    let generation = || {
        fixture
            .database
            .as_ref()
            .unwrap()
            .sql("SELECT token_generation FROM parlor.users")
    };
    assert_eq!(generation(), "0");
    disk.batch_execute("SELECT pg_advisory_unlock(1)")
        .await
        .unwrap();
    // The end of the doubt would be noticed as well, but later.
    let changed = tokio::time::timeout(Duration::from_secs(15), changes.changed());
    changed
        .await
        .expect("noticed before the doubt ends")
        .unwrap();
    assert_eq!(generation(), "1");
    changes.mark_unchanged();
    // It ends: own changes are no longer noticed.
    noticed(&mut changes).await;
    fixture.store.provision("bob", None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!changes.has_changed().unwrap());
}
