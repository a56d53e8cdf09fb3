//! Unauthenticated clients get small responses, and leave no state behind.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Class, IntegrityKey, Message, Method, Writer};

use crate::support::turn::Client;
use crate::support::{Builder, DEADLINE, Daemon};
use crate::{metric, open_relay};

/// Number of unauthenticated clients, each with its own address, and how many are active at a time.
const CLIENTS: usize = 100_000;
const CONCURRENT_CLIENTS: usize = 200;

/// Allowed growth of the process: ten bytes for each client.
const TOLERATED: usize = 1 << 20;

/// The resident memory of a daemon in bytes.
fn resident(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// A request of an unauthenticated client: for its address, for a challenge, or with a forged credential.
fn question(number: usize) -> Vec<u8> {
    let mut id = [0; 12];
    id[..8].copy_from_slice(&number.to_be_bytes());
    let method = if number.is_multiple_of(3) {
        Method::BINDING
    } else {
        Method::ALLOCATE
    };
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, method, Class::Request, id);
    if method == Method::ALLOCATE {
        writer = writer.attribute(Attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
    }
    if number % 3 == 2 {
        writer = writer
            .attribute(
                Attribute::USERNAME,
                format!("4000000000:{number}").as_bytes(),
            )
            .attribute(Attribute::REALM, b"parlor")
            .attribute(
                Attribute::NONCE,
                b"obMatJos2AAABxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            )
            .integrity(&IntegrityKey::new(b"a guess"));
    }
    writer.fingerprint();
    out
}

/// Sends a request from each client's own address, and waits for the responses.
fn ask(server: SocketAddr, clients: std::ops::Range<usize>) {
    let mut left = clients.clone();
    let mut addresses = (clients.start..).map(|number| {
        let host = Ipv4Addr::from(0x7f01_0000 + (number / 20_000) as u32);
        SocketAddr::from((host, 10_000 + (number % 20_000) as u16))
    });
    while !left.is_empty() {
        let some: Vec<_> = left.by_ref().take(CONCURRENT_CLIENTS).collect();
        let sockets: Vec<_> = some
            .iter()
            .map(|number| {
                let socket = UdpSocket::bind(addresses.next().unwrap()).unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                socket.send_to(&question(*number), server).unwrap();
                socket
            })
            .collect();
        for (socket, number) in sockets.iter().zip(some) {
            let mut answer = [0; 512];
            let len = socket.recv(&mut answer).expect("an answer in time");
            let answer = Message::parse(&answer[..len]).unwrap();
            let request = question(number);
            assert_eq!(answer.transaction(), request[8..20]);
        }
    }
}

#[test]
fn a_hundred_thousand_unauthenticated_sources_leave_no_resources_behind() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    ask(server, 0..2_000);
    let before = resident(&daemon);
    ask(server, 2_000..2_000 + CLIENTS);
    let after = resident(&daemon);
    assert!(
        after < before + TOLERATED,
        "{before} bytes before, {after} after"
    );
    assert_eq!(metric(&daemon, "parlor_turn_allocations"), 0);
    let guesses = "parlor_turn_error_responses_total{reason=\"bad credential and nonce\"}";
    assert!(metric(&daemon, guesses) >= CLIENTS as u64 / 3);
}

#[test]
fn unauthenticated_datagrams_over_the_rate_are_logged_with_their_count() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "1")
        .start();
    let mut anonymous = Client::udp(daemon.turn(), "nobody", None);
    let binding = anonymous.signed(Method::BINDING, &[]);
    (0..100).for_each(|_| anonymous.send(&binding));
    let line = daemon.wait_for_log("unauthenticated datagrams over the rate limit dropped");
    assert!(
        line.contains(r#""level":"INFO""#) && line.contains(r#""count":"#),
        "{line}"
    );
    assert!(!line.contains("127.0.0.1"), "{line}");
}
