//! Clients that do not read, do not answer or do not speak.

use std::io::{ErrorKind, Read, Write};
use std::time::Duration;

use tokio_tungstenite::tungstenite::Message;

use crate::support::DEADLINE;
use crate::world::{LOBBY, World, offer, presence};

#[test]
fn a_reader_that_does_not_read_is_closed_with_4010_and_nobody_else_notices() {
    let world = World::with(&[
        ("PARLOR_SIGNALING__MAX_QUEUE", "600000"),
        ("PARLOR_SIGNALING__BURST", "100000"),
        ("PARLOR_SIGNALING__BYTE_RATE", "0"),
    ]);
    let mut frozen = world.enter(LOBBY, "frozen");
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    // More than kernels hold for a socket, so that the queue fills in the end.
    let text = "x".repeat(100_000);
    let mut heard = (0..1000).map(|number| {
        let message = offer("alice", None, &format!("{number} {text}"));
        alice.send(&message);
        (message, bob.read())
    });
    let last = heard.find(|(message, heard)| message != heard);
    let (message, left) = last.expect("the frozen reader is closed");
    assert_eq!(left, presence("user-left", "frozen", LOBBY));
    assert_eq!(bob.read(), message);
    assert_eq!(frozen.close_code(), 4010);
}

#[test]
fn no_pong_closes_with_1011() {
    let world = World::with(&[
        ("PARLOR_SIGNALING__PING_INTERVAL", "200ms"),
        ("PARLOR_SIGNALING__PING_TIMEOUT", "500ms"),
    ]);
    world.join(LOBBY, "bob");
    let mut silent = world.enter(LOBBY, "alice");
    assert_eq!(silent.raw_close_code(), 1011);
    silent.ends();
}

#[test]
fn neither_messages_nor_other_pongs_stand_in_for_the_pong() {
    let world = World::with(&[
        ("PARLOR_SIGNALING__PING_INTERVAL", "200ms"),
        ("PARLOR_SIGNALING__PING_TIMEOUT", "1s"),
    ]);
    let mut alice = world.enter(LOBBY, "alice");
    let (opcode, payload) = crate::world::read_frame(alice.socket.get_mut()).expect("a ping");
    assert_eq!(opcode, 9);
    alice.send(&offer("alice", None, "I talk"));
    let mut other = payload;
    other[0] ^= 1;
    alice.send_raw(&crate::world::frame(0x8a, &other));
    assert_eq!(alice.raw_close_code(), 1011);
}

#[test]
fn who_answers_pings_stays() {
    let world = World::with(&[
        ("PARLOR_SIGNALING__PING_INTERVAL", "50ms"),
        ("PARLOR_SIGNALING__PING_TIMEOUT", "20s"),
    ]);
    let mut alice = world.enter(LOBBY, "alice");
    for _ in 0..10 {
        assert!(matches!(alice.next(), Message::Ping(_)));
        alice.socket.flush().unwrap();
    }
}

#[test]
fn who_says_nothing_is_hung_up_on() {
    let world = World::with(&[("PARLOR_HTTP__HEADER_TIMEOUT", "300ms")]);
    let ended = |sent: &[u8]| {
        let mut stream = world.dial();
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(e) => panic!("not hung up on: {e}"),
        }
        answer
    };
    assert_eq!(ended(b""), b"");
    ended(b"G");
    ended(b"GET /healthz HTTP/1.1\r\nHost: x\r\n");
    let answered = ended(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answered.starts_with(b"HTTP/1.1 200"));
}

#[test]
fn who_asks_and_never_reads_is_hung_up_on() {
    let world = World::with(&[("PARLOR_HTTP__REQUEST_TIMEOUT", "1s")]);
    let mut stream = world.dial();
    // Answers pile up until the kernel takes no more of them; then the requests do, too.
    let requests = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    let ended = std::iter::repeat_with(|| stream.write_all(&requests)).find_map(Result::err);
    let kind = ended.expect("an end").kind();
    assert!(
        matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
        "{kind}"
    );
}

#[test]
fn a_request_head_has_a_limit() {
    let world = World::start();
    let mut stream = world.dial();
    let head = format!(
        "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    // The server may hang up before all is sent.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
}

#[test]
fn connections_past_the_bound_wait_for_their_turn() {
    let world = World::with(&[("PARLOR_HTTP__MAX_CONNECTIONS", "3")]);
    let [alice, _bob] = world.lobby(["alice", "bob"]);
    let mut third = world.dial();
    third
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        .unwrap(); // unfinished
    let mut fourth = world.dial();
    fourth
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    fourth
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    let mut byte = [0];
    let waits = fourth.read(&mut byte).expect_err("no answer yet").kind();
    assert!(matches!(waits, ErrorKind::WouldBlock | ErrorKind::TimedOut));
    alice.vanish();
    fourth.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(fourth.read(&mut byte).expect("an answer"), 1);
}
