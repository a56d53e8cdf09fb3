//! Limits of logins on several nodes.

use serde_json::json;

use crate::support::Daemon;
use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::http::{Answer, Client};
use crate::support::redis;

/// Attempts that a node accepts by its own limit.
const BURST: usize = 20;

fn log_in(node: &Daemon, name: &str) -> Answer {
    let body = json!({"username": name, "password": "guess"});
    Client::new(node.http()).post_json("/api/auth/login", &body)
}

#[test]
fn attempts_at_one_name_count_on_all_nodes_while_redis_answers() {
    let redis = redis::Server::start();
    let cluster = Cluster::on(&redis, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    for attempt in 0..BURST {
        assert_eq!(log_in(&one, "alice").status, 401, "{attempt}");
    }
    // Time passes meanwhile, and the limiter may grant a few more.
    let limited = (1..BURST - 2)
        .map(|_| log_in(&two, "alice"))
        .find(|answer| answer.status == 429)
        .expect("a limit");
    assert_eq!(limited.header("retry-after"), Some("6"));
    assert_eq!(limited.json()["code"], "too-many-attempts");
    assert_eq!(log_in(&two, "bob").status, 401);
    let mut connection = redis_connection(cluster.redis_url());
    let keys: Vec<String> = ::redis::cmd("KEYS")
        .arg("*l:login:*")
        .query(&mut connection)
        .unwrap();
    assert!(!keys.is_empty());
    assert!(keys.iter().all(|key| !key.contains("alice")), "{keys:?}");
    redis.kill();
    // By its own limit, of which a part is left.
    assert_eq!(log_in(&two, "alice").status, 401);
}

fn redis_connection(url: &str) -> ::redis::Connection {
    let client = ::redis::Client::open(url).unwrap();
    client.get_connection().unwrap()
}
