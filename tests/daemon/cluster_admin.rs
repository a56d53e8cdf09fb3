//! Admin commands on one of several nodes.

use std::process::{Output, Stdio};
use std::thread;
use std::time::Duration;

use parlor::clock;
use parlor::stun::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::metrics::{scrape, value};
use crate::support::cluster::{Cluster, LONG_LEASE, cluster_token, join};
use crate::support::redis;
use crate::support::socket::{self, Socket};
use crate::support::turn::{Client as TurnClient, SECRET};
use crate::support::{DEADLINE, Daemon};

/// Starts a node whose relay accepts the credentials of the tests.
fn start(cluster: &Cluster, name: &str) -> Daemon {
    let node = cluster.node(name).env("PARLOR_TURN__SECRET", SECRET);
    node.start()
}

/// Three nodes; the one that is returned first knows the others at once.
fn three() -> [Daemon; 3] {
    let cluster = Cluster::new(LONG_LEASE);
    let (two, three) = (start(&cluster, "two"), start(&cluster, "three"));
    let mut one = start(&cluster, "one");
    one.use_database(cluster.into_database());
    eventually(&one, &["nodes"], lists_three);
    one.cli_json(&["room", "create", "Attic", "--id", "attic"]);
    [one, two, three]
}

/// Makes a user a member of a room, and connects.
fn enter(node: &Daemon, room: &str, user: &str) -> Socket {
    join(node, room, user);
    let opened = socket::open(node.http(), room, &cluster_token(user), "");
    let mut socket = opened.expect("an upgrade");
    assert!(socket::has_entered(&mut socket), "{user} is refused");
    socket
}

/// Reads until a text message contains `text`. Pings may come for ever.
fn receive(socket: &mut Socket, text: &str) {
    let deadline = clock::now().mono + DEADLINE;
    loop {
        let message = socket.read().expect("a message");
        if matches!(message, Message::Text(received) if received.contains(text)) {
            return;
        }
        assert!(clock::now().mono < deadline, "{text}");
    }
}

fn close_code(mut socket: Socket) -> u16 {
    socket::close_code(&mut socket)
}

/// A client with an allocation.
fn allocate(node: &Daemon, user: &str, room: Option<&str>) -> TurnClient {
    let mut client = TurnClient::udp(node.turn(), user, room);
    client.allocated();
    client
}

fn has_relay(client: &mut TurnClient) -> bool {
    client.request(Method::REFRESH, &[]).code().is_none()
}

/// The numbers of a command: all connections and relays, then those of each node.
fn counts(result: &Value) -> Value {
    let pair = |of: &Value| json!([of["connections"], of["relays"]]);
    let nodes = ["one", "two", "three"].map(|name| pair(entry(&result["nodes"], name)));
    json!([pair(result), nodes])
}

/// The entry of a node in a list of nodes.
fn entry<'a>(nodes: &'a Value, name: &str) -> &'a Value {
    let mut entries = nodes.as_array().expect("a list").iter();
    let entry = entries.find(|entry| entry["name"] == name);
    entry.unwrap_or_else(|| panic!("{name} is not in {nodes}"))
}

/// Repeats a command until its result fits: a node learns of a new one when it renews its lease.
fn eventually(node: &Daemon, args: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
    let deadline = clock::now().mono + DEADLINE;
    loop {
        let result = node.cli_json(args);
        if fits(&result) {
            return result;
        }
        assert!(clock::now().mono < deadline, "{args:?}: {result}");
        thread::sleep(Duration::from_millis(100));
    }
}

fn lists_three(nodes: &Value) -> bool {
    nodes.as_array().is_some_and(|nodes| nodes.len() == 3)
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn nodes_lists_each_node_and_the_one_that_has_not_answered() {
    let cluster = Cluster::new(LONG_LEASE);
    let host = ("PARLOR_TURN__PUBLIC_HOST", "turn.example.org");
    let _two = cluster.node("two").env(host.0, host.1).start();
    let three = cluster.start("three");
    // Last, so that it knows the others at once.
    let one = cluster.start("one");
    let nodes = eventually(&one, &["nodes"], lists_three);
    for name in ["one", "two", "three"] {
        let node = entry(&nodes, name);
        assert_eq!(node["version"], env!("CARGO_PKG_VERSION"), "{node}");
        assert_eq!(node["this"], name == "one");
        assert_eq!(node["draining"], false);
        assert_eq!(node["connections"], 0);
    }
    assert_eq!(entry(&nodes, "two")["relay_hosts"], json!([host.1]));
    three.signal("STOP");
    let output = one.cli(&["nodes"]);
    three.signal("CONT");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(stderr(&output), "three has not answered.\n");
    let table = String::from_utf8(output.stdout).unwrap();
    let row = |name: &str| {
        let found = table.lines().find(|line| line.trim().starts_with(name));
        found
            .unwrap_or_else(|| panic!("{name}: {table}"))
            .trim_end()
    };
    assert!(row("one").ends_with("this node"), "{table}");
    assert!(row("two").contains(host.1), "{table}");
    assert!(row("three").ends_with("has not answered"), "{table}");
    let answered = |nodes: &Value| entry(nodes, "three")["answered"] == true;
    eventually(&one, &["nodes"], answered);
}

#[test]
fn a_parlor_without_redis_says_that_it_stands_alone() {
    let daemon = Daemon::start();
    assert_eq!(daemon.cli_json(&["nodes"]), json!([]));
    let output = daemon.cli(&["nodes"]);
    assert!(output.status.success() && output.stdout.is_empty());
    let text = "This parlor stands alone: `cluster.redis_url` is not set.\n";
    assert_eq!(stderr(&output), text);
}

#[test]
fn commands_that_remove_access_count_the_ends_on_each_node() {
    let [one, two, three] = three();
    let alice = [enter(&one, "lobby", "alice"), enter(&two, "attic", "alice")];
    let mut relay = allocate(&three, "alice", None);
    let disabled = one.cli_json(&["user", "disable", "alice"]);
    assert_eq!(counts(&disabled), json!([[2, 1], [[1, 0], [1, 0], [0, 1]]]));
    assert_eq!(alice.map(close_code), [4005, 4005]);
    assert!(!has_relay(&mut relay));

    let bob = enter(&two, "lobby", "bob");
    let mut relay = allocate(&three, "bob", Some("lobby"));
    let kicked = one.cli(&["room", "kick", "lobby", "bob"]);
    assert_eq!(
        String::from_utf8(kicked.stdout).unwrap(),
        "Kicked user bob from Lobby: 1 connection closed, 1 relay freed\n  \
         three: 0 connections closed, 1 relay freed\n  \
         two: 1 connection closed, 0 relays freed\n"
    );
    assert_eq!(close_code(bob), 4005);
    assert!(!has_relay(&mut relay));

    let carol = enter(&two, "lobby", "carol");
    let banned = one.cli_json(&["room", "ban", "lobby", "carol"]);
    assert_eq!(counts(&banned), json!([[1, 0], [[0, 0], [1, 0], [0, 0]]]));
    assert_eq!(close_code(carol), 4005);

    let dave = enter(&three, "lobby", "dave");
    let signed_out = one.cli_json(&["user", "sign-out", "dave"]);
    assert_eq!(
        counts(&signed_out),
        json!([[1, 0], [[0, 0], [0, 0], [1, 0]]])
    );
    assert_eq!(close_code(dave), 4001);

    let erin = enter(&two, "attic", "erin");
    let frank = enter(&three, "attic", "frank");
    let mut relay = allocate(&two, "frank", None);
    let closed = one.cli_json(&["room", "close", "attic"]);
    assert_eq!(counts(&closed), json!([[2, 1], [[0, 0], [1, 1], [1, 0]]]));
    assert_eq!([erin, frank].map(close_code), [4004, 4004]);
    assert!(!has_relay(&mut relay));
}

#[test]
fn a_node_that_is_stopped_is_named_and_acts_when_it_continues() {
    let [one, two, three] = three();
    let alice = [
        enter(&two, "lobby", "alice"),
        enter(&three, "attic", "alice"),
    ];
    three.signal("STOP");
    let commands = [
        &["user", "disable", "alice"][..],
        &["sessions", "--all"],
        &["session", "kill", "0123456789ab"],
        &["status", "--json"],
    ];
    // Each waits two seconds for the third node.
    let running = commands.map(|args| {
        let mut command = one.command(args);
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("parlor runs")
    });
    let [output, sessions, killed, status] =
        running.map(|command| command.wait_with_output().expect("parlor ends"));
    three.signal("CONT");
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    assert_eq!(
        String::from_utf8(output.stdout.clone()).unwrap(),
        "Disabled user alice: 1 connection closed, 0 relays freed\n  \
         two: 1 connection closed, 0 relays freed\n"
    );
    for output in [output, sessions] {
        let errors = stderr(&output);
        assert!(errors.contains("three has not answered.\n"), "{errors}");
    }
    assert_eq!(killed.status.code(), Some(1));
    let errors = stderr(&killed);
    assert!(
        errors.contains("error: three has not answered\n"),
        "{errors}"
    );
    let nodes = &status["cluster"]["nodes"];
    assert_eq!(entry(nodes, "three")["answered"], false);
    assert_eq!(alice.map(close_code), [4005, 4005]);
}

#[test]
fn sessions_of_all_nodes_are_listed_and_can_be_killed_from_any() {
    let [one, two, three] = three();
    let alice = enter(&two, "lobby", "alice");
    let _bob = enter(&one, "lobby", "bob");
    let mut relay = allocate(&three, "alice", Some("lobby"));
    let sessions = one.cli_json(&["sessions", "--all"]);
    let rows = sessions.as_array().unwrap();
    assert_eq!(rows.len(), 3, "{sessions}");
    let row = |node: &str| rows.iter().find(|row| row["node"] == node).expect(node);
    assert_eq!(row("one")["user"]["id"], "bob");
    assert_eq!(row("two")["over"], "websocket");
    assert_eq!(row("three")["over"], "turn/udp");
    let people = one.cli_json(&["sessions"]);
    let alice_row = people.as_array().unwrap().iter();
    let alice_row = alice_row.clone().find(|row| row["user"]["id"] == "alice");
    assert_eq!(alice_row.unwrap()["nodes"], json!(["three", "two"]));
    let table = String::from_utf8(one.cli(&["sessions"]).stdout).unwrap();
    assert!(table.contains("three, two"), "{table}");
    let status = one.cli_json(&["status"]);
    let cluster = &status["cluster"];
    let expected = json!(["one", 2, 1]);
    let found = json!([cluster["node"], cluster["connections"], cluster["relays"]]);
    assert_eq!(found, expected);
    assert_eq!(status["connections"], 1);
    let text = String::from_utf8(one.cli(&["status"]).stdout).unwrap();
    let summary = "All nodes:         3 nodes: 2 connections, 1 relay\n";
    assert!(text.contains(summary), "{text}");

    let kill = |node: &str| {
        let id = row(node)["id"].as_str().unwrap();
        let output = one.cli(&["session", "kill", id]);
        String::from_utf8(output.stdout).unwrap()
    };
    let said = "Closed 1 connection of alice in Lobby on two\n";
    assert_eq!(kill("two"), said);
    assert_eq!(close_code(alice), 4005);
    assert!(has_relay(&mut relay));
    assert_eq!(kill("three"), "Freed 1 relay of alice in Lobby on three\n");
    assert!(!has_relay(&mut relay));
    assert_eq!(kill("two"), "");
}

#[test]
fn metrics_show_the_nodes_their_messages_and_a_lost_redis() {
    let redis = redis::Server::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (two, one) = (cluster.start("two"), cluster.start("one"));
    let mut alice = enter(&one, "lobby", "alice");
    let mut bob = enter(&two, "lobby", "bob");
    receive(&mut alice, "user-joined");
    let offer = r#"{"type":"offer","from":"alice","to":"bob","roomId":"lobby","data":{"sdp":"x"}}"#;
    alice.send(Message::text(offer)).expect("sent");
    receive(&mut bob, offer);
    let figure =
        |node: &Daemon, name: &str| value(&scrape(node), &format!("parlor_cluster_{name}"));
    assert_eq!(figure(&one, "nodes"), 2.0);
    assert_eq!(figure(&one, "messages_sent_total"), 1.0);
    assert_eq!(figure(&two, "messages_received_total"), 1.0);
    for (name, expected) in [
        ("connected", 1.0),
        ("lease", 1.0),
        ("messages_dropped_total", 0.0),
        ("evictions_total", 0.0),
        ("redis_connection_losses_total", 0.0),
    ] {
        assert_eq!(figure(&one, name), expected, "{name}");
    }
    let becomes = |name: &str, expected: f64| {
        let deadline = clock::now().mono + DEADLINE;
        while figure(&one, name) != expected {
            assert!(clock::now().mono < deadline, "{name}");
            thread::sleep(Duration::from_millis(50));
        }
    };
    redis.kill();
    becomes("connected", 0.0);
    assert_eq!(figure(&one, "redis_connection_losses_total"), 1.0);
    redis.restart();
    becomes("connected", 1.0);
    becomes("rosters_lost_total", 1.0);
    // The attempts while it was away are no losses.
    assert_eq!(figure(&one, "redis_connection_losses_total"), 1.0);
}

#[test]
fn a_start_needs_the_secrets_of_all_nodes_and_commands_beside_a_server_do_not() {
    let cluster = Cluster::new(LONG_LEASE);
    let node = start(&cluster, "one");
    for secret in ["PARLOR_AUTH__SECRET", "PARLOR_TURN__SECRET"] {
        let run = |args: &[&str]| node.command(args).env_remove(secret).output().unwrap();
        assert!(run(&["nodes"]).status.success());
        let other = node.data_dir().join("other");
        let output = run(&["serve", "--data-dir", other.to_str().unwrap()]);
        assert!(!output.status.success());
        let key = secret.trim_start_matches("PARLOR_").replace("__", ".");
        let expected = format!("needs {} with the same value", key.to_lowercase());
        assert!(stderr(&output).contains(&expected), "{output:?}");
    }
}
