//! TURN behind a load balancer that speaks the PROXY protocol, which this test plays.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use parlor::stun::{Attribute, Method};

use crate::metric;
use crate::support::turn::{Client, Secured, Wire, secured};
use crate::support::{DEADLINE, log_fields};
use crate::tls::Fixture;

/// A relay that accepts PROXY headers from `trusted`.
fn behind(trusted: &str) -> Fixture {
    Fixture::with(|builder| {
        builder
            .env("PARLOR_TURN__MAX_ALLOCATIONS_PER_ADDRESS", "1")
            .env("PARLOR_TURN__PROXY_PROTOCOL", "true")
            .env("PARLOR_HTTP__TRUSTED_PROXIES", trusted)
            .env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "2")
    })
}

fn text(client: &str) -> Vec<u8> {
    format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n").into_bytes()
}

/// A version 2 header with an unknown TLV.
fn binary(client: [u8; 4]) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x14";
    let addresses = [&client[..], &[192, 0, 2, 1, 0x12, 0x67, 1, 0xbb]].concat();
    [&fixed[..], &addresses, &[4, 0, 5, 1, 2, 3, 4, 5]].concat()
}

fn announced(server: SocketAddr, header: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(header).unwrap();
    stream
}

fn over_tcp(fixture: &Fixture, header: &[u8]) -> Client {
    let stream = announced(fixture.daemon.turn(), header);
    Client::over(Wire::Tcp(stream), "alice", None)
}

fn over_tls(fixture: &Fixture, header: &[u8]) -> Client {
    let mut stream: Secured = secured(fixture.address(true), &fixture.client);
    stream.sock.stream.write_all(header).unwrap();
    Client::over(Wire::Tls(Box::new(stream)), "alice", None)
}

/// The client address from the view of the relay.
fn reflexive(client: &mut Client) -> String {
    let answer = client.request(Method::BINDING, &[]);
    let address = answer.address(Attribute::XOR_MAPPED_ADDRESS);
    address.expect("an address").to_string()
}

#[test]
fn a_proxy_header_precedes_messages_and_the_tls_handshake() {
    let fixture = behind("127.0.0.0/8");
    for over in [over_tcp, over_tls] {
        let mut client = over(&fixture, &text("203.0.113.7"));
        assert_eq!(reflexive(&mut client), "203.0.113.7:4711");
        // Relayed addresses on loopback are only for clients on loopback.
        let mut client = over(&fixture, &text("127.0.113.7"));
        assert_eq!(reflexive(&mut client), "127.0.113.7:4711");
        assert_eq!(client.allocate().code(), None);
        let mut client = over(&fixture, &binary([198, 51, 100, 7]));
        assert_eq!(reflexive(&mut client), "198.51.100.7:4711");
    }
    let mut itself = over_tcp(&fixture, b"PROXY UNKNOWN\r\n");
    assert!(reflexive(&mut itself).starts_with("127.0.0.1:"));
}

#[test]
fn allocations_are_counted_for_the_client_and_not_for_the_proxy() {
    let fixture = behind("127.0.0.0/8");
    let mut held = ["127.0.113.7", "127.0.113.8"].map(|address| over_tcp(&fixture, &text(address)));
    for client in &mut held {
        assert_eq!(client.allocate().code(), None);
    }
    // From another port: a stream with the same five-tuple replaces the first one.
    let header = b"PROXY TCP4 127.0.113.7 192.0.2.1 4712 443\r\n";
    let mut second = over_tcp(&fixture, header);
    assert_eq!(second.allocate().code(), Some(486));
    let refused = "parlor_turn_error_responses_total{reason=\"address quota\"}";
    assert_eq!(metric(&fixture.daemon, refused), 1);
}

#[test]
fn streams_are_counted_for_the_client_and_not_for_the_proxy() {
    let fixture = behind("127.0.0.0/8");
    let mut clients: Vec<_> = (1..=4u8)
        .map(|n| over_tcp(&fixture, &binary([203, 0, 113, n])))
        .collect();
    for (n, client) in (1..=4).zip(&mut clients) {
        assert_eq!(reflexive(client), format!("203.0.113.{n}:4711"));
    }
    let mut second = over_tls(&fixture, &text("203.0.113.1"));
    reflexive(&mut second);
    let mut third = announced(fixture.daemon.turn(), &text("203.0.113.1"));
    assert!(matches!(third.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn a_proxy_without_a_header_is_disconnected_counted_and_logged() {
    let fixture = behind("127.0.0.0/8");
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for bytes in [
        binding.as_slice(),
        b"PROXY TCP4 nobody nowhere 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        for server in [fixture.daemon.turn(), fixture.address(true)] {
            let mut stream = announced(server, bytes);
            assert!(matches!(stream.read(&mut [0; 10]), Ok(0) | Err(_)));
        }
    }
    let refused = "parlor_turn_streams_rejected_total{reason=\"proxy header\"}";
    assert_eq!(metric(&fixture.daemon, refused), 6);
    let message = "trusted proxy sent no valid PROXY header";
    let log = fixture.daemon.log();
    let warned = log
        .iter()
        .filter(|line| line.contains("WARN") && line.contains(message));
    let warned: Vec<_> = warned.map(|line| log_fields(line)).collect();
    assert_eq!(warned.len(), 1, "{log:#?}");
    assert!(warned[0]["connection"].is_u64(), "{warned:?}");
}

#[test]
fn a_proxy_header_of_other_clients_is_neither_trusted_nor_required() {
    let fixture = behind("10.0.0.0/8");
    let mut client = Client::tcp(fixture.daemon.turn(), "alice");
    assert!(reflexive(&mut client).starts_with("127.0.0.1:"));
    let mut claimed = announced(fixture.daemon.turn(), &text("203.0.113.7"));
    assert!(matches!(claimed.read(&mut [0; 10]), Ok(0) | Err(_)));
}

#[test]
fn proxy_protocol_can_be_switched_by_a_reload() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("config.toml");
    let write = |on: bool| {
        let text =
            format!("http.trusted_proxies = [\"127.0.0.0/8\"]\nturn.proxy_protocol = {on}\n");
        std::fs::write(&file, text).unwrap();
    };
    write(false);
    let fixture = Fixture::with(|builder| builder.arg("--config").arg(file.to_str().unwrap()));
    let mut plain = Client::tcp(fixture.daemon.turn(), "alice");
    assert!(reflexive(&mut plain).starts_with("127.0.0.1:"));
    write(true);
    let report = fixture.daemon.cli_json(&["reload"]);
    assert_eq!(
        report["changed"],
        serde_json::json!(["turn.proxy_protocol"])
    );
    let mut named = over_tcp(&fixture, &text("203.0.113.7"));
    assert_eq!(reflexive(&mut named), "203.0.113.7:4711");
    assert!(reflexive(&mut plain).starts_with("127.0.0.1:"));
}
