//! HTTP, WebSockets and TURN share the TLS port.

use std::io::{Read, Write};

use parlor::stun::Method;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::port::fixture::{Fixture, LOBBY, dial, heard, until};
use crate::support::http::Client as Http;
use crate::support::turn::{Client, Wire, both_hear_each_other, connected};

const VERSION: &[&str] = &["--output", "/dev/null", "--write-out", "%{http_version}"];

#[test]
fn https_websockets_and_turn_share_one_port_with_and_without_alpn() {
    let fixture = Fixture::new();
    // All at once: each stays open while the others come.
    let mut alice = fixture.enter("alice", &[b"http/1.1"]);
    let mut bob = fixture.enter("bob", &[]);
    assert_eq!(heard(&mut alice)["type"], "user-joined");
    let (mut named, mut unnamed) = connected(
        fixture.turn("alice", &[b"stun.turn"]),
        fixture.turn("bob", &[]),
    );
    for (version, args) in [
        ("1.1", &["--http1.1"][..]),
        ("2", &["--http2"]),
        ("1.1", &["--no-alpn"]),
    ] {
        assert_eq!(fixture.curl(&[VERSION, args].concat(), "/healthz"), version);
        let page = fixture.curl(args, "/r/lobby");
        assert!(page.contains("<title>Voice room"), "{page}");
    }
    both_hear_each_other(&mut named, &mut unnamed, true);
    let offer = json!({"type": "offer", "from": "alice", "roomId": LOBBY, "to": "bob",
        "data": {"sdp": "v=0"}});
    alice.send(Message::text(offer.to_string())).unwrap();
    assert_eq!(heard(&mut bob)["data"]["sdp"], "v=0");
    let status = fixture.daemon.cli_json(&["status"]);
    assert_eq!(
        (&status["connections"], &status["relays_over_tls"]),
        (&json!(2), &json!(2))
    );
    // TURN streams no longer count as HTTP connections; the scrape is the third connection.
    until("the connections of HTTP to be three", || {
        fixture.metric("parlor_http_connections ") == 3
    });
}

#[test]
fn the_list_of_ice_servers_offers_turn_over_tls_at_that_port() {
    let fixture = Fixture::new();
    let port = fixture.address().port();
    let listed = fixture.join("alice")["ice_servers"].to_string();
    assert!(
        listed.contains(&format!("turns:127.0.0.1:{port}?transport=tcp")),
        "{listed}"
    );
    let status = fixture.daemon.cli_json(&["status"]);
    assert_eq!(status["turn_tls"][0], fixture.address().to_string());
    let credential = fixture.daemon.cli_json(&["turn", "credential", "alice"]);
    let urls = credential["urls"].to_string();
    assert!(urls.contains(&format!("turns:127.0.0.1:{port}")), "{urls}");
}

#[test]
fn pages_have_every_security_header_and_hsts() {
    let fixture = Fixture::new();
    let port = fixture.address().port();
    let connect = format!("talk.example.org:443:127.0.0.1:{port}");
    let url = "https://talk.example.org/r/lobby";
    let text = fixture.curl(&["--connect-to", &connect, "--head", url], "/healthz");
    let text = text.to_ascii_lowercase();
    let text = text.as_str();
    for policy in [
        "strict-transport-security: max-age=15552000",
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "permissions-policy: microphone=(self)",
        "referrer-policy: no-referrer",
    ] {
        assert!(text.contains(policy), "{policy} in {text}");
    }
    // At a port of its own nothing is said of the host's other servers, nor without TLS.
    let unusual = fixture.curl(&["--head"], "/r/lobby").to_ascii_lowercase();
    assert!(!unusual.contains("strict-transport-security"), "{unusual}");
    let plain = Http::new(fixture.plain()).get("/r/lobby");
    assert_eq!(plain.header("strict-transport-security"), None);
}

#[test]
fn a_turn_request_may_arrive_with_the_end_of_the_handshake_and_in_small_pieces() {
    let fixture = Fixture::new();
    for protocols in [&[][..], &[&b"stun.turn"[..]]] {
        let mut stream = fixture.secured(protocols);
        stream.sock.size = 3;
        let mut client = Client::over(Wire::Tls(Box::new(stream)), "alice", None);
        client.allocated();
    }
}

#[test]
fn the_protocol_that_alpn_negotiated_is_the_only_one() {
    let fixture = Fixture::new();
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let get = b"GET /healthz HTTP/1.1\r\nHost: talk\r\nConnection: close\r\n\r\n";
    let said = |protocols: &[&[u8]], bytes: &[u8]| {
        let mut stream = fixture.secured(protocols);
        stream.write_all(bytes).unwrap();
        stream.flush().unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        answer
    };
    assert!(said(&[b"http/1.1"], get).starts_with(b"HTTP/1.1 200"));
    assert!(said(&[], get).starts_with(b"HTTP/1.1 200"));
    // Empty lines before a request are HTTP's, too (RFC 9112 section 2.2).
    assert!(said(&[], &[b"\r\n", &get[..]].concat()).starts_with(b"HTTP/1.1 200"));
    assert!(said(&[b"http/1.1"], &binding).starts_with(b"HTTP/1.1 400"));
    let post = b"POST / HTTP/1.1\r\nHost: talk\r\n\r\n";
    assert!(said(&[b"stun.turn"], post).is_empty());
    // Frames of HTTP/2 (SETTINGS, GOAWAY) or nothing, but no answer in HTTP/1.1.
    assert!(!said(&[b"h2"], get).starts_with(b"HTTP/1.1"));
    let error = fixture
        .secured(&[b"spdy/3"])
        .flush()
        .unwrap_err()
        .to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn turn_on_an_http_port_counts_for_the_stream_limit_of_an_address() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "2"));
    let mut first = fixture.turn("alice", &[]);
    let mut second = Client::tcp(fixture.daemon.turn(), "alice");
    first.request(Method::BINDING, &[]);
    second.request(Method::BINDING, &[]);
    let mut third = fixture.secured(&[b"stun.turn"]);
    third.flush().unwrap();
    assert!(matches!(third.read(&mut [0; 10]), Ok(0) | Err(_)));
    let refused = "parlor_turn_streams_rejected_total{reason=\"connection limit\"} ";
    until("the third to be counted", || fixture.metric(refused) == 1);
}

#[test]
fn http_and_turn_share_a_port_without_tls() {
    let builder = crate::support::Builder::new();
    let builder = builder.env("PARLOR_TURN__SECRET", crate::support::turn::SECRET);
    let daemon = builder.start();
    let (mut alice, mut bob) = connected(
        Client::tcp(daemon.http(), "alice"),
        Client::udp(daemon.turn(), "bob", None),
    );
    assert_eq!(Http::new(daemon.http()).get("/healthz").status, 200);
    both_hear_each_other(&mut alice, &mut bob, true);
    let mut garbage = dial(daemon.http());
    garbage.write_all(&[0x16; 100]).unwrap();
    let mut answer = Vec::new();
    let _ = garbage.read_to_end(&mut answer);
    assert!(answer.is_empty(), "{answer:?}");
}
