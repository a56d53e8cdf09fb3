//! TURN over TLS: records of any size, other protocols, and certificates that change during calls.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use parlor::stun::Method;
use rustls::{ClientConfig, HandshakeKind};
use tempfile::TempDir;

use crate::support::certificate::Authority;
use crate::support::turn::{
    Client, Secured, Wire, both_hear_each_other, channel_data, connected, secured,
};
use crate::support::{Builder, DEADLINE, Daemon};
use crate::{Deadline, metric, open_relay};

pub(crate) const NAMES: [&str; 2] = ["127.0.0.1", "::1"];

/// A relay with TLS, and the issuer of its certificate.
pub(crate) struct Fixture {
    pub daemon: Daemon,
    pub authority: Authority,
    pub client: Arc<ClientConfig>,
    /// The directory of its certificate and key.
    pub place: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(Builder) -> Builder) -> Fixture {
        let (place, authority) = (TempDir::new().unwrap(), Authority::new());
        let (cert, key) = authority.issue(place.path(), &NAMES);
        let builder = open_relay()
            .env("PARLOR_TURN__LISTEN", "127.0.0.1:0,[::1]:0")
            .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0,[::1]:0")
            .env("PARLOR_TLS__MODE", "files")
            .env("PARLOR_TLS__CERT_FILE", cert.to_str().unwrap())
            .env("PARLOR_TLS__KEY_FILE", key.to_str().unwrap());
        Fixture {
            daemon: change(builder).start(),
            client: Arc::new(authority.client()),
            authority,
            place,
        }
    }

    /// Over IPv4, or over IPv6.
    pub(crate) fn address(&self, is_ipv4: bool) -> SocketAddr {
        let mut addresses = self.daemon.all("turn-tls").iter();
        *addresses.find(|one| one.is_ipv4() == is_ipv4).unwrap()
    }

    pub(crate) fn tls(&self, user: &str) -> Client {
        Client::tls(self.address(true), user, &self.client)
    }

    fn rejected(&self, why: &str) -> u64 {
        let name = format!("parlor_turn_streams_rejected_total{{reason=\"{why}\"}}");
        metric(&self.daemon, &name)
    }
}

fn stream(client: &mut Client) -> &mut Secured {
    match &mut client.wire {
        Wire::Tls(stream) => stream,
        _ => unreachable!("a client over TLS"),
    }
}

/// The certificate of a handshake. A resumed session has none.
pub(crate) fn certificate(fixture: &Fixture) -> Vec<u8> {
    let config = Arc::new(fixture.authority.client());
    let mut client = Client::tls(fixture.address(true), "anybody", &config);
    client.request(Method::BINDING, &[]);
    let chain = stream(&mut client).conn.peer_certificates().unwrap();
    chain[0].to_vec()
}

#[test]
fn clients_over_tls_udp_and_tcp_reach_each_other() {
    let fixture = Fixture::new();
    let daemon = &fixture.daemon;
    for other in [
        fixture.tls("bob"),
        Client::udp(daemon.turn(), "bob", None),
        Client::tcp(daemon.turn(), "bob"),
    ] {
        let (mut alice, mut bob) = connected(fixture.tls("alice"), other);
        both_hear_each_other(&mut alice, &mut bob, true);
    }
    let relayed = "parlor_turn_relayed_packets_total{transport=\"tls\"";
    assert!(metric(daemon, relayed) > 0);
}

#[test]
fn ipv6_is_served_as_well() {
    let fixture = Fixture::new();
    let server = fixture.address(false);
    let mut client = Client::tls(server, "alice", &fixture.client);
    assert_eq!(client.allocate().code(), None);
}

#[test]
fn records_may_be_split_and_joined_at_any_byte() {
    let fixture = Fixture::new();
    let (mut alice, mut bob) = connected(
        fixture.tls("alice"),
        Client::udp(fixture.daemon.turn(), "bob", None),
    );
    let messages: Vec<Vec<u8>> = (0..9usize).map(|len| vec![len as u8; len]).collect();
    let sent: Vec<u8> = messages
        .iter()
        .flat_map(|m| channel_data(0x4001, m, true))
        .collect();
    // Parts of messages in separate records.
    for (piece, crumb) in [(1, usize::MAX), (7, 1), (sent.len(), 1), (sent.len(), 5)] {
        stream(&mut alice).sock.size = crumb;
        sent.chunks(piece).for_each(|bytes| alice.send(bytes));
        for message in &messages {
            assert_eq!(bob.receive(), channel_data(0x4002, message, false));
        }
    }
    // Many records in one packet.
    let stream = stream(&mut alice);
    for bytes in sent.chunks(3) {
        stream.conn.writer().write_all(bytes).unwrap();
    }
    let mut records = Vec::new();
    while stream.conn.wants_write() {
        stream.conn.write_tls(&mut records).unwrap();
    }
    stream.sock.stream.write_all(&records).unwrap();
    for message in &messages {
        assert_eq!(bob.receive(), channel_data(0x4002, message, false));
    }
}

/// Reads records until they hold this many bytes, and returns the number of records.
fn records_of(stream: &mut Secured, bytes: usize) -> usize {
    let (mut raw, mut plain) = (Vec::new(), 0);
    let mut buffer = [0; 16 * 1024];
    while plain < bytes {
        let count = stream.sock.stream.read(&mut buffer).expect("records");
        assert!(count > 0, "the server closed the connection");
        raw.extend(&buffer[..count]);
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            stream.conn.read_tls(&mut rest).unwrap();
            stream.conn.process_new_packets().unwrap();
            let mut taken = [0; 16 * 1024];
            plain += stream.conn.reader().read(&mut taken).unwrap_or(0);
        }
    }
    let (mut rest, mut records) = (&raw[..], 0);
    while let Some(header) = rest.first_chunk::<5>() {
        let length = u16::from_be_bytes([header[3], header[4]]);
        rest = &rest[5 + usize::from(length)..];
        records += 1;
    }
    records
}

#[test]
fn many_pending_messages_share_records_and_few_do_not() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_TURN__SHARDS", "1"));
    let alice = Client::tcp(fixture.daemon.turn(), "alice");
    let (mut alice, mut bob) = connected(alice, fixture.tls("bob"));
    both_hear_each_other(&mut alice, &mut bob, true);
    let message = channel_data(0x4001, &[7; 100], true);
    alice.send(&message.repeat(4));
    let few = records_of(stream(&mut bob), 4 * message.len());
    assert_eq!(few, 4);
    alice.send(&message.repeat(64));
    let many = records_of(stream(&mut bob), 64 * message.len());
    assert!(many < 16, "{many} records");
}

#[test]
fn a_fragmented_handshake_succeeds_and_its_last_packet_may_carry_a_request() {
    let fixture = Fixture::new();
    let mut whole = secured(fixture.address(true), &fixture.client);
    whole.sock.size = 1;
    let mut client = Client::over(Wire::Tls(Box::new(whole)), "alice", None);
    assert_eq!(client.allocate().code(), None);
    // The Finished message and a Binding request in one packet.
    let mut joined = secured(fixture.address(true), &fixture.client);
    while joined.conn.is_handshaking() || joined.conn.wants_write() {
        if joined.conn.wants_read() && !joined.conn.wants_write() {
            joined.conn.read_tls(&mut joined.sock).unwrap();
            joined.conn.process_new_packets().unwrap();
        }
        if !joined.conn.is_handshaking() {
            break;
        }
        while joined.conn.wants_write() {
            joined.conn.write_tls(&mut joined.sock).unwrap();
        }
    }
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    joined.conn.writer().write_all(&binding).unwrap();
    let mut records = Vec::new();
    while joined.conn.wants_write() {
        joined.conn.write_tls(&mut records).unwrap();
    }
    joined.sock.stream.write_all(&records).unwrap();
    let mut client = Client::over(Wire::Tls(Box::new(joined)), "alice", None);
    assert_eq!(client.receive()[..2], [1, 1]);
}

#[test]
fn both_alpn_protocols_are_accepted_and_others_are_refused() {
    let fixture = Fixture::new();
    let named = |names: &[&[u8]]| {
        let mut config = fixture.authority.client();
        config.alpn_protocols = names.iter().map(|name| name.to_vec()).collect();
        let mut stream = secured(fixture.address(true), &Arc::new(config));
        let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
        let sent = stream.write_all(&binding).and_then(|()| stream.flush());
        let answered = sent.and_then(|()| stream.read_exact(&mut [0; 32]));
        answered.map(|()| stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(named(&[]).unwrap(), None);
    assert_eq!(named(&[b"stun.turn"]).unwrap(), Some(b"stun.turn".to_vec()));
    let both = named(&[b"http/1.1", b"stun.turn"]);
    assert_eq!(both.unwrap(), Some(b"stun.turn".to_vec()));
    let error = named(&[b"http/1.1"]).unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn a_session_is_resumed() {
    let fixture = Fixture::new();
    for versions in [&[&rustls::version::TLS12], &[&rustls::version::TLS13]] {
        let config = Arc::new(fixture.authority.client_for(versions));
        let kinds = [(); 2].map(|()| {
            let mut client = Client::tls(fixture.address(true), "alice", &config);
            client.request(Method::BINDING, &[]);
            stream(&mut client).conn.handshake_kind().unwrap()
        });
        assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
    }
}

#[test]
fn a_new_certificate_is_used_for_new_handshakes_and_ends_no_stream() {
    let fixture = Fixture::new();
    let (mut alice, mut bob) = connected(fixture.tls("alice"), fixture.tls("bob"));
    let old = certificate(&fixture);
    fixture.authority.issue(fixture.place.path(), &NAMES);
    let report = fixture.daemon.cli_json(&["reload"]);
    // The periodic check of the files may have been faster.
    let changed = report["changed"].as_array().unwrap();
    assert!(changed.iter().all(|key| key == "tls.cert_file"), "{report}");
    let new = certificate(&fixture);
    assert_ne!(new, old);
    both_hear_each_other(&mut alice, &mut bob, true);
    // An invalid certificate changes nothing.
    let key = fixture.place.path().join("key.pem");
    let other = TempDir::new().unwrap();
    let (_, foreign) = fixture.authority.issue(other.path(), &NAMES);
    std::fs::copy(foreign, key).unwrap();
    let refused = fixture.daemon.cli(&["reload"]);
    assert!(!refused.status.success());
    let error = String::from_utf8(refused.stderr).unwrap();
    assert!(error.contains("holds another key than that"), "{error}");
    assert_eq!(certificate(&fixture), new);
    both_hear_each_other(&mut alice, &mut bob, true);
    fixture.authority.issue(fixture.place.path(), &NAMES);
    fixture.daemon.signal("HUP");
    let deadline = Deadline::new();
    while certificate(&fixture) == new {
        deadline.check("the next certificate");
    }
}

#[test]
fn bytes_that_are_not_tls_are_rejected() {
    let fixture = Fixture::new();
    let answer_to = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(fixture.address(true)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let ended = stream.read_to_end(&mut answer);
        let reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
        assert!(ended.as_ref().is_ok_and(|_| true) || ended.as_ref().is_err_and(reset));
        answer
    };
    let binding = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    for bytes in [
        binding.as_slice(),
        b"GET / HTTP/1.1\r\nHost: talk\r\n\r\n",
        &[0x16; 100],
        &[0x16, 3, 1, 0, 4, 1, 0, 0, 0],
    ] {
        let answer = answer_to(bytes);
        // An alert or nothing, but no STUN.
        assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");
    }
    // The server counts a connection after it has closed it.
    let deadline = Deadline::new();
    while fixture.rejected("tls handshake") < 4 {
        deadline.check("four handshakes that failed to be counted");
    }
    assert_eq!(fixture.rejected("tls handshake"), 4);
}

#[test]
fn bytes_that_are_not_turn_within_tls_end_the_session_cleanly() {
    let fixture = Fixture::new();
    let mut client = fixture.tls("alice");
    client.send(b"POST / HTTP/1.1\r\n\r\n");
    // The server sends close_notify: the stream is not truncated.
    assert_eq!(stream(&mut client).read(&mut [0; 10]).unwrap(), 0);
}

#[test]
fn an_allocation_ends_with_its_client() {
    let fixture = Fixture::new();
    for politely in [true, false] {
        let mut client = fixture.tls("alice");
        client.allocated();
        let deadline = Deadline::new();
        while metric(&fixture.daemon, "parlor_turn_allocations") == 0 {
            deadline.check("the allocation to be counted");
        }
        if politely {
            let stream = stream(&mut client);
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        drop(client);
        let deadline = Deadline::new();
        while metric(&fixture.daemon, "parlor_turn_allocations") > 0 {
            deadline.check("the allocation to end");
        }
    }
}

#[test]
fn unfinished_handshakes_do_not_block_other_clients() {
    const SILENT: usize = 600;
    let fixture =
        Fixture::with(|builder| builder.env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "1000"));
    let connect = |_| {
        let mut stream = TcpStream::connect(fixture.address(true)).unwrap();
        // The start of a handshake.
        stream.write_all(&[0x16, 3, 1, 2, 0]).unwrap();
        stream
    };
    let silent: Vec<_> = (0..SILENT).map(connect).collect();
    let (mut alice, mut bob) = connected(fixture.tls("alice"), fixture.tls("bob"));
    both_hear_each_other(&mut alice, &mut bob, true);
    let deadline = Deadline::new();
    while fixture.rejected("evicted") < SILENT as u64 - 512 {
        deadline.check("those who came first to give way");
    }
    drop(silent);
    let deadline = Deadline::new();
    while fixture.rejected("tls handshake") < 510 {
        deadline.check("the others to be gone");
    }
}

#[test]
fn tls_counts_among_the_streams_of_an_address() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "2"));
    let mut first = fixture.tls("alice");
    let mut second = Client::tcp(fixture.daemon.turn(), "alice");
    first.request(Method::BINDING, &[]);
    second.request(Method::BINDING, &[]);
    let mut third = TcpStream::connect(fixture.address(true)).unwrap();
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    assert!(matches!(third.read(&mut [0; 10]), Ok(0) | Err(_)));
    fixture
        .daemon
        .wait_for_log("too many connections from one address");
    assert_eq!(fixture.rejected("connection limit"), 1);
}

#[test]
fn a_client_that_pauses_gets_all_queued_messages() {
    let fixture = Fixture::with(|builder| {
        let builder = builder.env("PARLOR_TURN__BANDWIDTH_PER_ALLOCATION", "0");
        builder.env("PARLOR_TURN__BANDWIDTH_PER_USER", "0")
    });
    let sender = Client::udp(fixture.daemon.turn(), "sender", None);
    let (mut sender, mut reader) = connected(sender, fixture.tls("reader"));
    let message = |number: u32| [&number.to_be_bytes()[..], &[7; 1_196]].concat();
    let mut sent = 0;
    let deadline = Deadline::new();
    while metric(&fixture.daemon, "parlor_turn_stream_overflow_total") == 0 {
        deadline.check("the reader's buffer to fill");
        for _ in 0..100 {
            sender.send(&channel_data(0x4001, &message(sent), false));
            sent += 1;
        }
    }
    // In order, complete, and up to the last one that fitted.
    let mut last = None;
    let lost = metric(&fixture.daemon, "parlor_turn_stream_overflow_total");
    for _ in 0..u64::from(sent) - lost - 50 {
        let heard = reader.receive();
        let number = u32::from_be_bytes(*heard[4..].first_chunk().unwrap());
        assert_eq!(heard, channel_data(0x4002, &message(number), false));
        assert!(last.is_none_or(|last| last < number));
        last = Some(number);
    }
    // The stream still works.
    sender.send(&channel_data(0x4001, b"the end", false));
    while reader.receive() != channel_data(0x4002, b"the end", false) {}
}

#[test]
fn the_transport_tls_is_reported() {
    let fixture = Fixture::new();
    let mut client = fixture.tls("alice");
    client.allocated();
    let status = fixture.daemon.cli_json(&["status"]);
    assert_eq!(status["relays_over_tls"], 1);
    assert_eq!(status["relays_over_tcp"], 0);
    let daemon = &fixture.daemon;
    let listening: Vec<_> = [daemon.all("https"), daemon.all("turn-tls")]
        .concat()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(status["turn_tls"], serde_json::json!(listening));
    let sessions = fixture.daemon.cli_json(&["sessions", "--all"]);
    assert_eq!(sessions[0]["over"], "turn/tls");
}

#[test]
fn an_expired_certificate_is_served_with_a_warning() {
    let fixture = Fixture::new();
    fixture
        .authority
        .issue_expired(fixture.place.path(), &NAMES);
    let report = fixture.daemon.cli_json(&["reload"]);
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("expired on 2021-01-01"), "{warnings}");
    let mut stream = secured(fixture.address(true), &fixture.client);
    let error = stream
        .write_all(&[0])
        .and_then(|()| stream.flush())
        .unwrap_err();
    assert!(error.to_string().contains("xpired"), "{error}");
}
