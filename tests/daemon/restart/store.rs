//! Restarts with `SIGTERM` under a service manager with a descriptor store.

use std::fs::File;
use std::io::Write;
use std::net::UdpSocket;
use std::process::Stdio;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::*;
use crate::support::turn::{both_hear_each_other, connected};
use fd_store::{FdStore, alone};
use parlor::stun::{Attribute, Method};

fn still_allocated(client: &mut Client) -> bool {
    let lifetime = (Attribute::LIFETIME, 600u32.to_be_bytes().to_vec());
    client
        .request(Method::REFRESH, &[lifetime])
        .code()
        .is_none()
}

#[test]
fn a_udp_call_continues_in_the_next_process() {
    let _alone = alone();
    let fd_store = FdStore::new(1000);
    let daemon = fd_store
        .manages(open_relay().env("PARLOR_TURN__SHARDS", "2"))
        .start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    let mut next = None;
    let (gap, _) = longest_gap(&alice, &bob, || {
        next = Some(daemon.restart_with(|env| fd_store.hand_out(env)));
    });
    println!("nothing arrived for {gap:?}");
    let daemon = next.expect("a daemon");
    both_hear_each_other(&mut alice, &mut bob, false);
    assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 2);
    fd_store.wait_until_empty();
    assert!(daemon.stop().success());
}

#[test]
fn calls_continue_with_more_shards_and_with_fewer() {
    let _alone = alone();
    let fd_store = FdStore::new(1000);
    let mut daemon = fd_store
        .manages(open_relay().env("PARLOR_TURN__SHARDS", "2"))
        .start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let mut pairs: Vec<_> = (0..20)
        .map(|_| connected(client("alice"), client("bob")))
        .collect();
    for shards in ["4", "1", "3"] {
        daemon = daemon.restart_with(|env| {
            env.insert("PARLOR_TURN__SHARDS".into(), shards.into());
            fd_store.hand_out(env);
        });
        for (alice, bob) in &mut pairs {
            both_hear_each_other(alice, bob, false);
            assert!(still_allocated(alice));
        }
        assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 40);
        fd_store.wait_until_empty();
    }
}

#[test]
fn two_thousand_allocations_continue() {
    let _alone = alone();
    let fd_store = FdStore::new(4000);
    let daemon = fd_store
        .manages(open_relay().env("PARLOR_TURN__SHARDS", "2"))
        .start();
    let mut pairs: Vec<(Client, Client)> = (0..1000)
        .map(|pair| {
            let client =
                |which| Client::udp(daemon.turn(), &format!("{which}-{}", pair % 10), None);
            connected(client("alice"), client("bob"))
        })
        .collect();
    let (alice, bob) = &pairs[0];
    let mut next = None;
    let (gap, _) = longest_gap(alice, bob, || {
        next = Some(daemon.restart_with(|env| fd_store.hand_out(env)));
    });
    println!("nothing arrived for {gap:?}");
    // A debug build is not representative: `tests/long/restart` measures a release build.
    assert!(cfg!(debug_assertions) || gap < Duration::from_millis(300));
    let daemon = next.expect("a daemon");
    let line = daemon.wait_for_log("restored relay state from the previous process");
    assert!(line.contains("\"allocations\":2000"), "{line}");
    for (alice, bob) in &mut pairs {
        both_hear_each_other(alice, bob, false);
    }
    assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 2000);
}

#[test]
fn a_failed_start_leaves_the_sockets_for_the_next() {
    let _alone = alone();
    let fd_store = FdStore::new(1000);
    let daemon = fd_store.manages(open_relay()).start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    let daemon = daemon.restart_with(|env| {
        fd_store.hand_out(env);
        let kept = fd_store.keeps();
        let mut bad = env.clone();
        bad.insert("PARLOR_TURN__RELAY_PORTS".into(), "nonsense".into());
        let mut failing = crate::support::parlor(&bad);
        let failed = failing
            .arg("serve")
            .stderr(Stdio::null())
            .status()
            .expect("it runs");
        assert_eq!(failed.code(), Some(2));
        assert_eq!(fd_store.keeps(), kept);
    });
    both_hear_each_other(&mut alice, &mut bob, false);
    assert!(still_allocated(&mut alice));
    drop(daemon);
}

#[test]
fn a_changed_address_is_bound_despite_inherited_sockets() {
    let _alone = alone();
    let fd_store = FdStore::new(1000);
    let builder = open_relay()
        .env("PARLOR_TURN__SHARDS", "1")
        .env("PARLOR_HTTP__LISTEN", "0.0.0.0:0")
        .env("PARLOR_TURN__LISTEN", "0.0.0.0:0");
    let daemon = fd_store.manages(builder).start();
    let loopback = |address: SocketAddr| format!("127.0.0.1:{}", address.port());
    let (http, relay) = (loopback(daemon.http()), loopback(daemon.turn()));
    let daemon = daemon.restart_with(|env| {
        env.insert("PARLOR_HTTP__LISTEN".into(), http.clone());
        env.insert("PARLOR_TURN__LISTEN".into(), relay.clone());
        fd_store.hand_out(env);
    });
    assert_eq!(daemon.http().to_string(), http);
    assert_eq!(daemon.turn().to_string(), relay);
    fd_store.wait_until_empty();
    Client::udp(daemon.turn(), "alice", None).allocated();
    Client::tcp(daemon.turn(), "alice").allocated();
    let client = crate::support::http::Client::new(daemon.http());
    assert_eq!(client.get("/healthz").status, 200);
}

#[test]
fn a_state_of_another_version_is_discarded_and_its_sockets_are_closed() {
    let _alone = alone();
    for shards in ["1", "2"] {
        is_discarded(open_relay().env("PARLOR_TURN__SHARDS", shards));
    }
}

fn is_discarded(builder: Builder) {
    let fd_store = FdStore::new(1000);
    let daemon = fd_store.manages(builder).start();
    let mut alice = Client::udp(daemon.turn(), "alice", None);
    let relayed = alice.allocated();
    let daemon = daemon.restart_with(|env| {
        let other = memfd_create("parlor-state", MFdFlags::MFD_CLOEXEC).expect("memory");
        let mut other = File::from(other);
        other
            .write_all(b"parlor handover\n\x09\0\0\0and more")
            .expect("it is written");
        fd_store.replace_state(&other);
        fd_store.hand_out(env);
    });
    let line = daemon.wait_for_log("handed-over state discarded");
    assert!(
        line.contains("it has version 9, and this binary reads version"),
        "{line}"
    );
    assert!(!still_allocated(&mut alice));
    fd_store.wait_until_empty();
    UdpSocket::bind(relayed).expect("the port is free");
}
