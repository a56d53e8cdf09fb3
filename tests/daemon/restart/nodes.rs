//! Sessions of `parlor.v1` clients while one of several nodes is away between two processes.

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::fd_store::{FdStore, alone};
use crate::support::Daemon;
use crate::support::cluster::{Cluster, LONG_LEASE, SHORT_LEASE, cluster_token, join};
use crate::support::extended::Extended;
use crate::support::http::Client as Http;
use crate::support::socket::{self, Socket};

const LOBBY: &str = "lobby";

fn enter(node: &Daemon, user: &str) -> Extended {
    join(node, LOBBY, user);
    Extended::begin(node.http(), LOBBY, &cluster_token(user))
}

fn enter_plain(node: &Daemon, user: &str, query: &str) -> Socket {
    join(node, LOBBY, user);
    let opened = socket::open(node.http(), LOBBY, &cluster_token(user), query);
    let mut socket = opened.expect("an upgrade");
    assert!(socket::has_entered(&mut socket));
    socket
}

/// The first frame of a client that tries to resume its session, or the code of its close.
fn attempt(node: &Daemon, user: &str, client: &Extended) -> Result<Value, u16> {
    let query = format!("&session={}&seq={}", client.session, client.seq);
    let opened = socket::open_extended(node.http(), LOBBY, &cluster_token(user), &query);
    match opened.expect("an upgrade").read() {
        Ok(Message::Text(text)) => Ok(serde_json::from_str(&text).expect("JSON")),
        Ok(Message::Close(Some(close))) => Err(close.code.into()),
        other => panic!("{other:?}"),
    }
}

/// The next frame that is not about the relay.
fn next(client: &mut Extended) -> Value {
    let mut frames = std::iter::repeat_with(|| client.read());
    let next = frames.find(|frame| frame["type"] != "ice-servers");
    next.expect("a frame")
}

#[test]
fn a_client_waits_at_another_node_for_the_node_of_its_session() {
    let _alone = alone();
    let fd_store = FdStore::new(1000);
    let cluster = Cluster::new(LONG_LEASE);
    let one = fd_store.manages(cluster.node("one")).start();
    let two = cluster.start("two");
    let mut bob = enter(&two, "bob");
    let mut alice = enter(&one, "alice");
    let mut plain = enter_plain(&one, "carol", "");
    assert_eq!(next(&mut bob)["from"], "alice");
    for client in [&mut alice, &mut bob] {
        assert_eq!(next(client)["from"], "carol");
    }
    let one = one.restart_with(|env| {
        assert_eq!(socket::close_code(&mut alice.socket), 1012);
        assert_eq!(socket::close_code(&mut plain), 1012);
        bob.send("alice", "meanwhile");
        let caller = Http::new(two.http()).with_token(&cluster_token("bob"));
        let path = format!("/api/rooms/{LOBBY}/messages");
        caller.post_json(&path, &json!({"content": "hello"})).ok();
        assert_eq!(attempt(&two, "alice", &alice), Err(4000));
        fd_store.hand_out(env);
    });
    alice.resume(two.http());
    let mut missed = [next(&mut alice), next(&mut alice)];
    missed.sort_by_key(|frame| frame["type"].to_string());
    assert_eq!(
        (&missed[0]["type"], &missed[0]["data"]["content"]),
        (&json!("chat"), &json!("hello"))
    );
    assert_eq!(missed[1]["data"], "meanwhile");
    assert_eq!(next(&mut bob)["type"], "chat");
    // A plain client returns without notice; those that speak `parlor.v1` get its state.
    let _plain = enter_plain(&one, "carol", "&resume=1");
    for client in [&mut alice, &mut bob] {
        let updated = next(client);
        assert_eq!(
            (&updated["type"], &updated["from"]),
            (&json!("participant-updated"), &json!("carol"))
        );
    }
}

#[test]
fn sessions_of_a_node_that_is_away_for_longer_than_its_lease_begin_anew() {
    let _alone = alone();
    let fd_store = FdStore::new(1000);
    let cluster = Cluster::new(SHORT_LEASE);
    let one = fd_store.manages(cluster.node("one")).start();
    let two = cluster.start("two");
    let mut bob = enter(&two, "bob");
    let alice = enter(&one, "alice");
    assert_eq!(next(&mut bob)["from"], "alice");
    let mut alice_anew = None;
    let one = one.restart_with(|env| {
        bob.send("alice", "lost");
        let welcome = (0..20).find_map(|_| attempt(&two, "alice", &alice).ok());
        let welcome = welcome.expect("the lease ends");
        assert_eq!(welcome["type"], "welcome");
        let mut returns = || {
            for kind in ["user-left", "user-joined"] {
                let frame = next(&mut bob);
                let expected = (&json!(kind), &json!("alice"));
                assert_eq!((&frame["type"], &frame["from"]), expected);
            }
        };
        returns();
        alice_anew = Some(enter(&two, "alice"));
        returns();
        fd_store.hand_out(env);
    });
    // The node knows that it was away, and lists no session of before.
    let mut alice = alice_anew.expect("a client");
    let carol = enter(&one, "carol");
    for client in [&mut alice, &mut bob] {
        assert_eq!(next(client)["from"], "carol");
    }
    let users = Http::new(one.http()).with_token(&cluster_token("carol"));
    let users = users
        .get(&format!("/api/rooms/{LOBBY}/participants"))
        .json();
    let users = users["participants"].as_array().expect("a list").iter();
    let mut present: Vec<&str> = users
        .filter(|user| user["connected"] == true)
        .map(|user| user["user_id"].as_str().expect("an id"))
        .collect();
    present.sort_unstable();
    assert_eq!(present, ["alice", "bob", "carol"]);
    drop(carol);
    assert_eq!(next(&mut bob)["from"], "carol");
    alice.send("bob", "here");
    while next(&mut bob)["data"] != "here" {}
}
