//! Nodes on one PostgreSQL database that would not see each other.

use crate::support::Builder;
use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::redis;

const KEYS: &str = "error: another node on this PostgreSQL database has another cluster.prefix, or another database \
    number in cluster.redis_url: give all nodes the same";
const SERVER: &str = "error: another node on this PostgreSQL database uses another Redis server: let \
    cluster.redis_url of all nodes lead to the same one";

fn is_refused(node: Builder, expected: &str) {
    let outcome = node.fails();
    assert!(outcome.lines().any(|line| line == expected), "{outcome}");
}

#[test]
fn a_node_with_another_prefix_is_refused() {
    let cluster = Cluster::new(LONG_LEASE);
    let _one = cluster.start("one");
    is_refused(
        cluster.node("two").env("PARLOR_CLUSTER__PREFIX", "x:"),
        KEYS,
    );
}

#[test]
fn a_node_on_another_database_of_redis_is_refused() {
    let cluster = Cluster::new(LONG_LEASE);
    let _one = cluster.start("one");
    let other = redis::server().database();
    is_refused(
        cluster.node("two").env("PARLOR_CLUSTER__REDIS_URL", &other),
        KEYS,
    );
}

#[test]
fn a_node_on_another_redis_server_is_refused_until_the_others_have_stopped() {
    let cluster = Cluster::new(LONG_LEASE);
    let one = cluster.start("one");
    let other = redis::Server::start();
    let (_, number) = cluster.redis_url().split_once("?db=").unwrap();
    let url = format!("redis+unix://{}?db={number}", other.socket().display());
    let two = || cluster.node("two").env("PARLOR_CLUSTER__REDIS_URL", &url);
    is_refused(two(), SERVER);
    assert!(one.stop().success());
    let _two = two().start();
}

#[test]
fn nodes_restart_in_turn_after_redis_has_been_restarted() {
    let redis = redis::Server::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    redis.kill();
    redis.restart();
    assert!(one.stop().success());
    let _one = cluster.start("one");
    assert!(two.stop().success());
    let _two = cluster.start("two");
}
