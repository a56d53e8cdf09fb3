//! `turn.mode = "internal"`: relayed addresses without sockets.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use parlor::stun::{Attribute, Method};

use crate::relay::udp_sockets;
use crate::support::Daemon;
use crate::support::turn::{Client, both_hear_each_other, channel_data, connected};
use crate::{Deadline, metric, open_relay};

/// Number of clients of one user, all with an allocation.
const CLIENTS: usize = 600;

/// Descriptors in addition to those at the start: for `/metrics` and the database.
const SPARE: usize = 8;

fn start() -> Daemon {
    open_relay()
        .env("PARLOR_TURN__MODE", "internal")
        .env("PARLOR_TURN__MAX_ALLOCATIONS_PER_USER", "1000")
        .start()
}

fn descriptors(daemon: &Daemon) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()));
    open.expect("a process").count()
}

/// Sets the descriptor limit of a running daemon.
fn limit_descriptors(daemon: &Daemon, most: usize) {
    let limited = Command::new("prlimit")
        .arg(format!("--pid={}", daemon.pid()))
        .arg(format!("--nofile={most}:{most}"))
        .status();
    assert!(limited.expect("prlimit starts").success());
}

#[test]
fn clients_over_udp_and_tcp_reach_each_other_without_relay_sockets() {
    let daemon = start();
    let server = daemon.turn();
    let mut alice = Client::udp(server, "alice", None);
    let mut bob = Client::tcp(server, "bob");
    for client in [&mut alice, &mut bob] {
        assert_eq!(client.request(Method::BINDING, &[]).code(), None);
    }
    let before = udp_sockets(daemon.pid());
    let (mut alice, mut bob) = connected(alice, bob);
    both_hear_each_other(&mut alice, &mut bob, true);
    assert_eq!(udp_sockets(daemon.pid()), before);
    for transport in ["udp", "tcp"] {
        let labels = format!("{{transport=\"{transport}\",path=\"to_peer\"}}");
        let left = metric(
            &daemon,
            &format!("parlor_turn_relayed_packets_total{labels}"),
        );
        assert_eq!(left, 0);
    }
}

#[test]
fn internal_mode_reaches_no_external_peers() {
    let daemon = start();
    let mut alice = Client::udp(daemon.turn(), "alice", None);
    let relayed = alice.allocated();
    let outsider = UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = outsider.local_addr().unwrap();
    let elsewhere = SocketAddr::from(([127, 0, 0, 2], at.port()));
    // `open_relay` allows loopback peers, which this mode ignores.
    assert_eq!(alice.permit(elsewhere).code(), Some(403));
    assert_eq!(alice.bind(0x4001, elsewhere).code(), Some(403));
    assert_eq!(alice.bind(0x4001, at).code(), Some(403));
    // No socket of this host is bound to the relayed address.
    drop(UdpSocket::bind(relayed).expect("the port is free"));
}

#[test]
fn allocations_need_no_descriptors() {
    let daemon = start();
    let before = descriptors(&daemon);
    limit_descriptors(&daemon, before + SPARE);
    let clients = (0..CLIENTS).map(|_| Client::udp(daemon.turn(), "alice", None));
    let mut clients: Vec<Client> = clients.collect();
    let relayed: Vec<_> = clients.iter_mut().map(Client::allocated).collect();
    assert_eq!(metric(&daemon, "parlor_turn_allocations "), CLIENTS as u64);
    assert!(descriptors(&daemon) <= before + SPARE);

    let (first, last) = (0, CLIENTS - 1);
    assert_eq!(clients[first].bind(0x4001, relayed[last]).code(), None);
    assert_eq!(clients[last].bind(0x4002, relayed[first]).code(), None);
    clients[first].send(&channel_data(0x4001, b"hello", false));
    let heard = clients[last].receive();
    assert_eq!(heard, channel_data(0x4002, b"hello", false));

    for client in &mut clients {
        let answer = client.request(Method::REFRESH, &[(Attribute::LIFETIME, vec![0; 4])]);
        assert_eq!(answer.code(), None);
    }
    let deadline = Deadline::new();
    while metric(&daemon, "parlor_turn_allocations ") > 0 {
        deadline.check("every allocation to end");
    }
}
