use std::sync::Arc;
use std::task::{Context, Waker};

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::room::Greeting;
use crate::service::{Entrance, Hub, Outbox, Resumption, fixture, role_updates};
use crate::storage::tests::set_broken;
use crate::storage::{Cause, JoinGrant, NewRole, NewRoom, RoleChange, Store};

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

    fn set_broken(&self, is_broken: bool) {
        set_broken(&self.place.path().join(FILE), is_broken);
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
        let profile = Profile {
            display_name: "Alice".into(),
            role: Role::Member,
            joined_at: 0,
        };
        let entrance = Entrance {
            greeting: Some(greeting),
            profile: Some(Box::new(profile)),
            ..Entrance::plain("alice", ISSUE)
        };
        let handle = self.app.hub.join("r", entrance, &outbox).unwrap();
        let mut frames = Vec::new();
        outbox.take(&Context::from_waker(Waker::noop()), 1, |frame| {
            frames.push(bytes::Bytes::from(frame));
        });
        let welcome: Value = serde_json::from_slice(&frames[0]).unwrap();
        let token = welcome["data"]["resume"]["token"].as_str().unwrap();
        (handle, token.to_owned())
    }

    fn resumption<'a>(&self, token: &'a str) -> Resumption<'a> {
        Resumption {
            user: "alice",
            issue: ISSUE,
            token,
            seq: 0,
            within: self.signaling.resume_grace,
            role: Role::Member,
            is_token_admin: false,
        }
    }

    /// Resumes the session, before the client has received anything over the new connection.
    fn resume(&self, token: &str) -> Option<RoomHandle> {
        let resumption = self.resumption(token);
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
    world.set_broken(true);
    assert_eq!(
        world.check(&mut handle).await,
        Err(CloseCode::ConnectionError)
    );
    drop(handle);
    assert!(world.is_connected());
    world.set_broken(false);
    let mut handle = world.resume(&token).expect("the session");
    assert_eq!(world.check(&mut handle).await, Ok(()));
    // A rejection is final.
    let now = clock::now().unix;
    world.app.store.leave("r", "alice", now).await.unwrap();
    assert_eq!(
        world.check(&mut handle).await,
        Err(CloseCode::NotAParticipant)
    );
    drop(handle);
    assert!(!world.is_connected());
    assert!(world.resume(&token).is_none());
}

/// A role that changes between the verdict and the entry: nobody was connected when it changed.
#[tokio::test]
async fn a_role_that_changes_while_a_user_connects_is_shown_afterwards() {
    let world = World::new().await;
    let app = &world.app;
    let shutdown = CancellationToken::new();
    let follower = tokio::spawn(role_updates::follow(app.clone(), shutdown.clone()));
    let epoch = app.hub.epoch();
    let change = RoleChange {
        room_id: "r".to_owned(),
        user_id: "alice".to_owned(),
        role: NewRole::Moderator,
        cause: Cause::default(),
        as_owner: false,
    };
    app.set_role(change).await.unwrap();
    assert_ne!(app.hub.epoch(), epoch, "the entry checks again");
    let (mut handle, _) = world.enter();
    let shown = || {
        app.hub
            .with_room("r", |entry| entry.room.role("alice"))
            .flatten()
    };
    assert_eq!(shown(), Some(Role::Member));
    assert_eq!(world.check(&mut handle).await, Ok(()));
    fixture::eventually(|| shown() == Some(Role::Moderator)).await;
    shutdown.cancel();
    follower.await.unwrap();
}

#[tokio::test]
async fn an_admin_by_token_stays_the_owner_in_the_room() {
    let world = World::new().await;
    let hub = &world.app.hub;
    let (mut handle, token) = world.enter();
    handle.set_keeps_session(true);
    drop(handle);
    let resumption = Resumption {
        role: Role::Owner,
        is_token_admin: true,
        ..world.resumption(&token)
    };
    let _handle = hub.resume("r", &resumption, &world.outbox()).unwrap();
    assert!(hub.is_token_admin("r", "alice"));
    // As the store has it.
    hub.set_role("r", "alice", Role::Moderator);
    let shown = hub
        .with_room("r", |entry| entry.room.role("alice"))
        .flatten();
    assert_eq!(shown, Some(Role::Owner));
}

#[tokio::test]
async fn a_failure_of_the_store_after_a_first_entry_leaves_no_session() {
    let world = World::new().await;
    let (mut handle, _) = world.enter();
    world.set_broken(true);
    assert_eq!(
        world.check(&mut handle).await,
        Err(CloseCode::ConnectionError)
    );
    drop(handle);
    assert!(!world.is_connected());
}
