//! A rolling upgrade: each node in turn replaces itself with another binary, in the middle of signaling and calls.
//!
//! `PARLOR_OLD` is the binary of an older version, with which all nodes start; without it they execute the same binary
//! again. `tests/long/upgrade-nodes` builds one.

use std::fs;
use std::path::Path;

use super::*;
use crate::restart::in_place::ready;
use crate::support::BINARY;
use crate::support::turn::{Client, SECRET, both_hear_each_other, connected};

/// Puts a binary where a node executes it. A running one is not overwritten.
fn install(binary: &str, path: &Path) {
    let beside = path.with_extension("new");
    fs::copy(binary, &beside).expect("a copy");
    fs::rename(&beside, path).expect("in its place");
}

#[test]
fn a_rolling_upgrade_keeps_calls_and_ends_with_views_that_agree() {
    let new = env!("CARGO_BIN_EXE_parlor");
    let old = std::env::var("PARLOR_OLD").unwrap_or_else(|_| new.to_owned());
    let places = tempfile::TempDir::new().unwrap();
    let cluster = Cluster::new(SHORT_LEASE);
    let mut nodes = Vec::new();
    for number in 0..3 {
        let binary = places.path().join(format!("n{number}"));
        install(&old, &binary);
        let node = with_limits(cluster.node(&format!("n{number}")))
            .env(BINARY, binary.to_str().unwrap())
            .env("PARLOR_TURN__SECRET", SECRET)
            .env("PARLOR_TURN__ALLOWED_PEERS", "127.0.0.0/8")
            .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "0");
        nodes.push((node.start(), binary));
    }
    let daemons = nodes.iter().map(|(daemon, _)| daemon);
    let shared = Shared::new(daemons.clone());
    let users = users(&nodes[0].0, 24);
    let mut calls: Vec<_> = daemons
        .map(|daemon| {
            let client = |user| Client::udp(daemon.turn(), user, None);
            connected(client("alice"), client("bob"))
        })
        .collect();
    let runtime = start(&users, &shared);
    let writer = Writer::start(shared.clone(), &users);
    check::wait_until_well(&users, "at the start");
    for (number, (daemon, binary)) in nodes.iter().enumerate() {
        install(new, binary);
        daemon.signal("USR2");
        ready(daemon, 2);
        check::wait_until_well(&users, &format!("after the upgrade of n{number}"));
        shared.assert_no_violation();
        writer.check(cluster.database());
        for (alice, bob) in &mut calls {
            both_hear_each_other(alice, bob, false);
        }
    }
    drop(runtime);
}
