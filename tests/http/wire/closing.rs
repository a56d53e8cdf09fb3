//! Closing by what the client does: too large, too many, not WebSocket, gone.

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::wire::world::{LOBBY, World, frame, frame_head, offer, presence};

const LIMIT: usize = 256 * 1024;

/// A valid message of exactly this many bytes.
fn of_size(bytes: usize) -> String {
    let empty = offer("alice", None, "").to_string().len();
    offer("alice", None, &"x".repeat(bytes - empty)).to_string()
}

#[test]
fn a_message_at_the_limit_passes_and_one_past_it_closes_with_1009() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    alice.send_text(&of_size(LIMIT));
    assert_eq!(bob.read_text(), of_size(LIMIT));
    alice.send_text(&of_size(LIMIT + 1));
    assert_eq!(alice.close_code(), 1009);
    alice.ends();
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn the_head_alone_of_a_frame_that_is_too_large_closes_with_1009() {
    let world = World::start();
    let mut alice = world.enter(LOBBY, "alice");
    alice.send_raw(&frame_head(0x81, 1 << 40));
    assert_eq!(alice.raw_close_code(), 1009);
    alice.ends();
}

#[test]
fn fragments_count_together() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    let text = of_size(LIMIT);
    let (one, two) = text.as_bytes().split_at(LIMIT / 2);
    alice.send_raw(&frame(0x01, one));
    alice.send_raw(&frame(0x80, two));
    assert_eq!(bob.read_text(), text);
    alice.send_raw(&frame(0x01, one));
    alice.send_raw(&frame(0x00, two));
    alice.send_raw(&frame(0x80, b"x"));
    assert_eq!(alice.raw_close_code(), 1009);
    alice.ends();
}

#[test]
fn a_close_is_read_even_by_a_client_that_was_still_sending() {
    let world = World::start();
    let mut alice = world.enter(LOBBY, "alice");
    let message = frame(0x81, &vec![b'x'; LIMIT + 1]);
    for _ in 0..3 {
        alice.send_raw(&message);
    }
    assert_eq!(alice.raw_close_code(), 1009);
    alice.ends();
}

#[test]
fn invalid_utf8_closes_with_1007() {
    let world = World::start();
    let mut bob = world.enter(LOBBY, "bob");
    for bad in [&b"\xff"[..], b"{\"type\":\"\xc3\x28\"}", b"\xed\xa0\x80"] {
        let mut alice = world.enter(LOBBY, "alice");
        assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
        alice.send_raw(&frame(0x81, bad));
        assert_eq!(alice.raw_close_code(), 1007);
        alice.ends();
        assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
    }
}

#[test]
fn invalid_frames_close_with_1002() {
    let world = World::start();
    let unmasked = vec![0x81, 0x02, b'{', b'}'];
    let cases = [
        ("unmasked", unmasked),
        ("reserved bit", frame(0xc1, b"{}")),
        ("reserved opcode", frame(0x83, b"{}")),
        ("continuation of nothing", frame(0x80, b"{}")),
        ("fragmented ping", frame(0x09, b"")),
        ("long ping", frame(0x89, &[0; 126])),
        (
            "text in a text",
            [frame(0x01, b"{"), frame(0x81, b"}")].concat(),
        ),
        ("close with one byte", frame(0x88, b"x")),
    ];
    let mut bob = world.enter(LOBBY, "bob");
    for (what, bytes) in cases {
        let mut alice = world.enter(LOBBY, "alice");
        assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
        alice.send_raw(&bytes);
        assert_eq!(alice.raw_close_code(), 1002, "{what}");
        alice.ends();
        assert_eq!(bob.read(), presence("user-left", "alice", LOBBY), "{what}");
    }
}

#[test]
fn a_close_is_answered_and_the_others_see_the_leave_once() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    let close = CloseFrame {
        code: 1000.into(),
        reason: "bye".into(),
    };
    alice.socket.close(Some(close)).unwrap();
    assert_eq!(alice.raw_close_code(), 1000);
    alice.ends();
    alice.vanish();
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
    let _again = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
}

#[test]
fn a_client_that_vanishes_has_left() {
    let world = World::start();
    let [alice, mut bob] = world.lobby(["alice", "bob"]);
    alice.vanish();
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn a_hundred_and_one_bad_messages_in_a_row_close_with_4008() {
    let world = World::start();
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    for _ in 0..100 {
        alice.send_text("bad");
    }
    alice.send(&offer("alice", None, "still here"));
    assert_eq!(bob.read(), offer("alice", None, "still here"));
    for _ in 0..101 {
        alice.socket.send(Message::binary(vec![0])).unwrap();
    }
    assert_eq!(alice.close_code(), 4008);
    alice.ends();
    assert_eq!(bob.read(), presence("user-left", "alice", LOBBY));
}

#[test]
fn a_thousand_and_one_bad_messages_in_all_close_with_4008() {
    let world = World::with(&[("PARLOR_SIGNALING__BURST", "5000")]);
    let [mut alice, mut bob] = world.lobby(["alice", "bob"]);
    for round in 0..20 {
        for _ in 0..50 {
            alice.send_text("bad");
        }
        alice.send(&offer("alice", None, "good"));
        assert_eq!(bob.read(), offer("alice", None, "good"), "{round}");
    }
    alice.send_text("bad");
    assert_eq!(alice.close_code(), 4008);
}

#[test]
fn too_many_messages_close_with_4008() {
    let settings = [
        ("PARLOR_SIGNALING__RATE", "1"),
        ("PARLOR_SIGNALING__BURST", "5"),
    ];
    let world = World::with(&settings);
    let mut bob = world.enter(LOBBY, "bob");
    world.join(LOBBY, "alice");
    // Not entered as others are: the ping would count as a message.
    let mut alice = world.connect(LOBBY, &world.token("alice"));
    assert_eq!(bob.read(), presence("user-joined", "alice", LOBBY));
    for number in 0..50 {
        alice.send(&offer("alice", None, &number.to_string()));
    }
    for number in 0..5 {
        assert_eq!(bob.read()["data"]["sdp"], number.to_string());
    }
    assert_eq!(alice.close_code(), 4008);
    alice.ends();
    while bob.read() != presence("user-left", "alice", LOBBY) {}
}
