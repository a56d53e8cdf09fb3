//! A server that fails: killed, frozen, or without a free connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use super::super::database::open_pool;
use super::super::error::ServerName;
use super::super::lock::StoreLock;
use super::super::probe::probe;
use super::*;
use crate::storage::{CreateError, JoinError, PostgresOptions};
use crate::storage::{NewInvite, NewRoom};

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

/// Clients without an account can begin such calls and hang up.
#[tokio::test]
async fn a_stopped_call_that_takes_nobodys_access_raises_no_doubt() {
    let fixture = Fixture::postgres().await;
    fixture.room("r", false, None).await;
    let url = fixture.database.as_ref().unwrap().url();
    let (other, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    other
        .batch_execute(
            "BEGIN; LOCK TABLE parlor.room_invites, parlor.users, parlor.coworking_rooms",
        )
        .await
        .unwrap();
    let changes = fixture.store.changes();
    let invite = NewInvite {
        room_id: "r".to_owned(),
        created_by: None,
        ttl: Duration::from_secs(60),
        uses: None,
    };
    let room = NewRoom {
        name: "other".to_owned(),
        ..NewRoom::default()
    };
    let store = &fixture.store;
    let stopped = Duration::from_secs(1);
    let redeemed = store.redeem_invite(None, "wrong", "Guest", NOW, NOW + 60);
    let redeemed = tokio::time::timeout(stopped, redeemed);
    let invited = tokio::time::timeout(stopped, store.create_invite(invite));
    let revoked = tokio::time::timeout(stopped, store.revoke_invite(None, "i", NOW));
    let extended = tokio::time::timeout(stopped, store.set_invite_expiry("i", NOW));
    let opened = tokio::time::timeout(stopped, store.create_room(room));
    let stopped = tokio::join!(redeemed, invited, revoked, extended, opened);
    assert!(stopped.0.is_err() && stopped.1.is_err() && stopped.2.is_err());
    assert!(stopped.3.is_err() && stopped.4.is_err());
    other.batch_execute("ROLLBACK").await.unwrap();
    // Longer than the interval of the polls.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!changes.has_changed().unwrap());
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
    for (state, unreachable) in [
        ("08006", true),
        ("57P04", true),
        ("40001", false),
        ("53200", false),
    ] {
        fixture.sql(&format!(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 RAISE EXCEPTION 'no' USING ERRCODE = '{state}';
             END $$;
             CREATE TRIGGER fail BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION fail()"
        ));
        match store.provision("alice", None).await.unwrap_err() {
            CreateError::Store(StoreError::ServerUnreachable { .. }) if unreachable => {}
            CreateError::Store(StoreError::ServerBusy { .. }) if !unreachable => {}
            error => panic!("{state}: {error}"),
        }
        fixture.sql("DROP TRIGGER fail ON users; DROP FUNCTION fail");
    }
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
    let options = options(&database.url());
    let probed = probe(&options, StoreLock::Exclusive, None).await;
    assert_eq!(probed, Ok(Vec::new()));
    database.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_read_only = on"
    ));
    // New connections have the setting.
    let read_only = fixture.second_store().await;
    let refused = [
        read_only.check_writable().await.unwrap_err(),
        read_only.sign_out("alice", NOW).await.unwrap_err(),
        probe(&options, StoreLock::Exclusive, None)
            .await
            .unwrap_err(),
    ];
    for error in refused {
        assert!(matches!(error, StoreError::ServerReadOnly(_)), "{error}");
    }
    assert_eq!(read_only.users().await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_server_that_stops_answering_after_the_login_fails_a_connection_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut startup = [0; 512];
        assert!(stream.read(&mut startup).await.unwrap() > 0);
        // AuthenticationOk and ReadyForQuery.
        let answer = b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I";
        stream.write_all(answer).await.unwrap();
        std::future::pending::<()>().await;
    });
    let server = ServerName("fake".into());
    let url = format!("postgres://parlor@127.0.0.1:{port}/x");
    let pool = open_pool(&options(&url), 1, &server, "origin").unwrap();
    // Generous: a passing test waits for two seconds.
    let connected = tokio::time::timeout(Duration::from_secs(30), pool.get()).await;
    let error = connected.expect("in time").map(drop).unwrap_err();
    let failure = server.pool_failure(&error, Duration::from_secs(1));
    assert!(
        matches!(failure.error, StoreError::ServerUnreachable { .. }),
        "{failure:?}"
    );
    silent.abort();
}

#[tokio::test]
async fn a_server_that_is_down_leaves_time_for_the_next_one() {
    let server = ServerName("fake".into());
    for (hosts, seconds) in [("db", 3), ("a,b", 4), ("a,b,c", 5)] {
        let url = format!("postgres://parlor@{hosts}/x");
        let pool = open_pool(&options(&url), 1, &server, "origin").unwrap();
        let create = pool.timeouts().create;
        assert_eq!(create, Some(Duration::from_secs(seconds)), "{hosts}");
    }
}

fn options(url: &str) -> PostgresOptions {
    PostgresOptions {
        url: url.parse().unwrap(),
        password: None,
        ca_file: None,
        max_connections: 2,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_sees_a_ban_it_waited_for_with_any_default_isolation() {
    let fixture = Fixture::postgres().await;
    fixture.room("r", false, None).await;
    fixture.store.provision("alice", None).await.unwrap();
    let database = fixture.database.as_ref().unwrap();
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    database.sql(&format!(
        "ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
    ));
    let store = fixture.second_store().await;
    let (other, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    other
        .batch_execute(
            "SET search_path = parlor; BEGIN;
             SELECT ban('r', 'alice', NULL, NULL, true, 10, now())",
        )
        .await
        .unwrap();
    let join = tokio::spawn(async move { store.join("r", "alice", JoinGrant::None, NOW).await });
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
    );
    let deadline = Instant::now() + Duration::from_secs(30);
    while tokio::task::block_in_place(|| database.sql(&waiting)) != "1" {
        assert!(Instant::now() < deadline);
    }
    other.batch_execute("COMMIT").await.unwrap();
    let joined = join.await.unwrap();
    assert_eq!(joined, Err(JoinError::Banned { until: None }));
}
