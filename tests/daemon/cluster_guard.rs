//! Nodes on one PostgreSQL database that would not see each other.

use std::fs;

use tempfile::NamedTempFile;

use crate::support::Builder;
use crate::support::cluster::{Cluster, LONG_LEASE, SHORT_LEASE};
use crate::support::redis;
use crate::support::turn::{Client as TurnClient, SECRET};

const KEYS: &str = "error: another node on this PostgreSQL database has another cluster.prefix, or another database \
    number in cluster.redis_url: give all nodes the same";

/// The path of a configuration file.
fn path(file: &NamedTempFile) -> &str {
    file.path().to_str().expect("a plain path")
}

fn is_refused(node: Builder) {
    let outcome = node.fails();
    assert!(outcome.lines().any(|line| line == KEYS), "{outcome}");
}

#[test]
fn a_node_with_another_prefix_is_refused() {
    let cluster = Cluster::new(LONG_LEASE);
    let _one = cluster.start("one");
    is_refused(cluster.node("two").env("PARLOR_CLUSTER__PREFIX", "x:"));
}

#[test]
fn a_node_on_another_database_of_redis_is_refused() {
    let cluster = Cluster::new(LONG_LEASE);
    let _one = cluster.start("one");
    let other = redis::server().database();
    is_refused(cluster.node("two").env("PARLOR_CLUSTER__REDIS_URL", &other));
}

#[test]
fn an_upgrade_that_other_nodes_would_refuse_leaves_the_node_running() {
    let file = NamedTempFile::new().unwrap();
    let cluster = Cluster::new(LONG_LEASE);
    let one = cluster.node("one").arg("--config").arg(path(&file));
    let one = one.start();
    let _two = cluster.start("two");
    let realm = "error: turn.realm differs from that of the node `two`";
    for (settings, refusal) in [
        ("cluster.prefix = \"x:\"", KEYS),
        ("turn.realm = \"elsewhere\"", realm),
    ] {
        fs::write(file.path(), settings).unwrap();
        let output = one.cli(&["upgrade"]);
        assert_eq!(output.status.code(), Some(1));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.lines().any(|line| line.starts_with(refusal)), "{text}");
        assert!(text.contains("the server continues unchanged"), "{text}");
    }
    one.signal("USR2");
    one.wait_for_log_of("a refusal", |line| {
        line.contains("upgrade rejected") && line.contains("turn.realm differs")
    });
    fs::write(file.path(), "").unwrap();
    one.cli_json(&["upgrade"]);
    one.wait_for_logs(&["\"message\":\"ready\""], 2);
}

#[test]
fn a_reload_with_a_secret_that_other_nodes_refuse_is_rejected() {
    let file = NamedTempFile::new().unwrap();
    let cluster = Cluster::new(LONG_LEASE);
    let write = |settings: &str| fs::write(file.path(), settings).unwrap();
    let shared = format!("turn.secret = \"{SECRET}\"\n");
    write(&shared);
    let one = cluster.node("one").without("PARLOR_TURN__SECRET");
    let one = one.arg("--config").arg(path(&file)).start();
    let two = cluster.node("two").env("PARLOR_TURN__SECRET", SECRET);
    let two = two.start();
    let refusal = "turn.secret differs from that of the node `two`: give all nodes the same";
    write("turn.secret = \"a TURN secret that nobody else has\"\n");
    let output = one.cli(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains(refusal), "{text}");
    one.signal("HUP");
    one.wait_for_logs(&[refusal, "the old one stays in force"], 2);
    // Both nodes still accept the credentials of either.
    for node in [&one, &two] {
        TurnClient::udp(node.turn(), "alice", None).allocated();
    }
    // The first step of a change of the secret.
    let next = "turn.previous_secrets = [\"a TURN secret that nobody else has\"]\n";
    write(&format!("{shared}{next}"));
    let report = one.cli_json(&["reload"]);
    assert_eq!(report["changed"][0], "turn.previous_secrets");
}

#[test]
fn the_only_node_of_a_cluster_may_change_its_prefix_by_an_upgrade() {
    let file = NamedTempFile::new().unwrap();
    let cluster = Cluster::new(LONG_LEASE);
    let node = cluster.node("one").arg("--config").arg(path(&file));
    let node = node.start();
    fs::write(file.path(), "cluster.prefix = \"x:\"").unwrap();
    node.cli_json(&["upgrade"]);
    node.wait_for_logs(&["\"message\":\"ready\""], 2);
}

#[test]
fn nodes_with_one_name_warn_of_each_other_and_are_marked() {
    let cluster = Cluster::new(SHORT_LEASE);
    let nodes = [cluster.start("vm"), cluster.start("vm")];
    for node in &nodes {
        node.wait_for_log_of("a warning", |line| {
            line.contains("another node has the same name: set cluster.node on one of them")
        });
    }
    let listed = nodes[0].cli_json(&["nodes"]);
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 2);
    assert!(listed.iter().all(|node| node["has_namesake"] == true));
    let own = listed.iter().filter(|node| node["this"] == true);
    assert_eq!(own.count(), 1);
}

#[test]
fn a_node_warns_of_settings_that_should_be_the_same() {
    let cluster = Cluster::new(LONG_LEASE);
    let _one = cluster.start("one");
    let two = cluster.node("two");
    let two = two.env("PARLOR_CLUSTER__LEASE", "50s");
    let two = two.env("PARLOR_TURN__MODE", "internal").start();
    for setting in ["cluster.lease", "turn.mode"] {
        two.wait_for_log_of(setting, |line| {
            line.contains("a setting differs from that of another node") && line.contains(setting)
        });
    }
}

#[test]
fn the_status_and_the_log_say_whether_redis_is_reached() {
    let redis = redis::Server::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let node = cluster.start("one");
    assert_eq!(node.cli_json(&["status"])["redis"]["reached"], true);
    redis.kill();
    node.wait_for_log_of("the loss", |line| line.contains("connection to Redis lost"));
    let status = node.cli_json(&["status"]);
    assert_eq!(status["redis"]["reached"], false);
    redis.restart();
    node.wait_for_log_of("the end of the loss", |line| {
        line.contains("Redis answers again")
    });
    let text = String::from_utf8(node.cli(&["status"]).stdout).unwrap();
    assert!(text.contains("Redis:             ok\n"), "{text}");
    // Members are those of all nodes, connections those of this one.
    assert!(
        text.contains("0 members, 0 connected to this node"),
        "{text}"
    );
    assert!(text.contains("in use on this node"), "{text}");
}

#[test]
fn nodes_restart_in_turn_after_redis_has_been_restarted() {
    let redis = redis::Server::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    // It hangs, and still reports the former run of Redis.
    two.signal("STOP");
    redis.kill();
    redis.restart();
    assert!(one.stop().success());
    let _one = cluster.start("one");
    two.signal("CONT");
    assert!(two.stop().success());
    let _two = cluster.start("two");
}
