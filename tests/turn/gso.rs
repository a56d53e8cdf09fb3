//! Clients that send many packets as one GSO message, like QUIC and media stacks do, so that several packets
//! arrive in one slot.

use std::net::{SocketAddr, UdpSocket};

use nix::sys::socket::{setsockopt, sockopt};
use parlor::stun::{Attribute, Class, Message, Method, Writer, encode_xor_address};

use crate::support::DEADLINE;
use crate::support::turn::{Client, Wire, channel_data};
use crate::{metric, open_relay};

/// The size and number of packets in a message; the last one is shorter in `SHORTER`.
const SIZES: [(usize, usize); 4] = [(1000, 16), (100, 64), (700, 33), (24, 2)];
const SHORTER: usize = 3;

/// Messages sent before any is received.
const MESSAGES: usize = 3;

/// The format of sent or received data.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Channel,
    Indication,
}

const WAYS: [(By, By); 4] = [
    (By::Channel, By::Channel),
    // A Data indication is longer than ChannelData: it needs the free bytes before each datagram.
    (By::Channel, By::Indication),
    (By::Indication, By::Channel),
    (By::Indication, By::Indication),
];

#[test]
fn packets_received_in_one_slot_are_relayed_to_a_client_one_by_one_in_order() {
    for listen in ["127.0.0.1:0", "[::1]:0", "0.0.0.0:0"] {
        let daemon = open_relay()
            .env("PARLOR_TURN__LISTEN", listen)
            .env("PARLOR_TURN__SHARDS", "1")
            .env("PARLOR_TURN__BANDWIDTH_PER_ALLOCATION", "0")
            .env("PARLOR_TURN__BANDWIDTH_PER_USER", "0")
            .start();
        let mut server = daemon.turn();
        if server.ip().is_unspecified() {
            server.set_ip([127, 0, 0, 9].into());
        }
        for (by, heard) in WAYS {
            let mut alice = Client::udp(server, "alice", None);
            let mut bob = Client::udp(server, "bob", None);
            let (at_alice, at_bob) = (alice.allocated(), bob.allocated());
            opened(&mut alice, by, 0x4001, at_bob);
            opened(&mut bob, heard, 0x4002, at_alice);
            for (size, count) in SIZES {
                let sent = payloads(size, count);
                send_in_pieces(&mut alice, by, 0x4001, at_bob, &sent);
                for expected in &sent {
                    let heard = heard_by(&bob.receive(), heard, 0x4002, at_alice);
                    assert_eq!(&heard, expected, "{by:?}, {size} bytes");
                }
            }
        }
        let packets: usize = SIZES.iter().map(|(_, count)| MESSAGES * count).sum();
        let hairpin = "parlor_turn_relayed_packets_total{transport=\"udp\",path=\"hairpin\"}";
        assert_eq!(metric(&daemon, hairpin) as usize, WAYS.len() * packets);
        assert_eq!(metric(&daemon, "parlor_turn_send_errors_total"), 0);
    }
}

#[test]
fn packets_received_in_one_slot_are_relayed_to_a_peer_and_back_one_by_one_in_order() {
    let daemon = open_relay()
        .env("PARLOR_TURN__BANDWIDTH_PER_ALLOCATION", "0")
        .env("PARLOR_TURN__BANDWIDTH_PER_USER", "0")
        .start();
    for by in [By::Channel, By::Indication] {
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let address = peer.local_addr().unwrap();
        let mut client = Client::udp(daemon.turn(), "alice", None);
        let relayed = client.allocated();
        opened(&mut client, by, 0x4001, address);
        for (size, count) in SIZES {
            let sent = payloads(size, count);
            send_in_pieces(&mut client, by, 0x4001, address, &sent);
            for expected in &sent {
                let mut buffer = [0; 2000];
                let (len, from) = peer.recv_from(&mut buffer).expect("a datagram in time");
                assert_eq!(&buffer[..len], expected, "{by:?}, {size} bytes");
                assert_eq!(from, relayed);
            }
            send_cut(&peer, Some(relayed), size, &sent[..count]);
            for expected in &sent[..count] {
                let heard = heard_by(&client.receive(), by, 0x4001, address);
                assert_eq!(&heard, expected, "{by:?}, {size} bytes");
            }
        }
    }
}

#[test]
fn status_and_check_report_disabled_segmentation() {
    let daemon = open_relay().env("PARLOR_TURN__SEGMENTATION", "off").start();
    let reported = &daemon.cli_json(&["status"])["segmentation"];
    assert_eq!(reported["used"], false);
    assert_eq!(reported["reason"], "turn.segmentation is off");
}

fn opened(client: &mut Client, by: By, number: u16, peer: SocketAddr) {
    let answer = match by {
        By::Channel => client.bind(number, peer),
        By::Indication => client.permit(peer),
    };
    assert_eq!(answer.code(), None);
}

/// Different payloads; the last one of each message is shorter.
fn payloads(size: usize, count: usize) -> Vec<Vec<u8>> {
    let numbers = 0..MESSAGES * count;
    let payloads = numbers.map(|number| {
        let shorter = if (number + 1) % count == 0 {
            SHORTER
        } else {
            0
        };
        let byte = |at: usize| (number * 7 + at) as u8;
        (0..size - shorter).map(byte).collect()
    });
    payloads.collect()
}

fn send_in_pieces(client: &mut Client, by: By, number: u16, peer: SocketAddr, all: &[Vec<u8>]) {
    let messages = all.iter().map(|data| match by {
        By::Channel => channel_data(number, data, false),
        By::Indication => send_indication(peer, data),
    });
    let messages: Vec<_> = messages.collect();
    let Wire::Udp(socket) = &client.wire else {
        panic!("a client over UDP");
    };
    for piece in messages.chunks(all.len() / MESSAGES) {
        send_cut(socket, None, piece[0].len(), piece);
    }
}

/// Sends datagrams as one GSO message, or one by one if the kernel does not support it.
fn send_cut(socket: &UdpSocket, to: Option<SocketAddr>, size: usize, datagrams: &[Vec<u8>]) {
    let send = |bytes: &[u8]| match to {
        Some(to) => socket.send_to(bytes, to),
        None => socket.send(bytes),
    };
    if setsockopt(socket, sockopt::UdpGsoSegment, &(size as i32)).is_err() {
        eprintln!("not in one piece: this kernel does not cut messages");
        datagrams.iter().for_each(|bytes| {
            send(bytes).expect("a datagram sent");
        });
        return;
    }
    let bytes = datagrams.concat();
    assert_eq!(send(&bytes).expect("a message sent"), bytes.len());
    setsockopt(socket, sockopt::UdpGsoSegment, &0).expect("a socket as before");
}

fn send_indication(peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    let id = [7; 12];
    let mut address = [0; 20];
    let len = encode_xor_address(peer, &id, &mut address);
    let mut out = Vec::new();
    Writer::new(&mut out, Method::SEND, Class::Indication, id)
        .attribute(Attribute::XOR_PEER_ADDRESS, &address[..len])
        .attribute(Attribute::DATA, data);
    out
}

/// The data of a message in the expected format.
fn heard_by(bytes: &[u8], by: By, number: u16, from: SocketAddr) -> Vec<u8> {
    match by {
        By::Channel => {
            assert_eq!(bytes[..2], number.to_be_bytes());
            let len = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
            bytes[4..4 + len].to_vec()
        }
        By::Indication => {
            let message = Message::parse(bytes).expect("a message");
            assert_eq!(message.method(), Method::DATA);
            let peer = message.get(Attribute::XOR_PEER_ADDRESS).expect("a peer");
            let peer = parlor::stun::decode_xor_address(peer, &message.transaction());
            assert_eq!(peer, Some(from));
            message.get(Attribute::DATA).expect("data").to_vec()
        }
    }
}
