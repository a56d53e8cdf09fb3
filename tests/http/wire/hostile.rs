//! Clients that do not read, do not answer or do not speak.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::Message;

use crate::support::DEADLINE;
use crate::wire::world::{LOBBY, World, offer, presence};

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
    let (opcode, payload) = crate::wire::world::read_frame(alice.socket.get_mut()).expect("a ping");
    assert_eq!(opcode, 9);
    alice.send(&offer("alice", None, "I talk"));
    let mut other = payload;
    other[0] ^= 1;
    alice.send_raw(&crate::wire::world::frame(0x8a, &other));
    assert_eq!(alice.raw_close_code(), 1011);
}

#[test]
fn a_client_that_answers_pings_stays_connected() {
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
fn a_silent_connection_is_closed() {
    let world = World::with(&[("PARLOR_HTTP__HEADER_TIMEOUT", "300ms")]);
    let ended = |sent: &[u8]| {
        let mut stream = world.dial();
        stream.write_all(sent).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(e) => panic!("not closed: {e}"),
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
fn a_client_that_never_reads_is_disconnected() {
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

/// A connection from one of the addresses of loopback.
fn dial_from(world: &World, last: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let from = SocketAddr::from(([127, 0, 0, last], 0));
    socket.bind(&from.into()).unwrap();
    socket.connect(&world.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The first bytes of the response; empty if the connection was closed.
fn request_status(stream: &mut TcpStream) -> String {
    let sent = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    let mut answer = [0; 12];
    match sent.and_then(|()| stream.read_exact(&mut answer)) {
        Ok(()) => String::from_utf8_lossy(&answer).into_owned(),
        Err(_) => String::new(),
    }
}

#[test]
fn one_connection_too_many_takes_the_place_of_one_that_asks_for_nothing() {
    let world = World::with(&[("PARLOR_HTTP__MAX_CONNECTIONS", "3")]);
    let [mut alice, _bob] = world.lobby(["alice", "bob"]);
    let mut silent = world.dial();
    silent.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut asks = world.dial();
    assert_eq!(request_status(&mut asks), "HTTP/1.1 200");
    assert!(!matches!(silent.read(&mut [0]), Ok(1..)));
    // Next that one, which has its response.
    let _carol = world.enter(LOBBY, "carol");
    assert_eq!(alice.read()["type"], "user-joined");
    assert_eq!(request_status(&mut world.dial()), "");
    alice.vanish();
    while request_status(&mut world.dial()) != "HTTP/1.1 200" {}
}

#[test]
fn the_address_with_most_connections_loses_one_to_another() {
    let world = World::with(&[("PARLOR_HTTP__MAX_CONNECTIONS", "3")]);
    let mut people = world.lobby(["alice", "bob", "carol"]);
    assert_eq!(request_status(&mut dial_from(&world, 2)), "HTTP/1.1 200");
    // The oldest connection.
    assert_eq!(people[0].close_code(), 4000);
    assert_eq!(people[2].read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn an_address_has_a_limit_of_connections() {
    let world = World::with(&[("PARLOR_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "3")]);
    // The connections that joined the room over HTTP end a moment after their responses.
    let _participants = world.lobby(["alice", "bob"]);
    let mut third = world.dial();
    while request_status(&mut third) != "HTTP/1.1 200" {
        third = world.dial();
    }
    let rejected = "parlor_http_connections_rejected_total{reason=\"address\"}";
    let before = world.metric(rejected);
    assert_eq!(request_status(&mut world.dial()), "");
    assert_eq!(request_status(&mut dial_from(&world, 2)), "HTTP/1.1 200");
    assert_eq!(world.metric(rejected), before + 1);
}
