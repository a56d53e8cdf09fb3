//! A server that fails: killed, frozen, or without a free connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::time::Instant;
use tokio_postgres::NoTls;

use super::*;

/// How often the server is killed.
const KILLS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_write_is_lost_when_the_server_is_killed() {
    let server = Server::start();
    let database = server.create(None);
    let store = connect(&database).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = (0..4).map(|writer| {
        let (store, stop) = (store.clone(), stop.clone());
        tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let id = format!("user-{writer}-{number}");
                match store.provision(&id, None).await {
                    Ok(user) => acknowledged.push(user.id),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
            acknowledged
        })
    });
    let writing: Vec<_> = writing.collect();
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(300)).await;
        tokio::task::block_in_place(|| server.kill());
        let failed = store.users().await.unwrap_err();
        assert!(
            matches!(failed, StoreError::ServerUnreachable { .. }),
            "{failed}"
        );
        tokio::task::block_in_place(|| server.restart());
    }
    stop.store(true, Ordering::Relaxed);
    let stored = store.users().await.unwrap();
    let stored: std::collections::HashSet<_> = stored.into_iter().map(|user| user.id).collect();
    let mut count = 0;
    for writer in writing {
        for id in writer.await.unwrap() {
            count += 1;
            // The last ones may be younger than the list.
            assert!(
                stored.contains(&id) || !store.find_users(&id).await.unwrap().is_empty(),
                "{id}"
            );
        }
    }
    assert!(count > KILLS, "{count}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_fails_calls_in_time_and_its_return_is_a_change() {
    let server = Server::start();
    let database = server.create(None);
    let store = connect(&database).await.unwrap();
    let mut changes = store.changes();
    tokio::task::block_in_place(|| server.freeze());
    let frozen = Instant::now();
    let (read, write) = tokio::join!(store.users(), store.provision("alice", None));
    assert!(read.is_err() && write.is_err());
    // Generous: the timeouts of a connection and of a call.
    assert!(frozen.elapsed() < Duration::from_secs(20));
    // Longer than the timeout of a poll, so that changes may have been missed.
    tokio::time::sleep_until(frozen + Duration::from_secs(8)).await;
    tokio::task::block_in_place(|| server.resume());
    let changed = tokio::time::timeout(Duration::from_secs(30), changes.changed());
    changed.await.expect("in time").unwrap();
    store.provision("bob", None).await.unwrap();
}

#[tokio::test]
async fn a_locked_row_and_an_exhausted_pool_fail_calls_in_time() {
    let fixture = Fixture::postgres().await;
    fixture.store.provision("alice", None).await.unwrap();
    let url = fixture.database.as_ref().unwrap().url();
    let (other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    other
        .batch_execute("BEGIN; UPDATE parlor.users SET display_name = 'x'")
        .await
        .unwrap();
    let changes = fixture.store.changes();
    let calls = (0..20).map(|_| fixture.store.sign_out("alice", NOW));
    let calls = futures_util::future::join_all(calls);
    // Still without a connection when its caller stops waiting: nothing is in doubt.
    let stopped = fixture.store.sign_out("alice", NOW);
    let stopped = tokio::time::timeout(Duration::from_millis(500), stopped);
    let (outcomes, stopped) = tokio::join!(calls, stopped);
    assert!(stopped.is_err());
    let timed_out =
        |outcome: &Result<_, _>| matches!(outcome, Err(StoreError::ServerTimedOut { .. }));
    assert!(outcomes.iter().all(timed_out), "{outcomes:?}");
    assert!(!changes.has_changed().unwrap());
    // Stopped while the server works on it: the effect is unknown, and its connection serves no other call.
    let stopped = fixture.store.sign_out("alice", NOW);
    let stopped = tokio::time::timeout(Duration::from_secs(1), stopped).await;
    assert!(stopped.is_err());
    let mut changes = changes;
    let changed = tokio::time::timeout(Duration::from_secs(30), changes.changed());
    changed.await.expect("in time").unwrap();
    other.batch_execute("ROLLBACK").await.unwrap();
    fixture.store.sign_out("alice", NOW).await.unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_be_used_is_named_without_its_password() {
    let database = server().create(None);
    let missing = database.url().replace("test_", "missing_");
    let options = super::super::PostgresOptions {
        url: missing
            .replace("parlor@", "parlor:hunter2@")
            .parse()
            .unwrap(),
        password: None,
        ca_file: None,
        max_connections: 2,
    };
    let refused = crate::storage::Store::connect(&options).await;
    let error = refused.err().unwrap();
    assert!(matches!(error, StoreError::ServerRefused { .. }), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_full_disk_and_a_read_only_server_are_named() {
    let fixture = Fixture::postgres().await;
    let store = &fixture.store;
    // In place of a disk that is full.
    fixture.sql(
        "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full';
         END $$;
         CREATE TRIGGER fail BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fail()",
    );
    let full = store
        .provision("alice", None)
        .await
        .unwrap_err()
        .to_string();
    assert!(full.contains("is full"), "{full}");
    fixture.sql("DROP TRIGGER fail ON users");
    store.provision("alice", None).await.unwrap();
    let database = fixture.database.as_ref().unwrap();
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    database.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    // New connections have the setting.
    let read_only = fixture.second_store().await;
    let refused = [
        read_only.check_writable().await.unwrap_err(),
        read_only.sign_out("alice", NOW).await.unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, StoreError::ServerReadOnly(_)), "{error}");
    }
    assert_eq!(read_only.users().await.unwrap().len(), 1);
}
