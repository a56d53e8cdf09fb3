//! TURN over TCP: any split, any joining, and readers that do not read.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use parlor::stun::Method;

use crate::support::DEADLINE;
use crate::support::turn::{Client, Wire, channel_data};
use crate::{Patience, metric, open_relay};

#[test]
fn messages_may_be_split_and_joined_as_the_network_likes() {
    let daemon = open_relay().start();
    let mut alice = Client::tcp(daemon.turn(), "alice");
    let mut bob = Client::udp(daemon.turn(), "bob", None);
    let (at_alice, at_bob) = (alice.allocated(), bob.allocated());
    alice.bind(0x4001, at_bob);
    bob.bind(0x4002, at_alice);
    let messages: Vec<Vec<u8>> = (0..9usize).map(|len| vec![len as u8; len]).collect();
    let stream: Vec<u8> = messages
        .iter()
        .flat_map(|m| channel_data(0x4001, m, true))
        .collect();
    for piece in [1, 3, 7, stream.len()] {
        stream.chunks(piece).for_each(|bytes| alice.send(bytes));
        for message in &messages {
            assert_eq!(bob.receive(), channel_data(0x4002, message, false));
        }
    }
}

#[test]
fn a_reader_that_does_not_read_costs_its_own_packets_only() {
    let daemon = open_relay()
        .env("PARLOR_TURN__BANDWIDTH_PER_ALLOCATION", "0")
        .env("PARLOR_TURN__BANDWIDTH_PER_USER", "0")
        .start();
    let server = daemon.turn();
    let mut sender = Client::udp(server, "sender", None);
    let mut frozen = Client::tcp(server, "frozen");
    let mut healthy = Client::udp(server, "healthy", None);
    let at_sender = sender.allocated();
    let (at_frozen, at_healthy) = (frozen.allocated(), healthy.allocated());
    for (number, peer) in [(0x4001, at_frozen), (0x4002, at_healthy)] {
        assert_eq!(sender.bind(number, peer).code(), None);
    }
    frozen.bind(0x4003, at_sender);
    healthy.bind(0x4003, at_sender);
    let large = channel_data(0x4001, &[7; 30_000], false);
    let patience = Patience::new();
    while metric(&daemon, "parlor_turn_stream_overflow_total") == 0 {
        patience.check("the frozen reader's buffer to fill");
        for _ in 0..20 {
            sender.send(&large);
        }
        sender.send(&channel_data(0x4002, b"still here", false));
        assert_eq!(
            healthy.receive(),
            channel_data(0x4003, b"still here", false)
        );
    }
}

#[test]
fn an_allocation_dies_with_its_stream() {
    let daemon = open_relay().start();
    let mut client = Client::tcp(daemon.turn(), "alice");
    client.allocated();
    let patience = Patience::new();
    while metric(&daemon, "parlor_turn_allocations") == 0 {
        patience.check("the allocation to be counted");
    }
    let Wire::Tcp(stream) = &client.wire else {
        unreachable!("a TCP client");
    };
    stream.shutdown(Shutdown::Both).unwrap();
    let patience = Patience::new();
    while metric(&daemon, "parlor_turn_allocations") > 0 {
        patience.check("the allocation to end");
    }
}

#[test]
fn a_stream_that_is_not_turn_is_closed() {
    let daemon = open_relay().start();
    let mut stream = TcpStream::connect(daemon.turn()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"\x80 this is not TURN").unwrap();
    // Closed with what was not read still in the buffer, so a reset is as good as an end.
    assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn one_address_has_no_more_streams_than_the_limit() {
    let daemon = open_relay()
        .env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "2")
        .start();
    let mut first = Client::tcp(daemon.turn(), "alice");
    let mut second = Client::tcp(daemon.turn(), "alice");
    first.request(Method::BINDING, &[]);
    second.request(Method::BINDING, &[]);
    let mut third = TcpStream::connect(daemon.turn()).unwrap();
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(matches!(third.read(&mut [0; 10]), Ok(0) | Err(_)));
    daemon.wait_for_log("too many TURN streams from one address");
}
