//! ICMP errors about datagrams to a peer, and that they do not affect others.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

use parlor::stun::{Attribute, Class, Message, Method, Writer, decode_xor_address};

use crate::support::DEADLINE;
use crate::support::turn::{Client, channel_data};
use crate::{Deadline, metric, open_relay};

/// An address at which nothing listens: its socket was closed a moment ago.
fn nobody(ip: &str) -> SocketAddr {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.local_addr().unwrap()
}

/// The peer and the ICMP attribute of a Data indication.
pub(crate) fn icmp_indication(bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let message = Message::parse(bytes).expect("a message");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::DATA)
    );
    let peer = message.get(Attribute::XOR_PEER_ADDRESS).expect("a peer");
    let peer = decode_xor_address(peer, &message.transaction()).expect("an address");
    let icmp = message.get(Attribute::ICMP).expect("an ICMP attribute");
    assert_eq!(message.get(Attribute::DATA), None);
    (peer, icmp.to_vec())
}

#[test]
fn a_client_gets_the_icmp_error_of_an_unreachable_peer() {
    // Port unreachable: type 3, code 3, or type 1, code 4 (RFC 792, RFC 4443).
    for (ip, value) in [("127.0.0.1", [0, 0, 6, 3]), ("::1", [0, 0, 2, 4])] {
        let daemon = open_relay()
            .env(
                "PARLOR_TURN__LISTEN",
                &SocketAddr::new(ip.parse().unwrap(), 0).to_string(),
            )
            .start();
        let server = daemon.turn();
        for mut client in [
            Client::udp(server, "alice", None),
            Client::tcp(server, "alice"),
        ] {
            client.allocated();
            let gone = nobody(ip);
            assert_eq!(client.bind(0x4001, gone).code(), None);
            client.send(&channel_data(0x4001, b"anybody?", true));
            let (peer, icmp) = icmp_indication(&client.receive());
            assert_eq!(peer, gone);
            assert_eq!(icmp, [&value[..], &[0; 4]].concat());
        }
        assert_eq!(metric(&daemon, "parlor_turn_icmp_total"), 2);
    }
}

/// A pending ICMP error makes the next call on its socket fail: here, a send to another peer.
#[test]
fn an_unreachable_peer_does_not_affect_others() {
    const ROUNDS: usize = 500;
    let daemon = open_relay()
        .env("PARLOR_TURN__SHARDS", "1")
        .env("PARLOR_TURN__BANDWIDTH_PER_ALLOCATION", "0")
        .env("PARLOR_TURN__BANDWIDTH_PER_USER", "0")
        .start();
    let friend = UdpSocket::bind("127.0.0.1:0").unwrap();
    friend.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    let relayed = client.allocated();
    assert_eq!(
        client.bind(0x4001, friend.local_addr().unwrap()).code(),
        None
    );
    assert_eq!(client.bind(0x4002, nobody("127.0.0.1")).code(), None);
    let mut buffer = [0; 100];
    for round in 0..ROUNDS {
        let text = round.to_string();
        // Several datagrams are pending, so that a batch has both peers.
        for channel in [0x4002, 0x4001, 0x4002, 0x4001] {
            client.send(&channel_data(channel, text.as_bytes(), false));
        }
        for _ in 0..2 {
            let (len, from) = friend.recv_from(&mut buffer).expect("a datagram in time");
            assert_eq!((&buffer[..len], from), (text.as_bytes(), relayed));
        }
        friend.send_to(text.as_bytes(), relayed).unwrap();
        let back = channel_data(0x4001, text.as_bytes(), false);
        loop {
            let heard = client.receive();
            if heard == back {
                break;
            }
            icmp_indication(&heard);
        }
    }
    assert_eq!(metric(&daemon, "parlor_turn_send_errors_total"), 0);
    let deadline = Deadline::new();
    let over = "parlor_turn_dropped_total{reason=\"ICMP errors over the rate\"}";
    while metric(&daemon, over) == 0 {
        deadline.check("more errors than a client gets");
    }
}

/// With DONT-FRAGMENT, a datagram over the path MTU is dropped, and the client gets an ICMP error.
#[test]
fn a_dont_fragment_datagram_over_the_path_mtu_is_dropped_and_reported() {
    const MTU: u32 = 1_400;
    let inside = std::thread::spawn(|| {
        // A network namespace of this thread and its child processes.
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            eprintln!("skipped: no network of its own: {error}");
            return;
        }
        let mut ip = Command::new("ip");
        ip.args(["link", "set", "lo", "up", "mtu", &MTU.to_string()]);
        assert!(ip.status().expect("ip runs").success());
        for (ip, kind) in [("127.0.0.1", [0, 0, 6, 4]), ("::1", [0, 0, 4, 0])] {
            narrow_way(ip, kind, MTU);
        }
    });
    inside.join().expect("a test");
}

fn narrow_way(ip: &str, kind: [u8; 4], mtu: u32) {
    let listen = SocketAddr::new(ip.parse().unwrap(), 0);
    let daemon = open_relay()
        .env("PARLOR_TURN__LISTEN", &listen.to_string())
        .start();
    let peer = UdpSocket::bind((ip, 0)).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    let at = peer.local_addr().unwrap();
    for mut client in [
        Client::udp(daemon.turn(), "alice", None),
        Client::tcp(daemon.turn(), "alice"),
    ] {
        let answer = client.allocate_with(&[(Attribute::DONT_FRAGMENT, Vec::new())]);
        assert_eq!(answer.code(), None);
        assert_eq!(client.permit(at).code(), None);
        // In one batch or in several: each datagram is fragmented or not as requested.
        for (len, whole) in [(1_500, false), (1_500, true), (1_496, false), (1_200, true)] {
            client.send(&indication(at, &vec![7; len], whole));
        }
        let mut buffer = [0; 2_000];
        for expected in [1_500, 1_496, 1_200] {
            let (len, _) = peer.recv_from(&mut buffer).expect("a datagram in time");
            assert_eq!(len, expected, "{ip}");
        }
        let (about, icmp) = icmp_indication(&client.receive());
        assert_eq!(about.ip(), at.ip());
        assert_eq!(icmp, [kind, mtu.to_be_bytes()].concat(), "{ip}");
    }
    assert_eq!(metric(&daemon, "parlor_turn_send_errors_total"), 2);
}

fn indication(peer: SocketAddr, data: &[u8], whole: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = Writer::new(&mut out, Method::SEND, Class::Indication, [7; 12])
        .xor_address(Attribute::XOR_PEER_ADDRESS, peer)
        .attribute(Attribute::DATA, data);
    if whole {
        writer.attribute(Attribute::DONT_FRAGMENT, &[]);
    }
    out
}
