//! Hostile clients of the shared port: each connection ends at its deadline, nothing of it remains,
//! and calls go on.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parlor::clock;
use parlor::relay::descriptor_limit::raise_descriptor_limit;

use crate::port::fixture::{Fixture, dial, until};
use crate::support::DEADLINE;
use crate::support::turn::{Client, channel_data, connected};

/// The beginning of a handshake, and no more of it.
const HALF: &[u8] = &[0x16, 3, 1, 2, 0, 1, 0];

/// Descriptors that may come and go for other reasons, such as files of the database: few beside the
/// connections of a test.
const SLACK: usize = 3;

/// Descriptors that the daemon holds, once it has all that it keeps and no connection.
fn descriptors(fixture: &Fixture) -> usize {
    fixture.join("alice");
    until("all connections to be over", || {
        fixture.metric("parlor_http_connections ") == 1
    });
    let place = format!("/proc/{}/fd", fixture.daemon.pid());
    std::fs::read_dir(place).expect("its descriptors").count()
}

fn has_ended(stream: &mut impl Read) -> bool {
    // An alert may come first.
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                let kind = error.kind();
                return !matches!(
                    kind,
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
            }
        }
    }
}

#[test]
fn a_client_that_stops_at_any_step_is_disconnected() {
    let fixture = Fixture::with(|builder| {
        builder
            .env("PARLOR_HTTP__HEADER_TIMEOUT", "1s")
            .env("PARLOR_HTTP__REQUEST_TIMEOUT", "1s")
    });
    let before = descriptors(&fixture);
    // Nothing; the beginning of a handshake; a whole one, with every protocol, and then nothing.
    let mut silent = dial(fixture.address());
    let mut half = dial(fixture.address());
    half.write_all(HALF).unwrap();
    let mut plain = dial(fixture.plain());
    plain.write_all(b"GET / HT").unwrap();
    let protocols: [&[&[u8]]; 3] = [&[], &[b"http/1.1"], &[b"h2"]];
    let mut shaken = protocols.map(|protocols| {
        let mut stream = fixture.secured(protocols);
        stream.flush().expect("a handshake");
        stream
    });
    // A request in small pieces is no excuse, nor are empty settings of HTTP/2.
    let mut begun = fixture.secured(&[b"http/1.1"]);
    begun.write_all(b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    begun.flush().unwrap();
    let mut settled = fixture.secured(&[b"h2"]);
    settled
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .unwrap();
    settled.flush().unwrap();
    for stream in [&mut silent, &mut half, &mut plain] {
        assert!(has_ended(stream));
    }
    for stream in shaken.iter_mut().chain([&mut begun, &mut settled]) {
        assert!(has_ended(stream));
    }
    drop((silent, half, plain, shaken, begun, settled));
    until("its descriptors", || {
        descriptors(&fixture) <= before + SLACK
    });
}

#[test]
fn a_handshake_in_small_pieces_has_the_usual_deadline() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_HTTP__HEADER_TIMEOUT", "1s"));
    let mut stream = dial(fixture.address());
    let start = clock::now().mono;
    // Takes longer than the deadline, and completes no handshake.
    let bytes = HALF.iter().chain(std::iter::repeat_n(&0, 500));
    for byte in bytes {
        if stream.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let took = clock::now().mono.since(start);
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert!(has_ended(&mut stream));
    until("it to be counted", || {
        fixture.metric("parlor_http_tls_handshake_errors_total ") == 1
    });
}

#[test]
fn garbage_after_the_handshake_ends_the_connection() {
    let fixture = Fixture::new();
    for protocols in [&[][..], &[&b"http/1.1"[..]], &[b"h2"], &[b"stun.turn"]] {
        // Within TLS, as application data.
        let mut stream = fixture.secured(protocols);
        stream.write_all(&[0xff; 4000]).unwrap();
        stream.flush().unwrap();
        assert!(has_ended(&mut stream), "{protocols:?}");
        // Outside TLS, as records without encryption.
        let mut stream = fixture.secured(protocols);
        stream.flush().unwrap();
        stream.sock.stream.write_all(&[0x17; 4000]).unwrap();
        assert!(has_ended(&mut stream), "{protocols:?}");
    }
}

/// A frame of HTTP/2.
fn h2_frame(kind: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, 0, 0, 0, 0, stream]);
    frame.extend(payload);
    frame
}

#[test]
fn http2_frames_without_a_request_end_their_connection_alone() {
    // Far longer than a test may take.
    let fixture = Fixture::with(|builder| builder.env("PARLOR_HTTP__HEADER_TIMEOUT", "10m"));
    let open = || {
        let mut stream = fixture.secured(&[b"h2"]);
        stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        stream.write_all(&h2_frame(4, 0, &[])).unwrap();
        stream.flush().unwrap();
        stream
    };
    let mut quiet = open();
    for (name, frame) in [
        ("SETTINGS", h2_frame(4, 0, &[])),
        ("PING", h2_frame(6, 0, &[0; 8])),
        ("PRIORITY", h2_frame(2, 1, &[0, 0, 0, 0, 15])),
        ("WINDOW_UPDATE", h2_frame(8, 0, &[0, 0, 0, 1])),
    ] {
        let mut stream = open();
        let frames = frame.repeat(100);
        let mut sent = 0;
        while stream.write_all(&frames).is_ok() && stream.flush().is_ok() {
            sent += 100;
            assert!(sent < 1_000_000, "{name} for ever");
        }
    }
    quiet.write_all(&h2_frame(6, 0, &[7; 8])).unwrap();
    quiet.flush().unwrap();
    let mut heard = Vec::new();
    while !heard.ends_with(&[7; 8]) {
        let mut piece = [0; 1024];
        let length = quiet.read(&mut piece).expect("a pong");
        assert_ne!(length, 0);
        heard.extend(&piece[..length]);
    }
}

#[test]
fn a_renegotiation_is_rejected() {
    let fixture = Fixture::with(|builder| builder.env("PARLOR_HTTP__HEADER_TIMEOUT", "1s"));
    let mut client = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect"])
        .arg(fixture.address().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // The renegotiation command of its manual. Its input stays open, so that it is the
    // server that ends this.
    let mut input = client.stdin.take().expect("a pipe");
    input.write_all(b"R\n").expect("a command");
    let output = client.wait_with_output().expect("an end");
    drop(input);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("RENEGOTIATING"), "{text}");
    assert_ne!(output.status.code(), Some(0), "{text}");
    // Refused, or not answered until the deadline.
    let ended = ["no renegotiation", "unexpected eof"];
    assert!(ended.iter().any(|end| text.contains(end)), "{text}");
}

/// Two people in a call over UDP: what each says arrives, or the test fails.
struct Call {
    packets: AtomicU64,
    done: AtomicBool,
}

impl Call {
    /// So many are on their way at once.
    const CONCURRENT_FLOODS: u32 = 20;

    fn run(&self, fixture: &Fixture) {
        let server = fixture.daemon.turn();
        let (mut alice, mut bob) = connected(
            Client::udp(server, "alice", None),
            Client::udp(server, "bob", None),
        );
        let mut number = 0u32;
        while !self.done.load(Ordering::Relaxed) {
            let numbers = number..number + Call::CONCURRENT_FLOODS;
            for one in numbers.clone() {
                alice.send(&channel_data(0x4001, &one.to_be_bytes(), false));
            }
            for one in numbers {
                assert_eq!(
                    bob.receive(),
                    channel_data(0x4002, &one.to_be_bytes(), false)
                );
            }
            number += Call::CONCURRENT_FLOODS;
            self.packets.store(u64::from(number), Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn five_thousand_idle_connections_and_floods_of_handshakes_cost_a_call_no_packet() {
    const IDLE: usize = 5000;
    const FLOODS: usize = 4;
    const HANDSHAKES: usize = 150;
    let limit = raise_descriptor_limit() as usize;
    let idle = IDLE.min(limit.saturating_sub(200));
    let fixture = Fixture::with(|builder| {
        builder
            .env("PARLOR_LOG__LEVEL", "info")
            .env("PARLOR_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "12000")
    });
    let call = Call {
        packets: AtomicU64::new(0),
        done: AtomicBool::new(false),
    };
    let before = std::thread::scope(|scope| {
        let talking = scope.spawn(|| call.run(&fixture));
        let has_passed = |more: u64| {
            let now = call.packets.load(Ordering::Relaxed);
            until("the call to go on", || {
                call.packets.load(Ordering::Relaxed) >= now + more
            });
        };
        has_passed(100);
        let before = descriptors(&fixture);
        // Every other one begins a handshake.
        let streams: Vec<TcpStream> = (0..idle)
            .map(|number| {
                let mut stream = dial(fixture.address());
                if number % 2 == 1 {
                    stream.write_all(HALF).unwrap();
                }
                stream
            })
            .collect();
        has_passed(100);
        // Nobody else is kept out meanwhile.
        assert_eq!(fixture.curl(&["--http2"], "/healthz"), r#"{"status":"ok"}"#);
        let all_at_once = fixture.metric("parlor_http_connections ") as usize;
        assert!(all_at_once > idle / 2, "{all_at_once} of {idle} at once");
        until("all of them to be disconnected", || {
            fixture.metric("parlor_http_connections ") == 1
        });
        drop(streams);
        has_passed(100);

        let floods: Vec<_> = (0..FLOODS)
            .map(|kind| {
                let fixture = &fixture;
                scope.spawn(move || flood(fixture, kind, HANDSHAKES))
            })
            .collect();
        for flood in floods {
            flood.join().expect("a flood is over");
        }
        has_passed(100);
        call.done.store(true, Ordering::Relaxed);
        talking.join().expect("no packet was lost");
        before
    });
    until("its descriptors", || {
        descriptors(&fixture) <= before + SLACK
    });
    until("its connections", || {
        fixture.metric("parlor_http_connections ") == 1
    });
    assert_eq!(fixture.metric("parlor_turn_send_errors_total "), 0);
    assert_eq!(fixture.metric("parlor_turn_shard_overflow_total "), 0);
}

/// Whole handshakes one after the other, none resumed, and what comes after them.
fn flood(fixture: &Fixture, kind: usize, count: usize) {
    for _ in 0..count {
        let mut stream = fixture.secured(&[]);
        stream.sock.stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The server may have hung up already, and that is all right.
        let _ = stream.flush();
        let _ = match kind {
            0 => Ok(()),
            1 => stream.sock.stream.write_all(&[0x17; 100]),
            2 => stream.write_all(&[0xff; 100]).and_then(|()| stream.flush()),
            _ => stream.write_all(&[0; 100]).and_then(|()| stream.flush()),
        };
    }
}
