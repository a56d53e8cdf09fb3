//! A Redis server dies, and Redis Sentinel promotes its replica.

use std::collections::{BTreeSet, HashMap};

use super::{Client, LOBBY};
use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::postgres;
use crate::support::redis::Server as Redis;
use crate::support::sentinel::{SERVICE, Watched, ask};
use crate::support::wait_until;

/// The users that the roster of the current world lists, once all nodes have restated their rooms in it.
fn listed(redis: u16, nodes: usize) -> Option<BTreeSet<String>> {
    let world: String = ask(redis, &["GET", "parlor:1:world"])?;
    let server: String = ask(redis, &["INFO", "server"])?;
    let run_id = server
        .lines()
        .find_map(|line| line.strip_prefix("run_id:"))?;
    if world.split(' ').nth(1) != Some(run_id) {
        return None;
    }
    let ids: Vec<String> = ask(redis, &["ZRANGE", "parlor:1:nodes", "0", "-1"])?;
    let restated = ids.iter().filter(|id| {
        let key = format!("parlor:1:h:{id}");
        ask(redis, &["HEXISTS", &key, "restated"]) == Some(true)
    });
    if restated.count() < nodes {
        return None;
    }
    let key = format!("parlor:1:r:{LOBBY}");
    let roster: HashMap<String, String> = ask(redis, &["HGETALL", &key])?;
    if roster.get("w") != Some(&world) {
        return None;
    }
    let users = roster.keys().filter_map(|field| field.strip_prefix("u:"));
    Some(users.map(str::to_owned).collect())
}

#[test]
fn nodes_go_on_with_the_replica_that_a_sentinel_promotes() {
    let redis = Watched::start();
    // The first sentinel cannot be reached.
    let url = format!(
        "redis+sentinel://127.0.0.1:{},127.0.0.1:{}/{SERVICE}",
        Redis::unused_port(),
        redis.sentinel_port
    );
    let cluster = Cluster::at(postgres::server(), url, LONG_LEASE);
    let (one, two) = (cluster.start("one"), cluster.start("two"));
    let mut alice = Client::enter(&one, "alice");
    let mut bob = Client::enter(&two, "bob");
    let mut carol = Client::enter(&two, "carol");
    for (client, users) in [(&mut alice, &["bob", "carol"][..]), (&mut bob, &["carol"])] {
        users
            .iter()
            .for_each(|user| client.hears("user-joined", user));
    }
    redis.master.kill();
    let everybody = Some(["alice", "bob", "carol"].map(str::to_owned).into());
    wait_until("the replica lists everybody", || {
        listed(redis.replica_port, 2) == everybody
    });
    // Each of them receives this next: nobody was seen to leave.
    alice.reaches("alice", &mut bob, "bob");
    carol.reaches("carol", &mut alice, "alice");
    alice.reaches("alice", &mut carol, "carol");
    let _dave = Client::enter(&one, "dave");
    for client in [&mut alice, &mut bob, &mut carol] {
        client.hears("user-joined", "dave");
    }
    drop(carol);
    for client in [&mut alice, &mut bob] {
        client.hears("user-left", "carol");
    }
}
