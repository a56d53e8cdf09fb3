//! `turn.new_peers_per_minute` over real sockets: scans of ports and of a network, beside a relay without the limit.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use parlor::clock;
use parlor::stun::{Attribute, Class, Method, Writer};

use crate::support::turn::Client;
use crate::{Deadline, metric, open_relay};

const PORTS: usize = 20;
const HOSTS: u8 = 40;

/// Scans ports with Send indications and hosts with CreatePermission, and returns how many peers were reached,
/// and how many the limit allows in the time that it took.
fn scanned(per_minute: u32) -> (usize, usize) {
    let daemon = open_relay()
        .env("PARLOR_TURN__NEW_PEERS_PER_MINUTE", &per_minute.to_string())
        .start();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    client.allocated();
    let start = clock::now().mono;
    let sockets = (0..PORTS).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a peer"));
    let sockets: Vec<UdpSocket> = sockets.collect();
    let of = |socket: &UdpSocket| socket.local_addr().expect("an address");
    assert_eq!(client.permit(of(&sockets[0])).code(), None);
    for socket in &sockets {
        client.send(&send_indication(of(socket)));
    }
    let count = |name: &str| metric(&daemon, name) as usize;
    let sent = || count("parlor_turn_relayed_packets_total{transport=\"udp\",path=\"to_peer\"}");
    let dropped = || count("parlor_turn_dropped_total{reason=\"new peers\"}");
    let deadline = Deadline::new();
    while sent() + dropped() < PORTS {
        deadline.check("every indication to be relayed or dropped");
    }
    let hosts = (2..2 + HOSTS).map(|host| SocketAddr::from(([127, 0, 0, host], 9)));
    let codes: Vec<_> = hosts.map(|host| client.permit(host).code()).collect();
    let granted = codes.iter().filter(|code| code.is_none()).count();
    assert!(codes.iter().all(|code| matches!(code, None | Some(508))));
    assert_eq!(
        count("parlor_turn_error_responses_total{reason=\"new peers\"}"),
        codes.len() - granted
    );
    let spent = Duration::from_nanos(clock::now().mono.0 - start.0);
    let refilled = spent.as_secs() * u64::from(per_minute) / 60;
    (
        1 + sent() + granted,
        per_minute as usize + refilled as usize,
    )
}

fn send_indication(peer: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = Writer::new(&mut out, Method::SEND, Class::Indication, [3; 12])
        .xor_address(Attribute::XOR_PEER_ADDRESS, peer)
        .attribute(Attribute::DATA, b"hello");
    out
}

#[test]
fn a_scan_of_ports_and_hosts_reaches_as_many_peers_as_the_limit_allows() {
    let (reached, allowed) = scanned(2);
    assert!((2..=allowed).contains(&reached), "{reached} of {allowed}");
}

#[test]
fn without_the_limit_a_scan_reaches_every_peer() {
    assert_eq!(scanned(0).0, 1 + PORTS + usize::from(HOSTS));
}
