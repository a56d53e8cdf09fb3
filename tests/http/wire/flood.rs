//! Participants who flood a room: their connections are closed, and no reader's connection is.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::client;

use crate::support::DEADLINE;
use crate::wire::world::{Client, LOBBY, World, frame, offer};

/// Bytes that a link of 2 Mbit/s transmits in 20 ms.
const PIECE_BYTES: usize = 5_000;
const PIECE_TIME: Duration = Duration::from_millis(20);
const KERNEL_BUFFER_BYTES: usize = 32 * 1024;

/// A client with small kernel buffers, so that unread data waits at the server.
fn enter(world: &World, user: &str) -> Client {
    world.join(LOBBY, user);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(KERNEL_BUFFER_BYTES).unwrap();
    socket.connect(&world.address().into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let path = format!("/api/ws/rooms/{LOBBY}?token={}", world.token(user));
    let (socket, response) = client(world.request(&path), stream).expect("an upgrade");
    Client::new(socket, &response)
}

/// Reads at 2 Mbit/s until `wanted` arrives.
fn read_slowly(mut reader: Client, wanted: &[u8]) {
    let stream = reader.socket.get_mut();
    let (mut read, mut piece) = (Vec::new(), [0; PIECE_BYTES]);
    while !read.windows(wanted.len()).any(|text| text == wanted) {
        // The code of a close frame would be in it.
        let keep = read.len().saturating_sub(wanted.len());
        read.drain(..keep);
        let length = stream.read(&mut piece).expect("a frame");
        assert_ne!(length, 0, "closed: {:?}", String::from_utf8_lossy(&read));
        read.extend(&piece[..length]);
        std::thread::sleep(PIECE_TIME);
    }
}

#[test]
fn two_flooders_are_closed_with_4008_and_readers_at_2_mbit_stay() {
    let world = World::start();
    let readers = ["bob", "carol", "dave"].map(|user| enter(&world, user));
    let [mut talker] = world.lobby(["talker"]);
    let flooders = ["mallory", "malcolm"].map(|user| world.enter(LOBBY, user));
    let text = "x".repeat(250_000);
    std::thread::scope(|scope| {
        let readers =
            readers.map(|reader| scope.spawn(|| read_slowly(reader, b"the flood is over")));
        let flooders = flooders.map(|mut flooder| {
            let message = offer("me", None, &text).to_string();
            scope.spawn(move || {
                // Three are within the burst. The server reads and discards data after the close.
                (0..7).for_each(|_| flooder.send_text(&message));
                flooder.close_code()
            })
        });
        let codes = flooders.map(|flooder| flooder.join().expect("a code"));
        assert_eq!(codes, [4008, 4008]);
        talker.send(&offer("talker", None, "the flood is over"));
        for reader in readers {
            reader.join().expect("all that was sent");
        }
    });
    assert_eq!(
        world.metric("parlor_signaling_closed_total{code=\"4010\"} "),
        0
    );
    assert_eq!(
        world.metric("parlor_signaling_closed_total{code=\"1011\"} "),
        0
    );
}

#[test]
fn endless_fragments_close_with_4008() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    alice.send_raw(&frame(0x01, b"{"));
    // More than the rate allows meanwhile.
    alice.send_raw(&frame(0x00, b"").repeat(20_000));
    assert_eq!(alice.raw_close_code(), 4008);
    assert_eq!(bob.read()["type"], "user-left");
}

#[test]
fn a_length_that_is_not_in_its_shortest_form_closes_with_1002() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    let text = offer("alice", None, "the last sound one");
    let mut bytes = frame(0x81, text.to_string().as_bytes());
    // 5 bytes, as if they were many.
    bytes.extend([0x81, 0x80 | 126, 0, 5, 0, 0, 0, 0]);
    bytes.extend(b"hello");
    alice.send_raw(&bytes);
    assert_eq!(alice.close_code(), 1002);
    assert_eq!(bob.read(), text);
    assert_eq!(bob.read()["type"], "user-left");
}
