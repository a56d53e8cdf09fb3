use std::sync::Arc;
use std::task::{Context, Waker};

use rusqlite::Connection;
use serde_json::Value;

use super::*;
use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::room::Greeting;
use crate::service::{Entrance, Hub, Outbox, Resumption, fixture};
use crate::storage::{JoinGrant, NewRoom, Store};

const ISSUE: Issue = Issue::Own { generation: 0 };
const FILE: &str = "parlor.db";

/// An application on one node, and the room `r` with the member `alice`.
struct World {
    app: Arc<App>,
    place: tempfile::TempDir,
    signaling: Signaling,
}

impl World {
    async fn new() -> World {
        let place = tempfile::tempdir().unwrap();
        let (relay, _) = Handle::with_fake_shard();
        let signaling = Signaling::default();
        let hub = Hub::new(&signaling, &Metrics::new());
        let store = Store::open(&place.path().join(FILE)).unwrap();
        store.provision("alice", None).await.unwrap();
        let room = NewRoom {
            id: Some("r".to_owned()),
            name: "r".to_owned(),
            private: false,
            max_participants: None,
            owner_id: None,
        };
        store.create_room(room).await.unwrap();
        let now = clock::now().unix;
        store
            .join("r", "alice", JoinGrant::None, now)
            .await
            .unwrap();
        World {
            app: fixture::app(hub, store, relay),
            place,
            signaling,
        }
    }

    fn sql(&self, sql: &str) {
        let other = Connection::open(self.place.path().join(FILE)).unwrap();
        other.execute_batch(sql).unwrap();
    }

    fn outbox(&self) -> Arc<Outbox> {
        self.app.hub.session_outbox(&self.signaling, "alice")
    }

    /// Enters with a new session. Returns its token as well.
    fn enter(&self) -> (RoomHandle, String) {
        let outbox = self.outbox();
        let greeting = Greeting {
            room: "{}".to_owned(),
            ice_servers: "{}".to_owned(),
            limits: "{}".to_owned(),
            within: self.signaling.resume_grace,
        };
        let entrance = Entrance {
            greeting: Some(greeting),
            ..Entrance::plain("alice", ISSUE)
        };
        let handle = self.app.hub.join("r", entrance, &outbox).unwrap();
        let mut frames = Vec::new();
        outbox.take(&Context::from_waker(Waker::noop()), 1, |frame| {
            frames.push(frame);
        });
        let welcome: Value = serde_json::from_slice(&frames[0]).unwrap();
        let token = welcome["data"]["resume"]["token"].as_str().unwrap();
        (handle, token.to_owned())
    }

    /// Resumes the session, before the client has received anything over the new connection.
    fn resume(&self, token: &str) -> Option<RoomHandle> {
        let resumption = Resumption {
            user: "alice",
            issue: ISSUE,
            token,
            seq: 0,
            within: self.signaling.resume_grace,
        };
        self.app.hub.resume("r", &resumption, &self.outbox())
    }

    async fn check(&self, handle: &mut RoomHandle) -> Result<(), CloseCode> {
        check_entered(&self.app, handle, "alice", ISSUE).await
    }

    fn is_connected(&self) -> bool {
        self.app.hub.is_connected("r", "alice")
    }
}

#[tokio::test]
async fn a_failure_of_the_store_after_a_resume_leaves_the_session_to_the_next_attempt() {
    let world = World::new().await;
    let (mut handle, token) = world.enter();
    handle.set_keeps_session(true);
    drop(handle);
    let mut handle = world.resume(&token).expect("the session");
    world.sql("ALTER TABLE users RENAME TO gone");
    assert_eq!(
        world.check(&mut handle).await,
        Err(CloseCode::ConnectionError)
    );
    drop(handle);
    assert!(world.is_connected());
    world.sql("ALTER TABLE gone RENAME TO users");
    let mut handle = world.resume(&token).expect("the session");
    assert_eq!(world.check(&mut handle).await, Ok(()));
    // A rejection is final.
    world.sql("UPDATE room_participants SET left_at = '2023-01-01T00:00:00Z'");
    assert_eq!(
        world.check(&mut handle).await,
        Err(CloseCode::NotAParticipant)
    );
    drop(handle);
    assert!(!world.is_connected());
    assert!(world.resume(&token).is_none());
}

#[tokio::test]
async fn a_failure_of_the_store_after_a_first_entry_leaves_no_session() {
    let world = World::new().await;
    let (mut handle, _) = world.enter();
    world.sql("ALTER TABLE users RENAME TO gone");
    assert_eq!(
        world.check(&mut handle).await,
        Err(CloseCode::ConnectionError)
    );
    drop(handle);
    assert!(!world.is_connected());
}
