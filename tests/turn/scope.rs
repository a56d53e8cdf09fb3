//! `turn.scope` over real sockets: two clients of one room, one of another room, one without a room and a peer
//! outside, each beside a relay that separates no rooms.

use std::net::{SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Class, Method, Writer};

use crate::support::turn::{Client, both_hear_each_other, channel_data, connected, minted};
use crate::support::{DEADLINE, Daemon};
use crate::{Deadline, metric, open_relay};

/// The start of an RTP packet, which credentials of rooms may send.
const MEDIA: &[u8] = b"\x80\x6f\x00\x01 media of a call";

fn start(mode: &str, scope: &str) -> Daemon {
    let daemon = open_relay()
        .env("PARLOR_TURN__MODE", mode)
        .env("PARLOR_TURN__SCOPE", scope)
        .start();
    for room in ["daily", "weekly"] {
        daemon.cli_json(&["room", "create", room, "--id", room]);
    }
    daemon
}

fn client_in(daemon: &Daemon, user: &str, room: &str) -> Client {
    let mut client = Client::udp(daemon.turn(), user, None);
    client.minted = minted(&format!("4000000000:{user}/{room}"));
    client
}

fn send_indication(peer: SocketAddr) -> Vec<u8> {
    let mut out = Vec::new();
    let _ = Writer::new(&mut out, Method::SEND, Class::Indication, [3; 12])
        .xor_address(Attribute::XOR_PEER_ADDRESS, peer)
        .attribute(Attribute::DATA, MEDIA);
    out
}

/// Checks that two clients of a room reach each other, and returns one of them with a client of another room and a
/// client without a room, each with its relayed address.
fn callers(daemon: &Daemon) -> (Client, [(Client, SocketAddr); 2]) {
    let alice = client_in(daemon, "alice", "daily");
    let bob = client_in(daemon, "bob", "daily");
    let (mut alice, mut bob) = connected(alice, bob);
    both_hear_each_other(&mut alice, &mut bob, false);
    let eve = client_in(daemon, "eve", "weekly");
    let nora = Client::udp(daemon.turn(), "nora", None);
    let others = [eve, nora].map(|mut client| {
        let relayed = client.allocated();
        (client, relayed)
    });
    (alice, others)
}

#[test]
fn with_the_scope_room_only_clients_of_one_room_reach_each_other() {
    let dropped = "parlor_turn_dropped_total{reason=\"peer of another room\"}";
    for mode in ["ports", "internal"] {
        let daemon = start(mode, "room");
        let (mut alice, others) = callers(&daemon);
        for (index, (mut other, relayed)) in others.into_iter().enumerate() {
            assert_eq!(alice.bind(0x4003, relayed).code(), Some(403));
            // A permission names no port.
            assert_eq!(alice.permit(relayed).code(), None);
            assert_eq!(other.permit(relayed).code(), None);
            alice.send(&send_indication(relayed));
            let deadline = Deadline::new();
            while metric(&daemon, dropped) < index as u64 + 1 {
                deadline.check("the indication to be dropped");
            }
            // The answer is the first that the client receives.
            let answer = other.request(Method::BINDING, &[]);
            assert_eq!(answer.message().method(), Method::BINDING);
        }
    }
}

#[test]
fn with_the_scope_any_clients_of_all_rooms_reach_each_other() {
    for mode in ["ports", "internal"] {
        let daemon = start(mode, "any");
        let (mut alice, others) = callers(&daemon);
        for (number, (mut other, relayed)) in (0x4003..).zip(others) {
            assert_eq!(alice.bind(number, relayed).code(), None);
            assert_eq!(other.permit(relayed).code(), None);
            alice.send(&channel_data(number, MEDIA, false));
            let heard = other.receive();
            assert!(heard.windows(MEDIA.len()).any(|part| part == MEDIA));
        }
    }
}

/// The scope concerns clients of the relay. Outside peers are a matter of the mode.
#[test]
fn an_outside_peer_is_reached_in_every_scope_but_not_in_internal_mode() {
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a peer");
    peer.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let at = peer.local_addr().expect("an address");
    for scope in ["any", "room"] {
        let daemon = start("internal", scope);
        let mut alice = client_in(&daemon, "alice", "daily");
        alice.allocated();
        assert_eq!(alice.bind(0x4001, at).code(), Some(403));

        let daemon = start("ports", scope);
        let mut alice = client_in(&daemon, "alice", "daily");
        let relayed = alice.allocated();
        assert_eq!(alice.bind(0x4001, at).code(), None);
        alice.send(&channel_data(0x4001, MEDIA, false));
        let mut buffer = [0; 100];
        let (len, from) = peer.recv_from(&mut buffer).expect("the media arrives");
        assert_eq!((&buffer[..len], from), (MEDIA, relayed));
    }
}
