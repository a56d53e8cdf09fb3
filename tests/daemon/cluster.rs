//! Several nodes: real servers on a real PostgreSQL and a real Redis.

mod failover;
mod redis_tls;

use std::io::ErrorKind;
use std::net::TcpStream;

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{self, Error, Message, WebSocket};

use crate::support::cluster::{Cluster, LONG_LEASE, SHORT_LEASE, cluster_token, join};
use crate::support::{DEADLINE, Daemon};

const LOBBY: &str = "lobby";

/// A user's connection to a node.
struct Client(WebSocket<TcpStream>);

impl Client {
    /// Makes the user a member of the room `lobby`, and connects.
    fn enter(node: &Daemon, user: &str) -> Client {
        join(node, LOBBY, user);
        Client::connect(node, user)
    }

    fn connect(node: &Daemon, user: &str) -> Client {
        let stream = TcpStream::connect(node.http()).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let token = cluster_token(user);
        let url = format!("ws://{}/api/ws/rooms/{LOBBY}?token={token}", node.http());
        let (socket, _) = tungstenite::client(url, stream).expect("an upgrade");
        Client(socket)
    }

    fn send(&mut self, message: &Value) {
        let message = Message::text(message.to_string());
        self.0.send(message).expect("sent");
    }

    fn next(&mut self) -> Message {
        loop {
            match self.0.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                message => return message.expect("a message"),
            }
        }
    }

    fn read(&mut self) -> Value {
        loop {
            match self.next() {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    fn hears(&mut self, kind: &str, user: &str) {
        let expected =
            json!({"type": kind, "data": {"userId": user}, "from": user, "roomId": LOBBY});
        assert_eq!(self.read(), expected);
    }

    /// Sends an offer to another user, who receives it.
    fn reaches(&mut self, from: &str, other: &mut Client, to: &str) {
        let offer = json!({
            "type": "offer", "from": from, "to": to, "roomId": LOBBY, "data": {"sdp": from},
        });
        self.send(&offer);
        assert_eq!(other.read(), offer);
    }

    /// The code of the close frame that comes next.
    fn close_code(&mut self) -> u16 {
        loop {
            if let Message::Close(Some(close)) = self.next() {
                return close.code.into();
            }
        }
    }
}

#[test]
fn users_of_two_nodes_exchange_offers_and_a_second_connection_replaces_the_first() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut alice = Client::enter(&one, "alice");
    let mut bob = Client::enter(&two, "bob");
    alice.hears("user-joined", "bob");
    alice.reaches("alice", &mut bob, "bob");
    bob.reaches("bob", &mut alice, "alice");
    let mut again = Client::connect(&two, "alice");
    assert_eq!(alice.close_code(), 4009);
    bob.hears("user-left", "alice");
    bob.hears("user-joined", "alice");
    bob.reaches("bob", &mut again, "alice");
}

#[test]
fn members_of_a_killed_node_leave_within_the_lease() {
    let cluster = Cluster::new(SHORT_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut alice = Client::enter(&one, "alice");
    let _bob = Client::enter(&two, "bob");
    alice.hears("user-joined", "bob");
    two.signal("KILL");
    alice.hears("user-left", "bob");
}

#[test]
fn members_of_a_node_that_stops_leave_at_once() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut alice = Client::enter(&one, "alice");
    let mut bob = Client::enter(&two, "bob");
    alice.hears("user-joined", "bob");
    assert!(two.stop().success());
    assert_eq!(bob.close_code(), 1001);
    alice.hears("user-left", "bob");
}
