//! TURN over TCP: segments of any size, and clients that do not read.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use parlor::stun::Method;

use crate::support::turn::{Client, Wire, channel_data};
use crate::support::{DEADLINE, Daemon};
use crate::{Deadline, metric, open_relay};

#[test]
fn messages_may_be_split_and_joined_at_any_byte() {
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
fn a_client_that_does_not_read_loses_only_its_own_packets() {
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
    let deadline = Deadline::new();
    while metric(&daemon, "parlor_turn_stream_overflow_total") == 0 {
        deadline.check("the frozen reader's buffer to fill");
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

/// Checks the limits of the queues in `docs/architecture.md` in the memory of the real binary.
#[test]
fn idle_and_blocked_streams_stay_within_the_documented_memory() {
    const IDLE: usize = 1000;
    const STUCK: usize = 64;
    const WAITING: u64 = 256 * 1024;
    let daemon = open_relay()
        .env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "2000")
        .env("PARLOR_TURN__BANDWIDTH_PER_ALLOCATION", "0")
        .env("PARLOR_TURN__BANDWIDTH_PER_USER", "0")
        .start();
    let server = daemon.turn();
    let mut sender = Client::udp(server, "sender", None);
    let at_sender = sender.allocated();

    let before = memory(&daemon);
    let idle: Vec<Client> = (0..IDLE)
        .map(|_| {
            let mut client = Client::tcp(server, "idle");
            client.request(Method::BINDING, &[]);
            client
        })
        .collect();
    let each = memory(&daemon).saturating_sub(before) / IDLE as u64;
    assert!(each < 4096, "{each} bytes for a stream at rest");

    let mut stuck: Vec<Client> = (0..STUCK).map(|_| Client::tcp(server, "stuck")).collect();
    for (number, client) in (0x4001..).zip(&mut stuck) {
        bind_both(client, &mut sender, at_sender, number);
    }
    let before = memory(&daemon);
    let large: Vec<Vec<u8>> = (0x4001..0x4001 + STUCK as u16)
        .map(|number| channel_data(number, &[7; 30_000], false))
        .collect();
    // In this round each of them loses a packet: all buffers are full.
    let overflow = || metric(&daemon, "parlor_turn_stream_overflow_total");
    let deadline = Deadline::new();
    let mut full = 0;
    while full < 3 {
        deadline.check("every frozen reader's buffer to fill");
        let lost = overflow();
        for message in &large {
            sender.send(message);
            // The response shows that the shard has handled everything before it.
            sender.request(Method::BINDING, &[]);
        }
        full = if overflow() >= lost + STUCK as u64 {
            full + 1
        } else {
            0
        };
    }
    let grown = memory(&daemon).saturating_sub(before);
    let bound = STUCK as u64 * WAITING + 4 * 1024 * 1024;
    assert!(
        grown < bound,
        "{grown} bytes for {STUCK} readers that do not read"
    );
    drop(idle);
}

/// Creates an allocation for a client, and two channels: 0x4003 to the sender, and `number` to the client.
fn bind_both(client: &mut Client, sender: &mut Client, at_sender: SocketAddr, number: u16) {
    let relayed = client.allocated();
    assert_eq!(client.bind(0x4003, at_sender).code(), None);
    assert_eq!(sender.bind(number, relayed).code(), None);
}

/// The resident memory of the daemon in bytes.
fn memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().next().unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[test]
fn an_allocation_ends_with_its_stream() {
    let daemon = open_relay().start();
    let mut client = Client::tcp(daemon.turn(), "alice");
    client.allocated();
    let deadline = Deadline::new();
    while metric(&daemon, "parlor_turn_allocations") == 0 {
        deadline.check("the allocation to be counted");
    }
    let Wire::Tcp(stream) = &client.wire else {
        unreachable!("a TCP client");
    };
    stream.shutdown(Shutdown::Both).unwrap();
    let deadline = Deadline::new();
    while metric(&daemon, "parlor_turn_allocations") > 0 {
        deadline.check("the allocation to end");
    }
}

#[test]
fn a_stream_that_is_not_turn_is_closed() {
    let daemon = open_relay().start();
    let mut stream = TcpStream::connect(daemon.turn()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(b"\x80 this is not TURN").unwrap();
    // The server closes with unread bytes in its buffer, so the client may get a reset.
    assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn the_stream_limit_of_an_address_is_enforced() {
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
    daemon.wait_for_log("too many connections from one address");
}
