//! Sessions of `parlor.v1` clients on several nodes.

use super::*;
use crate::support::wait_until;

/// A client that speaks `parlor.v1`, and the token of its session.
struct Extended {
    client: Client,
    session: String,
    seq: u64,
}

impl Extended {
    /// Makes the user a member of the room, and begins a session.
    fn enter(node: &Daemon, user: &str) -> Extended {
        join(node, LOBBY, user);
        let client = connect(node, user, "");
        Extended::begin(client, "welcome")
    }

    /// Resumes the session at a node.
    fn resume(&mut self, node: &Daemon, user: &str) {
        let query = format!("&session={}&seq={}", self.session, self.seq);
        let resumed = Extended::begin(connect(node, user, &query), "resumed");
        (self.client, self.session) = (resumed.client, resumed.session);
    }

    fn begin(mut client: Client, kind: &str) -> Extended {
        let first = client.read();
        assert_eq!(first["type"], kind, "{first}");
        let session = first["data"]["resume"]["token"].as_str();
        Extended {
            client,
            session: session.expect("a token").to_owned(),
            seq: 0,
        }
    }

    /// Reads a frame of the session.
    fn read(&mut self) -> Value {
        let frame = self.client.read();
        self.seq += 1;
        assert_eq!(frame["seq"], self.seq, "{frame}");
        frame
    }

    fn send(&mut self, to: &str, data: &str) {
        let frame = json!({"type": "message", "from": "", "roomId": LOBBY, "to": to, "data": data});
        self.client.send(&frame);
    }

    fn reads(&mut self, data: &str) {
        let frame = self.read();
        assert_eq!(
            (&frame["type"], &frame["data"]),
            (&json!("message"), &json!(data))
        );
    }

    /// Loses the connection without a close frame.
    fn lose(&mut self) {
        self.client
            .0
            .get_mut()
            .shutdown(std::net::Shutdown::Both)
            .expect("a socket");
    }
}

fn connect(node: &Daemon, user: &str, query: &str) -> Client {
    let opened = socket::open_extended(node.http(), LOBBY, &cluster_token(user), query);
    Client(opened.expect("an upgrade"))
}

/// Alice with a session of node `one`, who is connected to node `two`, and bob at `one`.
fn passed_on(one: &Daemon, two: &Daemon) -> (Extended, Extended) {
    let mut bob = Extended::enter(one, "bob");
    let mut alice = Extended::enter(one, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    alice.lose();
    alice.resume(two, "alice");
    two.wait_for_log("WebSocket passed on to the node of its session");
    bob.send("alice", "over two nodes");
    alice.reads("over two nodes");
    (alice, bob)
}

#[test]
fn a_session_survives_the_end_of_the_node_that_passes_its_connection_on() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let (mut alice, mut bob) = passed_on(&one, &two);
    two.signal("TERM");
    assert_eq!(alice.client.close_code(), 1001);
    bob.send("alice", "while she is away");
    alice.resume(&one, "alice");
    alice.reads("while she is away");
    alice.send("bob", "back");
    // Bob saw neither a leave nor a join.
    bob.reads("back");
    assert!(two.wait().success());
}

#[test]
fn a_client_whose_connection_is_passed_on_is_closed_by_each_node() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    for (node, user) in [(&one, "alice"), (&two, "alice")] {
        let (mut alice, mut bob) = passed_on(&one, &two);
        let caller = http::Client::new(node.http()).with_token(&cluster_token(user));
        caller.post(&format!("/api/rooms/{LOBBY}/leave")).ok();
        assert_eq!(alice.client.close_code(), 4003);
        let left = bob.read();
        assert_eq!(
            (&left["type"], &left["data"]["reason"]),
            (&json!("user-left"), &json!("left"))
        );
        bob.client.0.close(None).expect("a close frame");
    }
}

#[test]
fn without_redis_a_client_returns_to_the_node_of_its_session() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let (mut alice, mut bob) = passed_on(&one, &two);
    redis.kill();
    // The connection ends without a close frame.
    wait_until("the connection ends", || alice.client.0.read().is_err());
    bob.send("alice", "meanwhile");
    alice.resume(&one, "alice");
    alice.reads("meanwhile");
}

#[test]
fn the_session_of_a_killed_node_begins_anew_at_another_one() {
    let cluster = Cluster::new(SHORT_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut bob = Extended::enter(&two, "bob");
    let alice = Extended::enter(&one, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    one.signal("KILL");
    let query = format!("&session={}&seq=0", alice.session);
    let mut refused = 0;
    let welcome = loop {
        let mut client = connect(&two, "alice", &query);
        match client.next() {
            Message::Text(text) => break serde_json::from_str::<Value>(&text).expect("JSON"),
            Message::Close(Some(close)) => {
                assert_eq!(u16::from(close.code), 4000);
                refused += 1;
                assert!(refused < 20, "the lease does not end");
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(welcome["type"], "welcome");
    let participants = welcome["data"]["participants"].as_array().expect("a list");
    let users: Vec<&Value> = participants.iter().map(|one| &one["userId"]).collect();
    assert_eq!(users, ["bob", "alice"]);
    // The relay of the room may have ended with the node.
    let mut presence =
        std::iter::repeat_with(|| bob.read()).filter(|one| one["type"] != "ice-servers");
    for kind in ["user-left", "user-joined"] {
        let frame = presence.next().expect("a frame");
        assert_eq!(
            (&frame["type"], &frame["from"]),
            (&json!(kind), &json!("alice"))
        );
    }
}
