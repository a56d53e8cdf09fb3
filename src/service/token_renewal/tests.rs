use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock;
use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::room::{Greeting, Input, Outcome};
use crate::service::{Entrance, Hub, Outbox, RoomHandle, fixture};
use crate::storage::{Cause, JoinGrant, NewBan, NewRoom, NewUser, Store};
use crate::token::Issue;

const ROOM: &str = "lobby";

/// A user who is connected to a room by `parlor.v1`.
struct World {
    app: Arc<App>,
    user: String,
    held: Claims,
    handle: RoomHandle,
    outbox: Arc<Outbox>,
    _place: TempDir,
}

impl World {
    async fn new() -> World {
        let place = tempfile::tempdir().unwrap();
        let relay = Handle::with_fake_shard().0;
        let settings = Signaling::default();
        let hub = Hub::new(&settings, &Metrics::new());
        let store = Store::open(&place.path().join("parlor.db")).unwrap();
        let app = fixture::app(hub, store, relay);
        let lobby = NewRoom {
            id: Some(ROOM.to_owned()),
            name: "Lobby".to_owned(),
            private: false,
            max_participants: None,
            owner_id: None,
        };
        app.store.create_room(lobby).await.unwrap();
        let user = add(&app, "alice").await;
        let outbox = app.hub.session_outbox(&settings, &user);
        let greeting = Greeting {
            room: "{}".to_owned(),
            ice_servers: "{}".to_owned(),
            limits: "{}".to_owned(),
            within: Duration::from_secs(30),
        };
        let held = claims(&user, 100);
        let entrance = Entrance {
            greeting: Some(greeting),
            ..Entrance::plain(&user, held.issue())
        };
        let handle = app.hub.join(ROOM, entrance, &outbox).expect("a handle");
        outbox.set_token_end(held.exp);
        World {
            app,
            user,
            held,
            handle,
            outbox,
            _place: place,
        }
    }

    /// Hands in a token, as a connection does.
    async fn hand_in(&self, claims: &Claims) -> Result<(), String> {
        let token = self.app.settings().tokens.issue(claims);
        let frame =
            json!({"type": "token", "from": 1, "roomId": 1, "data": {"token": token}}).to_string();
        assert_eq!(self.handle.receive(Input::Text(&frame)), Outcome::Requested);
        let (_, pending) = self.handle.take_request().expect("a request");
        let access = check_successor(&self.app, &self.held, &token, ROOM).await;
        let access = access.map_err(|refusal| refusal.to_string())?;
        let replaced = replace_token(&self.app, &access, ROOM, &pending).await;
        replaced.map_err(|code| format!("{code:?}"))
    }

    /// The issue of the connection's token, and when the connection ends.
    fn token(&self) -> (Option<Issue>, Option<u64>) {
        let context = Context::from_waker(Waker::noop());
        let rest = self.outbox.take(&context, usize::MAX, drop);
        let times = rest.renewals.expect("a session");
        (self.app.hub.issue(ROOM, &self.user), times.token_end)
    }
}

async fn add(app: &App, name: &str) -> String {
    let new = NewUser {
        name: name.to_owned(),
        ..NewUser::default()
    };
    let id = app.store.add_user(new).await.unwrap().id;
    let unix = clock::now().unix;
    let joined = app.store.join(ROOM, &id, JoinGrant::Operator, unix).await;
    joined.unwrap();
    id
}

/// Claims of a token that ends after some seconds, as another issuer makes it.
fn claims(user: &str, seconds: u64) -> Claims {
    let unix = clock::now().unix;
    Claims {
        sub: user.to_owned(),
        exp: unix + seconds,
        iat: Some(unix + seconds - 100),
        ..Claims::default()
    }
}

#[tokio::test]
async fn a_connection_is_judged_by_its_newest_token() {
    let world = World::new().await;
    let next = claims(&world.user, 500);
    assert_eq!(
        world.token(),
        (Some(world.held.issue()), Some(world.held.exp))
    );
    world.hand_in(&next).await.expect("the token is taken");
    let (issue, end) = world.token();
    assert_eq!(end, Some(next.exp));
    // The fixture signs with a key of its own.
    assert_eq!(issue, Some(Issue::Own { generation: 0 }));
}

#[tokio::test]
async fn the_earlier_token_stays_if_the_next_one_is_refused() {
    let world = World::new().await;
    let before = world.token();
    let bob = add(&world.app, "bob").await;
    let elsewhere = Claims {
        rooms: Some(vec!["attic".to_owned()]),
        ..claims(&world.user, 500)
    };
    let expired = Claims {
        exp: 1,
        ..claims(&world.user, 500)
    };
    for (claims, expected) in [
        (claims(&bob, 500), "the token is of another user"),
        (expired, "the token has expired"),
        (elsewhere, "NotAParticipant"),
    ] {
        assert_eq!(world.hand_in(&claims).await, Err(expected.to_owned()));
        assert_eq!(world.token(), before, "{expected}");
    }
}

/// The store already says so, and the connection is about to be closed.
#[tokio::test]
async fn no_token_keeps_a_user_who_was_removed() {
    let world = World::new().await;
    let (store, unix) = (&world.app.store, clock::now().unix);
    let next = claims(&world.user, 500);
    let before = world.token();
    let ban = NewBan {
        room_id: ROOM.to_owned(),
        user_id: world.user.clone(),
        until: None,
        cause: Cause::default(),
        keep_invite: false,
    };
    store.ban(ban, unix).await.unwrap();
    assert_eq!(world.hand_in(&next).await, Err("Removed".to_owned()));
    store.disable_user(&world.user, unix).await.unwrap();
    let disabled = Err("the user is disabled".to_owned());
    assert_eq!(world.hand_in(&next).await, disabled);
    assert_eq!(world.token(), before);
}

#[test]
fn a_token_brings_no_role_that_the_session_did_not_have() {
    let claims = |own: bool, role: Option<&str>| Claims {
        own,
        role: role.map(str::to_owned),
        ..Claims::default()
    };
    let admin = Some("admin");
    for (held, next, expected) in [
        (claims(false, None), claims(false, admin), None),
        (claims(true, admin), claims(false, admin), None),
        (claims(false, admin), claims(false, admin), admin),
        (claims(false, admin), claims(false, None), None),
        // In a token of parlor's own, the role is only a copy from the store.
        (claims(false, None), claims(true, admin), admin),
    ] {
        let role = without_new_role(&held, next).role;
        assert_eq!(role.as_deref(), expected, "{held:?}");
    }
}
