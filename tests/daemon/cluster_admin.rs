//! Admin commands on one of several nodes.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::{DEADLINE, Daemon};

/// The entry of a node in a list of nodes.
fn entry<'a>(nodes: &'a Value, name: &str) -> &'a Value {
    let mut entries = nodes.as_array().expect("a list").iter();
    let entry = entries.find(|entry| entry["name"] == name);
    entry.unwrap_or_else(|| panic!("{name} is not in {nodes}"))
}

/// Repeats a command until its result fits: a node learns of a new one when it renews its lease.
fn eventually(node: &Daemon, args: &[&str], fits: impl Fn(&Value) -> bool) -> Value {
    let started = std::time::Instant::now();
    loop {
        let result = node.cli_json(args);
        if fits(&result) {
            return result;
        }
        assert!(started.elapsed() < DEADLINE, "{args:?}: {result}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
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
    let nodes = one.cli_json(&["nodes"]);
    assert_eq!(nodes.as_array().unwrap().len(), 3, "{nodes}");
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
