//! Calls that run again: after a lost connection, and after a conflict.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::time::Instant;

use super::*;
use crate::storage::{CreateError, NewInvite, PostgresOptions, Store};

/// The end of an answer with one row: the server has committed before it sends this.
const COMPLETE: &[u8] = b"SELECT 1\0";

/// Connects through a proxy that loses the first answer to a statement with this text.
async fn connect_with_loss(fixture: &Fixture, text: &'static str) -> (Store, Arc<AtomicBool>) {
    let url = fixture.database.as_ref().unwrap().url();
    let (directory, name) = url.split_once('@').unwrap().1.split_once('/').unwrap();
    let socket = PathBuf::from(directory.replace("%2F", "/")).join(".s.PGSQL.5432");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "postgres://parlor@{}/{name}",
        listener.local_addr().unwrap()
    );
    let is_lost = Arc::new(AtomicBool::new(false));
    let lost = is_lost.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = UnixStream::connect(&socket).await.unwrap();
            tokio::spawn(forward(client, server, text, lost.clone()));
        }
    });
    let options = PostgresOptions {
        url: url.parse().unwrap(),
        password: None,
        ca_file: None,
        max_connections: 2,
    };
    (Store::connect(&options).await.unwrap(), is_lost)
}

/// Forwards until one end closes, or the answer is lost.
async fn forward(mut client: TcpStream, mut server: UnixStream, text: &str, lost: Arc<AtomicBool>) {
    let mut has_text = false;
    let (mut request, mut answer) = (vec![0; 65536], vec![0; 65536]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => {
                let Ok(bytes @ 1..) = read else { return };
                let bytes = &request[..bytes];
                has_text |= contains(bytes, text.as_bytes());
                server.write_all(bytes).await.unwrap();
            }
            read = server.read(&mut answer) => {
                let Ok(bytes @ 1..) = read else { return };
                let bytes = &answer[..bytes];
                if has_text && contains(bytes, COMPLETE) && !lost.swap(true, Ordering::Relaxed) {
                    return;
                }
                if client.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_user_whose_deletion_was_not_answered_is_deleted_once() {
    let fixture = Fixture::postgres().await;
    fixture.room("r", false, None).await;
    let alice = fixture.user("alice").await;
    fixture.join("r", &alice).await.unwrap();
    let (store, is_lost) = connect_with_loss(&fixture, "delete_user").await;
    let deleted = store.delete_user(&alice, NOW).await.unwrap();
    assert!(is_lost.load(Ordering::Relaxed));
    assert_eq!(deleted.expect("deleted").user.id, alice);
    assert_eq!(fixture.generation("r", &alice), 1);
    let deletions = "SELECT count(*) FROM events WHERE kind = 'user-deleted'";
    assert_eq!(fixture.number(deletions), 1);
    // Another call at the same time is no repetition.
    assert_eq!(store.delete_user(&alice, NOW).await, Ok(None));
}

#[tokio::test]
async fn an_invite_whose_creation_was_not_answered_is_not_created_again() {
    let fixture = Fixture::postgres().await;
    fixture.room("r", false, None).await;
    let (store, is_lost) = connect_with_loss(&fixture, "create_invite").await;
    let invite = NewInvite {
        room_id: "r".to_owned(),
        created_by: None,
        ttl: Duration::from_secs(60),
        uses: None,
    };
    let created = store.create_invite(invite).await.map(drop);
    assert!(is_lost.load(Ordering::Relaxed));
    let error = created.unwrap_err().to_string();
    assert!(error.contains("cannot be reached"), "{error}");
    assert_eq!(fixture.count("room_invites"), 1);
}

#[tokio::test]
async fn a_conflict_is_repeated_after_pauses_that_grow() {
    let fixture = Fixture::postgres().await;
    fixture.sql(
        "CREATE SEQUENCE attempts;
         CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF nextval('attempts') % 5 <> 0 THEN
                 RAISE EXCEPTION 'conflict' USING ERRCODE = 'serialization_failure';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER conflict BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION conflict()",
    );
    let started_at = Instant::now();
    let failed = fixture.store.provision("alice", None).await.unwrap_err();
    // The shortest pauses: 10, 20 and 40 ms.
    assert!(started_at.elapsed() >= Duration::from_millis(70));
    assert!(
        matches!(failed, CreateError::Store(StoreError::ServerBusy { .. })),
        "{failed}"
    );
    assert_eq!(fixture.number("SELECT last_value FROM attempts"), 4);
    fixture.store.provision("alice", None).await.unwrap();
}
