//! Several nodes: real servers on a real PostgreSQL and a real Redis.

mod failover;
mod node_faults;
mod postgres_faults;
mod races;
mod redis_faults;
mod redis_tls;
mod resume;
mod sessions;
mod start;
mod trio;

use std::io::ErrorKind;
use std::thread;
use std::time::Duration;

use parlor::clock;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::cluster::{Cluster, LONG_LEASE, SHORT_LEASE, cluster_token, join};
use crate::support::http;
use crate::support::redis::{Server as Redis, server as redis};
use crate::support::socket::{self, Socket};
use crate::support::tcp_proxy::TcpProxy;
use crate::support::{DEADLINE, Daemon};

const LOBBY: &str = "lobby";

/// A user's connection to a node.
struct Client(Socket);

impl Client {
    /// Makes the user a member of the room `lobby`, and connects.
    fn enter(node: &Daemon, user: &str) -> Client {
        join(node, LOBBY, user);
        Client::connect(node, user)
    }

    fn connect(node: &Daemon, user: &str) -> Client {
        Client::connect_with(node, &cluster_token(user), "")
    }

    /// Connects as a client that keeps its calls.
    fn resume(node: &Daemon, user: &str) -> Client {
        Client::connect_with(node, &cluster_token(user), "&resume=1")
    }

    fn connect_with(node: &Daemon, token: &str, query: &str) -> Client {
        Client(socket::open(node.http(), LOBBY, token, query).expect("an upgrade"))
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
        socket::close_code(&mut self.0)
    }
}

/// Waits until `/readyz` of a node says this of Redis, and returns the status.
pub(super) fn readiness(node: &Daemon, redis: &str) -> u16 {
    let client = http::Client::new(node.http());
    let deadline = clock::now().mono + DEADLINE;
    loop {
        let answer = client.get("/readyz");
        let said = &answer.json()["checks"]["redis"];
        if *said == redis {
            return answer.status;
        }
        assert!(clock::now().mono < deadline, "{said} instead of {redis}");
        thread::sleep(Duration::from_millis(50));
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

#[test]
fn nobody_leaves_while_redis_is_away_and_newcomers_are_refused() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut alice = Client::enter(&one, "alice");
    let mut bob = Client::enter(&two, "bob");
    alice.hears("user-joined", "bob");
    assert_eq!(readiness(&one, "ok"), 200);
    redis.kill();
    let away = "no node reaches Redis: new WebSockets are refused";
    for node in [&one, &two] {
        assert_eq!(readiness(node, away), 200);
    }
    assert_eq!(Client::enter(&one, "carol").close_code(), 4000);
    redis.restart();
    for node in [&one, &two] {
        assert_eq!(readiness(node, "ok"), 200);
    }
    let mut carol = Client::enter(&two, "carol");
    alice.hears("user-joined", "carol");
    bob.hears("user-joined", "carol");
    alice.reaches("alice", &mut bob, "bob");
    carol.reaches("carol", &mut alice, "alice");
}

#[test]
fn a_node_is_not_ready_if_it_alone_does_not_reach_redis() {
    let cluster = Cluster::new(SHORT_LEASE);
    let one = cluster.start("one");
    let network = TcpProxy::start(&redis().socket());
    let (_, number) = cluster.redis_url().split_once("?db=").unwrap();
    let url = format!("redis://{}/{number}", network.address());
    let two = cluster.node("two");
    let two = two.env("PARLOR_CLUSTER__REDIS_URL", &url).start();
    assert_eq!(readiness(&two, "ok"), 200);
    network.cut();
    let lost = "this node does not reach Redis, and others do";
    assert_eq!(readiness(&two, lost), 503);
    assert_eq!(readiness(&one, "ok"), 200);
}

#[test]
fn a_guest_who_is_connected_to_another_node_is_not_absent() {
    let cluster = Cluster::new(SHORT_LEASE);
    let node = |name, absence| {
        let node = cluster.node(name);
        node.env("PARLOR_ROOMS__GUEST_GRACE_PERIOD", absence)
            .start()
    };
    let (one, two) = (node("one", "1s"), node("two", "0s"));
    let invite = two.cli_json(&["invite", "create", LOBBY]);
    let link = invite["link"].as_str().unwrap();
    let (_, invite) = link.split_once('#').unwrap();
    let client = http::Client::new(two.http());
    let enter = || {
        let body = json!({"room": LOBBY, "invite": invite, "name": "Guest"});
        let entered = client.post_json("/api/auth/guest", &body).ok();
        let token = entered["access_token"].as_str().unwrap().to_owned();
        let joined = client.with_token(&token);
        joined.post(&format!("/api/rooms/{LOBBY}/join")).ok();
        (token, entered["user"]["id"].as_str().unwrap().to_owned())
    };
    let (token, present) = enter();
    let _present = Client::connect_with(&two, &token, "");
    let (_, absent) = enter();
    one.wait_for_log_of("the removal of a guest", |line| {
        line.contains("absent guest removed") && line.contains(&absent)
    });
    let members = cluster.database().sql(&format!(
        "SELECT user_id FROM room_participants WHERE left_at IS NULL AND room_id = '{LOBBY}'"
    ));
    assert_eq!(members.trim(), present);
}

#[test]
fn a_node_with_another_secret_is_refused_in_one_sentence() {
    let cluster = Cluster::new(LONG_LEASE);
    let _one = cluster.start("one");
    for (key, setting) in [
        ("PARLOR_AUTH__SECRET", "auth.secret"),
        ("PARLOR_TURN__SECRET", "turn.secret"),
        ("PARLOR_TURN__REALM", "turn.realm"),
    ] {
        let other = "another value, of thirty-two bytes and more";
        let outcome = cluster.node("two").env(key, other).fails();
        let expected = format!(
            "error: {setting} differs from that of the node `one`: give all nodes the same \
             auth.secret, turn.secret and turn.realm"
        );
        assert!(outcome.lines().any(|line| line == expected), "{outcome}");
    }
}
