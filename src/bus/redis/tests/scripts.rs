//! Single scripts.

use std::sync::Arc;

use redis::{Connection, ConnectionLike, Value, cmd};

use super::world::{CLOCK, World};
use crate::bus::redis::{Script, Scripts};

const LEASE_MS: u64 = 10_000;

/// A server with registered nodes.
struct Fixture {
    redis: Connection,
    scripts: Arc<Scripts>,
    world: String,
    now_us: u64,
}

impl Fixture {
    fn new(nodes: &[&str]) -> Fixture {
        let scripts = Scripts::patched(&CLOCK);
        let mut fixture = Fixture {
            redis: World::connect(),
            scripts,
            world: String::new(),
            now_us: 1_000_000,
        };
        for text in fixture.scripts.texts().to_vec() {
            fixture.execute(cmd("SCRIPT").arg("LOAD").arg(text));
        }
        fixture.pass(0);
        for node in nodes {
            let args = [
                "run",
                node,
                "world",
                "0",
                &LEASE_MS.to_string(),
                "",
                "1",
                "0",
                "0",
            ]
            .map(str::to_owned);
            fixture.evaluate(Script::Register, &args);
        }
        fixture.world = "world run".to_owned();
        fixture
    }

    fn pass(&mut self, microseconds: u64) {
        self.now_us += microseconds;
        let now = self.now_us;
        self.execute(cmd("SET").arg("p1:now").arg(now));
    }

    fn evaluate(&mut self, script: Script, args: &[String]) -> Value {
        let hash = self.scripts.hash(script).to_owned();
        self.execute(cmd("EVALSHA").arg(hash).arg(0).arg("p1:").arg(args))
    }

    /// Runs a script as a node.
    fn call(&mut self, node: &str, script: Script, args: &[&str]) -> Value {
        let mut all = vec![self.world.clone(), node.to_owned()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.evaluate(script, &all)
    }

    fn execute(&mut self, command: &redis::Cmd) -> Value {
        self.redis
            .req_packed_command(&command.get_packed_command())
            .unwrap()
    }
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

#[test]
fn a_room_stays_on_its_relay_node_while_that_lives() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    let place = |fixture: &mut Fixture, node: &str| {
        let others = ["n1.a", "n2.a"].into_iter().filter(|other| *other != node);
        let args: Vec<&str> = ["lobby", "3600", "0", "", node]
            .into_iter()
            .chain(others)
            .collect();
        fixture.call("n1.a", Script::Place, &args)
    };
    assert_eq!(place(&mut fixture, "n2.a"), text("n2.a"));
    assert_eq!(place(&mut fixture, "n1.a"), text("n2.a"));
    fixture.call("n1.a", Script::Evict, &["n2.a", "any"]);
    assert_eq!(place(&mut fixture, "n1.a"), text("n1.a"));
}

#[test]
fn a_node_that_returns_under_a_new_identifier_gets_its_rooms_again() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a", "n2.b"]);
    let place = |fixture: &mut Fixture, nodes: [&str; 3]| {
        let args = [&["lobby", "3600", "0", ""], &nodes[..]].concat();
        fixture.call("n1.a", Script::Place, &args)
    };
    assert_eq!(place(&mut fixture, ["n2.a", "n1.a", "n2.b"]), text("n2.a"));
    fixture.call("n1.a", Script::Evict, &["n2.a", "any"]);
    assert_eq!(place(&mut fixture, ["n1.a", "n2.b", "n2.a"]), text("n2.b"));
}

#[test]
fn the_rooms_of_a_node_that_announced_its_return_wait_for_it() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a", "n3.a"]);
    let place = |fixture: &mut Fixture, nodes: [&str; 2]| {
        let args = [&["lobby", "3600", "0", ""], &nodes[..]].concat();
        fixture.call("n1.a", Script::Place, &args)
    };
    assert_eq!(place(&mut fixture, ["n2.a", "n1.a"]), text("n2.a"));
    fixture.call("n2.a", Script::Returning, &["20"]);
    fixture.call("n1.a", Script::Evict, &["n2.a", "any"]);
    assert_eq!(place(&mut fixture, ["n1.a", "n3.a"]), text("n2.a"));
    let args = ["run", "n2.b", "world", "0", "10000", "", "1", "0", "0"].map(str::to_owned);
    fixture.evaluate(Script::Register, &args);
    assert_eq!(place(&mut fixture, ["n1.a", "n2.b"]), text("n2.b"));
}

#[test]
fn the_rooms_of_a_node_that_does_not_return_are_placed_anew() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    let args = ["lobby", "3600", "0", "", "n2.a", "n1.a"];
    let place = |fixture: &mut Fixture| fixture.call("n1.a", Script::Place, &args);
    assert_eq!(place(&mut fixture), text("n2.a"));
    fixture.call("n2.a", Script::Returning, &["20"]);
    let lifetime: i64 = cmd("TTL")
        .arg("p1:returning:n2.a")
        .query(&mut fixture.redis)
        .unwrap();
    assert!((1..=20).contains(&lifetime), "{lifetime}");
    fixture.execute(cmd("DEL").arg("p1:returning:n2.a"));
    fixture.call("n1.a", Script::Evict, &["n2.a", "any"]);
    assert_eq!(place(&mut fixture), text("n1.a"));
}

#[test]
fn while_redis_recovers_rooms_stay_on_nodes_that_have_not_registered_again() {
    let mut fixture = Fixture::new(&["n1.a"]);
    let place = |fixture: &mut Fixture, recovers: &str, known: &str| {
        let args = ["lobby", "3600", recovers, known, "n1.a"];
        fixture.call("n1.a", Script::Place, &args)
    };
    assert_eq!(place(&mut fixture, "1", "n2.a"), text("n2.a"));
    assert_eq!(place(&mut fixture, "1", ""), text("n2.a"));
    assert_eq!(place(&mut fixture, "0", "n2.a"), text("n1.a"));
}

#[test]
fn a_draining_node_keeps_its_rooms_and_gets_no_new_ones() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    let place = |fixture: &mut Fixture, room: &str| {
        let args = [room, "3600", "0", "", "n3.a", "n2.a", "n1.a"];
        fixture.call("n1.a", Script::Place, &args)
    };
    assert_eq!(place(&mut fixture, "lobby"), text("n2.a"));
    let drain = |fixture: &mut Fixture, node: &str| {
        fixture.call(node, Script::Renew, &["10000", "0-0", "1", "", ""])
    };
    drain(&mut fixture, "n2.a");
    assert_eq!(place(&mut fixture, "lobby"), text("n2.a"));
    assert_eq!(place(&mut fixture, "attic"), text("n1.a"));
    drain(&mut fixture, "n1.a");
    assert_eq!(place(&mut fixture, "cellar"), text("n2.a"));
    fixture.call("n1.a", Script::Evict, &["n2.a", "any"]);
    assert_eq!(place(&mut fixture, "lobby"), text("n1.a"));
}

#[test]
fn membership_is_unknown_until_all_nodes_have_restated_their_rooms() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    let members = |fixture: &mut Fixture| {
        let args = [
            "5000000", "lobby", "alice", "lobby", "bob", "attic", "alice",
        ];
        fixture.call("n1.a", Script::Members, &args)
    };
    fixture.call(
        "n2.a",
        Script::Enter,
        &["1", "lobby", "alice", "7", "0", ""],
    );
    fixture.call("n1.a", Script::Restated, &["1"]);
    fixture.call("n2.a", Script::Restated, &["2"]);
    assert_eq!(members(&mut fixture), text(""));
    fixture.pass(5_000_000);
    assert_eq!(members(&mut fixture), text("100"));
    let args = ["run", "n3.a", "world", "0", "10000", "", "1", "0", "0"].map(str::to_owned);
    fixture.evaluate(Script::Register, &args);
    assert_eq!(members(&mut fixture), text(""));
}

#[test]
fn members_of_rooms_are_counted_on_all_nodes() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    let count = |fixture: &mut Fixture| {
        let rooms = ["lobby", "cellar", "attic"];
        fixture.call("n1.a", Script::Count, &rooms)
    };
    assert_eq!(count(&mut fixture), text("0 0 0"));
    fixture.call(
        "n1.a",
        Script::Enter,
        &["1", "lobby", "alice", "7", "0", ""],
    );
    fixture.call("n2.a", Script::Enter, &["1", "lobby", "bob", "7", "0", ""]);
    fixture.call(
        "n2.a",
        Script::Enter,
        &["2", "lobby", "carol", "8", "0", ""],
    );
    fixture.call("n2.a", Script::Enter, &["3", "attic", "bob", "9", "0", ""]);
    assert_eq!(count(&mut fixture), text("3 0 1"));
    fixture.call("n1.a", Script::Evict, &["n2.a", "any"]);
    assert_eq!(count(&mut fixture), text("1 0 0"));
    // Redis has restarted with its data.
    let args = ["again", "n1.a", "later", "0", "10000", "", "2", "0", "0"].map(str::to_owned);
    fixture.evaluate(Script::Register, &args);
    fixture.world = "later again".to_owned();
    assert_eq!(count(&mut fixture), text("0 0 0"));
}

#[test]
fn a_limit_has_a_burst_and_a_rate() {
    let mut fixture = Fixture::new(&["n1.a"]);
    let take = |fixture: &mut Fixture| {
        fixture.call("n1.a", Script::Limit, &["login:alice", "1000000", "3"])
    };
    let first: Vec<Value> = (0..4).map(|_| take(&mut fixture)).collect();
    let wait = Value::Int(1_000_000);
    assert_eq!(first, [Value::Int(0), Value::Int(0), Value::Int(0), wait]);
    fixture.pass(1_000_000);
    assert_eq!(take(&mut fixture), Value::Int(0));
    assert_eq!(take(&mut fixture), Value::Int(1_000_000));
}

#[test]
fn a_node_is_evicted_after_its_lease_in_steps_of_fifty_rooms() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    for number in 1..=120u64 {
        let room = format!("room-{number}");
        fixture.call(
            "n2.a",
            Script::Enter,
            &[&number.to_string(), &room, "alice", "7", "0", ""],
        );
    }
    let evict = |fixture: &mut Fixture| fixture.call("n1.a", Script::Evict, &["n2.a", "expired"]);
    assert_eq!(evict(&mut fixture), Value::Int(0));
    fixture.pass(LEASE_MS * 1000);
    let steps: Vec<Value> = (0..3).map(|_| evict(&mut fixture)).collect();
    assert_eq!(steps, [Value::Int(70), Value::Int(20), Value::Int(0)]);
    let fenced = fixture.call(
        "n2.a",
        Script::Enter,
        &["121", "lobby", "alice", "8", "0", ""],
    );
    assert_eq!(fenced, text("FENCED"));
    let left: Vec<String> = cmd("KEYS")
        .arg("p1:[rmi]:*")
        .query(&mut fixture.redis)
        .unwrap();
    assert_eq!(left, ["p1:i:n1.a"]);
}

#[test]
fn a_late_registration_changes_nothing() {
    let mut fixture = Fixture::new(&["n1.a"]);
    fixture.call(
        "n1.a",
        Script::Enter,
        &["1", "lobby", "alice", "7", "0", ""],
    );
    let again = ["run", "n1.a", "world", "0", "10000", "", "1", "0", "0"].map(str::to_owned);
    assert_eq!(fixture.evaluate(Script::Register, &again), text("LATE"));
    let repeated = fixture.call(
        "n1.a",
        Script::Enter,
        &["1", "lobby", "alice", "8", "0", ""],
    );
    assert_eq!(repeated, text("OK"));
    let members: u64 = cmd("HGET")
        .arg("p1:m:lobby")
        .arg("n1.a")
        .query(&mut fixture.redis)
        .unwrap();
    assert_eq!(members, 1);
    let skipped = fixture.call("n1.a", Script::Enter, &["3", "lobby", "bob", "9", "0", ""]);
    assert_eq!(skipped, text("GAP"));
}

#[test]
fn after_three_replacements_in_a_minute_on_any_node_the_established_connection_stays() {
    let mut fixture = Fixture::new(&["n1.a", "n2.a"]);
    let enter = |fixture: &mut Fixture, node: &str, number: &str, connection: &str| {
        fixture.call(
            node,
            Script::Enter,
            &[number, "lobby", "alice", connection, "0", ""],
        );
        let place: String = cmd("HGET")
            .arg("p1:r:lobby")
            .arg("u:alice")
            .query(&mut fixture.redis)
            .unwrap();
        place.rsplit_once(' ').unwrap().0.to_owned()
    };
    assert_eq!(enter(&mut fixture, "n1.a", "1", "1"), "n1.a 1");
    assert_eq!(enter(&mut fixture, "n2.a", "1", "2"), "n2.a 2");
    fixture.pass(10_000_000);
    assert_eq!(enter(&mut fixture, "n1.a", "2", "3"), "n1.a 3");
    assert_eq!(enter(&mut fixture, "n2.a", "2", "4"), "n2.a 4");
    assert_eq!(enter(&mut fixture, "n1.a", "3", "5"), "n2.a 4");
    fixture.pass(50_000_000);
    assert_eq!(enter(&mut fixture, "n1.a", "4", "6"), "n1.a 6");
}

#[test]
fn a_node_is_found_by_a_hash_of_its_name() {
    let mut fixture = Fixture::new(&["one.host.a", "two.b"]);
    let mut find = |digits: &str| fixture.call("two.b", Script::Find, &[digits]);
    // As `printf one.host | sha1sum` shows.
    assert_eq!(find("7d35dc3d3c82a123"), text(":one.host.a"));
    assert_eq!(find("0000000000000000"), text(""));
}
