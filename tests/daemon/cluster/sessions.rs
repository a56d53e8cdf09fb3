//! Sessions of `parlor.v1` clients on several nodes.

use super::*;
use crate::support::extended::Extended;
use crate::support::wait_until;

/// Makes the user a member of the room, and begins a session.
fn enter(node: &Daemon, user: &str) -> Extended {
    join(node, LOBBY, user);
    Extended::begin(node.http(), LOBBY, &cluster_token(user))
}

/// Alice with a session of node `one`, who is connected to node `two`, and bob at `one`.
fn passed_on(one: &Daemon, two: &Daemon) -> (Extended, Extended) {
    let mut bob = enter(one, "bob");
    let mut alice = enter(one, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    alice.lose();
    alice.resume(two.http());
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
    assert_eq!(socket::close_code(&mut alice.socket), 1001);
    bob.send("alice", "while she is away");
    alice.resume(one.http());
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
        assert_eq!(socket::close_code(&mut alice.socket), 4003);
        let left = bob.read();
        assert_eq!(
            (&left["type"], &left["data"]["reason"]),
            (&json!("user-left"), &json!("left"))
        );
        bob.socket.close(None).expect("a close frame");
    }
}

#[test]
fn a_replaced_token_changes_nothing_at_any_node() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let (mut alice, mut bob) = passed_on(&one, &two);
    let earlier = alice.session.clone();
    alice.resume(one.http());
    // A frame of the client ends the earlier token.
    alice.send("bob", "resumed again");
    bob.reads("resumed again");
    for node in [&one, &two] {
        let query = format!("&session={earlier}&seq={}", alice.seq);
        let token = cluster_token("alice");
        let late = socket::open_extended(node.http(), LOBBY, &token, &query);
        assert_eq!(socket::close_code(&mut late.expect("an upgrade")), 4009);
    }
    bob.send("alice", "still there");
    alice.reads("still there");
}

#[test]
fn without_redis_a_client_returns_to_the_node_of_its_session() {
    let redis = Redis::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let (mut alice, mut bob) = passed_on(&one, &two);
    redis.kill();
    // The connection ends without a close frame.
    wait_until("the connection ends", || alice.socket.read().is_err());
    bob.send("alice", "meanwhile");
    alice.resume(one.http());
    alice.reads("meanwhile");
}

#[test]
fn the_session_of_a_killed_node_begins_anew_at_another_one() {
    let cluster = Cluster::new(SHORT_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut bob = enter(&two, "bob");
    let alice = enter(&one, "alice");
    assert_eq!(bob.read()["type"], "user-joined");
    one.signal("KILL");
    let query = format!("&session={}&seq=0", alice.session);
    let mut refused = 0;
    let welcome = loop {
        let token = cluster_token("alice");
        let opened = socket::open_extended(two.http(), LOBBY, &token, &query);
        let mut client = Client(opened.expect("an upgrade"));
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

#[test]
fn sessions_of_a_node_that_restarts_with_hand_over_continue() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut bob = enter(&two, "bob");
    let mut alice = enter(&one, "alice");
    let mut carol = enter(&one, "carol");
    assert_eq!(bob.read()["from"], "alice");
    assert_eq!(bob.read()["from"], "carol");
    assert_eq!(alice.read()["from"], "carol");
    let first = json!({"type": "message", "id": "1", "from": "", "roomId": "", "to": "bob", "data": "first"});
    alice.send_frame(&first);
    assert_eq!(alice.read()["ref"], "1");
    bob.reads("first");
    // Alice is away when the process ends.
    alice.lose();
    bob.send("alice", "before the restart");
    one.signal("USR2");
    assert_eq!(socket::close_code(&mut carol.socket), 1012);
    // The inbox of the node keeps these.
    for number in 0..50 {
        bob.send("alice", &format!("to alice {number}"));
        bob.send("carol", &format!("to carol {number}"));
    }
    one.wait_for_logs(&["\"message\":\"ready\""], 2);
    // One client returns to the node, and the other one to another node.
    alice.resume(one.http());
    carol.resume(two.http());
    alice.reads("before the restart");
    for number in 0..50 {
        alice.reads(&format!("to alice {number}"));
        carol.reads(&format!("to carol {number}"));
    }
    // An acknowledged frame is not delivered again.
    alice.send_frame(&first);
    assert_eq!(alice.read()["ref"], "1");
    alice.send("bob", "after the restart");
    bob.reads("after the restart");
    carol.send("bob", "over two nodes");
    bob.reads("over two nodes");
    // All see those who come and go, on each node.
    let dora = enter(&one, "dora");
    drop(dora);
    for client in [&mut alice, &mut bob, &mut carol] {
        assert_eq!(client.read()["from"], "dora");
    }
}

#[test]
fn a_client_that_is_passed_on_resumes_after_the_node_of_its_session_has_restarted() {
    let cluster = Cluster::new(LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let (mut alice, mut bob) = passed_on(&one, &two);
    one.signal("USR2");
    for client in [&mut alice, &mut bob] {
        wait_until("the connection ends", || client.socket.read().is_err());
    }
    one.wait_for_logs(&["\"message\":\"ready\""], 2);
    alice.resume(two.http());
    bob.resume(one.http());
    for number in 0..10 {
        bob.send("alice", &number.to_string());
        alice.reads(&number.to_string());
        alice.send("bob", &number.to_string());
        bob.reads(&number.to_string());
    }
}
