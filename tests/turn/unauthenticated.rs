//! Who has proved nothing gets little, and leaves nothing behind.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Class, IntegrityKey, Message, Method, Writer};

use crate::support::turn::Client;
use crate::support::{Builder, DEADLINE, Daemon};
use crate::{metric, open_relay};

/// Strangers, each with an address of its own, and how many of them are there at once.
const STRANGERS: usize = 100_000;
const AT_ONCE: usize = 200;

/// What the process may have grown by: ten bytes a stranger.
const TOLERATED: usize = 1 << 20;

/// Bytes of memory that a daemon occupies.
fn resident(daemon: &Daemon) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<usize>().unwrap() * 1024
}

/// What a stranger asks: an address, a challenge, or to be believed.
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

/// Each stranger asks from an address that no other has, and waits for an answer.
fn ask(server: SocketAddr, strangers: std::ops::Range<usize>) {
    let mut left = strangers.clone();
    let mut addresses = (strangers.start..).map(|number| {
        let host = Ipv4Addr::from(0x7f01_0000 + (number / 20_000) as u32);
        SocketAddr::from((host, 10_000 + (number % 20_000) as u16))
    });
    while !left.is_empty() {
        let some: Vec<_> = left.by_ref().take(AT_ONCE).collect();
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
            let asked = question(number);
            assert_eq!(answer.transaction(), asked[8..20]);
        }
    }
}

#[test]
fn a_hundred_thousand_strangers_leave_nothing_behind() {
    let daemon = open_relay().start();
    let server = daemon.turn();
    ask(server, 0..2_000);
    let before = resident(&daemon);
    ask(server, 2_000..2_000 + STRANGERS);
    let after = resident(&daemon);
    assert!(
        after < before + TOLERATED,
        "{before} bytes before, {after} after"
    );
    assert_eq!(metric(&daemon, "parlor_turn_allocations"), 0);
    let guesses = "parlor_turn_refused_total{reason=\"bad credential and nonce\"}";
    assert!(metric(&daemon, guesses) >= STRANGERS as u64 / 3);
}

#[test]
fn strangers_over_the_rate_are_told_of_with_their_count() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "1")
        .start();
    let mut stranger = Client::udp(daemon.turn(), "nobody", None);
    let binding = stranger.signed(Method::BINDING, &[]);
    (0..100).for_each(|_| stranger.send(&binding));
    let line = daemon.wait_for_log("unauthenticated datagrams over the rate limit dropped");
    assert!(
        line.contains(r#""level":"INFO""#) && line.contains(r#""count":"#),
        "{line}"
    );
    assert!(!line.contains("127.0.0.1"), "{line}");
}
