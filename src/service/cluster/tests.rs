//! Hubs of several nodes on a real Redis.

use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::bus::redis::tests::server::server;
use crate::bus::redis::{Link, Server, Settings};
use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::room::{CloseCode, Input, Outcome};
use crate::service::fixture::eventually;
use crate::service::{Entrance, Hub, Outbox, RoomHandle};
use crate::tls::{Verification, client_config};
use crate::token::Issue;

use super::*;

const LEASE: Duration = Duration::from_secs(2);
const ISSUE: Issue = Issue::Own { generation: 0 };

pub(super) struct Node {
    pub(super) hub: Arc<Hub>,
    link: Arc<Link>,
    task: tokio::task::JoinHandle<()>,
}

/// A connection with what it has received.
struct Client {
    handle: RoomHandle,
    outbox: Arc<Outbox>,
    received: Vec<String>,
    /// The frames of the last [`Client::receives`].
    last: String,
    closed: Option<CloseCode>,
}

/// Starts a node, and waits until Redis lists it.
pub(super) async fn start(name: &str, url: &str, lease: Duration) -> Node {
    let settings = Settings {
        name: name.to_owned(),
        prefix: "p1:".to_owned(),
        lease,
        about: String::new(),
    };
    let link = Arc::new(Link::new(settings, rand::random()));
    let hub = Hub::with_link(&Signaling::default(), &Metrics::new(), Some(link.clone()));
    let tls = client_config(Verification::None, None).unwrap();
    let server = Server::new(url, &tls).unwrap();
    let task = tokio::spawn(run(hub.clone(), link.clone(), server));
    let node = Node { hub, link, task };
    eventually(|| node.link.is_available()).await;
    node
}

impl Node {
    async fn join(&self, user: &str) -> Client {
        self.join_again(user, false).await
    }

    async fn join_again(&self, user: &str, resume: bool) -> Client {
        let outbox = Arc::new(Outbox::new(1000));
        let entrance = Entrance {
            resume,
            ..Entrance::plain(user, ISSUE)
        };
        let joined = self.hub.join("lobby", entrance, &outbox);
        let mut handle = joined.unwrap();
        handle.entered().await.unwrap();
        Client {
            handle,
            outbox,
            received: Vec::new(),
            last: String::new(),
            closed: None,
        }
    }
}

impl Client {
    async fn receives(&mut self, expected: &str) {
        eventually(|| {
            self.take();
            self.received.iter().any(|frame| frame.contains(expected))
        })
        .await;
        self.last = self.received.concat();
        self.received.clear();
    }

    fn take(&mut self) {
        let context = Context::from_waker(Waker::noop());
        let each = |frame: crate::room::OutgoingFrame| {
            self.received
                .push(String::from_utf8(Bytes::from(frame).to_vec()).unwrap());
        };
        self.closed = self.outbox.take(&context, usize::MAX, each).close;
    }

    /// Returns the code with which the connection closes.
    async fn close_code(&mut self) -> CloseCode {
        eventually(|| {
            self.take();
            self.closed.is_some()
        })
        .await;
        self.closed.unwrap()
    }

    fn send(&self, text: &str) -> Outcome {
        self.handle.receive(Input::Text(text))
    }
}

fn offer(from: &str, to: &str) -> String {
    format!(
        r#"{{"type":"offer","from":"{from}","to":"{to}","roomId":"lobby","n":"{from} to {to}"}}"#
    )
}

#[tokio::test]
async fn people_on_different_nodes_hear_of_each_other_and_exchange_frames() {
    let url = server().database();
    let (one, two) = (
        start("one", &url, LEASE).await,
        start("two", &url, LEASE).await,
    );
    let mut alice = one.join("alice").await;
    let mut bob = two.join("bob").await;
    alice.receives(r#""user-joined""#).await;
    alice.send(&offer("alice", "bob"));
    bob.receives("alice to bob").await;
    bob.send(&offer("bob", "alice"));
    alice.receives("bob to alice").await;
    bob.take();
    assert_eq!(bob.received, [""; 0], "the newer of two learns of nobody");
    let mut carol = two.join("carol").await;
    alice.receives(r#""user-joined""#).await;
    bob.receives(r#""user-joined""#).await;
    carol.send(r#"{"type":"ice-candidate","from":"carol","roomId":"lobby","n":"to all"}"#);
    alice.receives("to all").await;
    bob.receives("to all").await;
    drop(bob);
    alice.receives(r#""user-left""#).await;
    carol.receives(r#""user-left""#).await;
    for node in [&one, &two] {
        assert_eq!(node.hub.occupied_rooms().len(), 1);
    }
    drop((alice, carol));
    eventually(|| one.hub.occupied_rooms().is_empty() && two.hub.occupied_rooms().is_empty()).await;
}

#[tokio::test]
async fn a_connection_on_another_node_replaces_the_earlier_one() {
    let url = server().database();
    let (one, two) = (
        start("one", &url, LEASE).await,
        start("two", &url, LEASE).await,
    );
    let mut earlier = one.join("alice").await;
    let mut bob = two.join("bob").await;
    earlier.receives(r#""user-joined""#).await;
    let mut later = two.join("alice").await;
    assert_eq!(earlier.close_code().await, CloseCode::Replaced);
    drop(earlier);
    bob.receives(r#""user-joined""#).await;
    bob.send(&offer("bob", "alice"));
    later.receives("bob to alice").await;
    assert!(two.hub.close("lobby", "alice", CloseCode::Removed));
    assert_eq!(later.close_code().await, CloseCode::Removed);
}

#[tokio::test]
async fn members_of_a_node_that_ends_leave_after_its_lease() {
    let url = server().database();
    let (one, two) = (
        start("one", &url, LEASE).await,
        start("two", &url, LEASE).await,
    );
    let mut alice = one.join("alice").await;
    let _bob = two.join("bob").await;
    alice.receives(r#""user-joined""#).await;
    two.task.abort();
    alice.receives(r#""user-left""#).await;
}

#[tokio::test]
async fn users_of_a_draining_node_resume_on_another_one_or_leave_after_a_while() {
    let url = server().database();
    let (one, two) = (
        start("one", &url, LEASE).await,
        start("two", &url, LEASE).await,
    );
    let mut alice = one.join("alice").await;
    let (mut bob, mut carol) = (two.join("bob").await, two.join("carol").await);
    for client in [&mut alice, &mut bob] {
        client.receives(r#""from":"carol""#).await;
    }
    two.hub.drain();
    two.hub.close_for_drain("lobby");
    assert_eq!(bob.close_code().await, CloseCode::Restarting);
    assert_eq!(carol.close_code().await, CloseCode::Restarting);
    assert!(
        two.hub
            .join("lobby", Entrance::plain("bob", ISSUE), &bob.outbox)
            .is_err()
    );
    drop((bob, carol));
    eventually(|| two.hub.occupied_rooms().is_empty()).await;
    let mut bob = one.join_again("bob", true).await;
    bob.send(&offer("bob", "alice"));
    alice.receives("").await;
    assert!(alice.last.contains("bob to alice"), "{}", alice.last);
    // Carol does not return.
    for client in [&mut alice, &mut bob] {
        client.receives("").await;
        let expected = r#"{"type":"user-left","data":{"userId":"carol"}"#;
        assert!(client.last.starts_with(expected), "{}", client.last);
    }
}

#[tokio::test]
async fn nobody_enters_without_redis() {
    let settings = Settings {
        name: "one".to_owned(),
        prefix: String::new(),
        lease: LEASE,
        about: String::new(),
    };
    let link = Arc::new(Link::new(settings, [0; 32]));
    let hub = Hub::with_link(&Signaling::default(), &Metrics::new(), Some(link));
    let outbox = Arc::new(Outbox::new(1000));
    let refused = hub
        .join("lobby", Entrance::plain("alice", ISSUE), &outbox)
        .err();
    assert_eq!(refused, Some(CloseCode::ConnectionError));
    assert!(hub.occupied_rooms().is_empty());
}
