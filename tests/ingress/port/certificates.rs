//! Certificates at the shared port: renewal under load, session resumption, and a check by a TLS linter.

use std::io::{Read, Write};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustls::HandshakeKind;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::port::fixture::{Fixture, LOBBY, heard};
use crate::support::turn::{both_hear_each_other, connected, secured};

const GET: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: talk\r\nConnection: close\r\n\r\n";

/// Returns the certificate that the server presents in a new handshake.
fn certificate(fixture: &Fixture) -> Vec<u8> {
    let mut stream = fixture.secured(&[b"http/1.1"]);
    stream.write_all(GET).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("a whole answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    stream.conn.peer_certificates().expect("a chain")[0].to_vec()
}

#[test]
fn certificates_are_renewed_under_load_and_no_connection_is_lost() {
    const RENEWALS: usize = 20;
    let fixture = Fixture::new();
    let (done, rounds) = (
        AtomicBool::new(false),
        [(); 3].map(|()| AtomicUsize::new(0)),
    );
    let continue_round = |at: usize| {
        rounds[at].fetch_add(1, Ordering::Relaxed);
        !done.load(Ordering::Relaxed)
    };
    let names = ["127.0.0.1", "talk.example.org"];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut alice = fixture.enter("alice", &[b"http/1.1"]);
            let mut bob = fixture.enter("bob", &[]);
            heard(&mut alice);
            while continue_round(0) {
                let number = rounds[0].load(Ordering::Relaxed);
                let said = json!({"type": "offer", "from": "alice", "roomId": LOBBY, "to": "bob",
                    "data": {"sdp": number}});
                alice.send(Message::text(said.to_string())).expect("sent");
                assert_eq!(heard(&mut bob)["data"]["sdp"], number);
                // The limit of messages is a hundred a second.
                std::thread::sleep(std::time::Duration::from_millis(15));
            }
        });
        scope.spawn(|| {
            let (carol, dave) = (
                fixture.turn("carol", &[]),
                fixture.turn("dave", &[b"stun.turn"]),
            );
            let (mut carol, mut dave) = connected(carol, dave);
            while continue_round(1) {
                both_hear_each_other(&mut carol, &mut dave, true);
            }
        });
        let seen = scope.spawn(|| {
            let mut seen = vec![certificate(&fixture)];
            while continue_round(2) {
                let next = certificate(&fixture);
                if seen.last() != Some(&next) {
                    seen.push(next);
                }
            }
            seen
        });
        crate::port::fixture::until("a visit", || rounds[2].load(Ordering::Relaxed) > 0);
        for _ in 0..RENEWALS {
            fixture.authority.issue(fixture.place.path(), &names);
            fixture.daemon.cli_json(&["reload"]);
            let before = rounds[2].load(Ordering::Relaxed);
            // Two whole requests: the second began with the new certificate.
            crate::port::fixture::until("visits", || {
                rounds[2].load(Ordering::Relaxed) > before + 2
            });
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(
            seen.join().expect("every visit succeeds").len(),
            RENEWALS + 1
        );
    });
    for rounds in rounds {
        assert!(rounds.into_inner() > RENEWALS);
    }
}

#[test]
fn sessions_are_resumed_at_the_shared_port_and_tickets_outlive_a_reload() {
    let fixture = Fixture::new();
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let config = Arc::new(fixture.authority.client_for(versions));
        let kind = || {
            let mut stream = secured(fixture.address(), &config);
            stream.write_all(GET).expect("sent");
            stream.read_to_end(&mut Vec::new()).expect("an answer");
            stream.conn.handshake_kind().expect("a handshake")
        };
        assert_eq!(
            (kind(), kind()),
            (HandshakeKind::Full, HandshakeKind::Resumed)
        );
        fixture.daemon.cli_json(&["reload"]);
        assert_eq!(kind(), HandshakeKind::Resumed);
    }
}

/// The findings that sslscan prints in red or yellow, without its own limitations and false alarms.
#[test]
fn sslscan_finds_no_weakness() {
    const FINE: [&str; 3] = [
        // The OpenSSL that sslscan contains has no compression.
        "OpenSSL version does not support compression",
        "Rebuild with zlib1g-dev package",
        // SCSV prevents a downgrade to TLS 1.1 and older (RFC 7507), which the server does not offer.
        // The random of the ServerHello prevents one from 1.3 to 1.2 (RFC 8446 section 4.1.3).
        "support TLS Fallback SCSV",
    ];
    let fixture = Fixture::new();
    let scan = Command::new("sslscan")
        .arg(fixture.address().to_string())
        .output();
    let text = String::from_utf8(scan.expect("sslscan runs").stdout).expect("text");
    assert!(text.contains("TLSv1.3   \u{1b}[32menabled"), "{text}");
    let is_finding = |line: &&str| {
        ["[31m", "[33m", "[35m", "[41m"]
            .iter()
            .any(|hue| line.contains(hue))
    };
    let complaints: Vec<_> = text
        .lines()
        .filter(is_finding)
        .filter(|line| !FINE.iter().any(|fine| line.contains(fine)))
        .collect();
    assert_eq!(complaints, [""; 0], "{text}");
    for gone in ["SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"] {
        let line = text
            .lines()
            .find(|line| line.starts_with(gone))
            .expect(gone);
        assert!(line.contains("disabled"), "{line}");
    }
}
