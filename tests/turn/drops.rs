//! Datagrams that the kernel drops while the relay does not read them.

use std::net::{SocketAddr, UdpSocket};

use crate::support::wait_until;
use crate::{metric, open_relay};

/// More bytes than the receive buffer of a listener can have: the kernel at most doubles the 4 MB of a request.
const SENT: u64 = 400;
const DATAGRAM_BYTES: usize = 60_000;

#[test]
fn datagrams_that_a_stopped_process_cannot_read_are_counted_for_their_listener() {
    let daemon = open_relay()
        .env("PARLOR_TURN__LISTEN", "127.0.0.1:0,127.0.0.2:0")
        .start();
    let [full, other] = daemon.all("turn-udp") else {
        panic!("two listeners");
    };
    let drops = |address: &SocketAddr| {
        let name = format!("parlor_turn_receive_drops_total{{address=\"{address}\"}}");
        metric(&daemon, &name)
    };
    assert_eq!((drops(full), drops(other)), (0, 0));

    daemon.signal("STOP");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    for _ in 0..SENT {
        let datagram = [0xff; DATAGRAM_BYTES];
        sender.send_to(&datagram, full).expect("a datagram sent");
    }
    daemon.signal("CONT");

    // All others arrive, and are not STUN.
    let arrived = "parlor_turn_dropped_total{reason=\"not STUN\"}";
    wait_until("all datagrams are counted", || {
        metric(&daemon, arrived) + drops(full) == SENT
    });
    let dropped = drops(full);
    assert!(dropped > 0);
    assert_eq!(drops(other), 0);

    let status = daemon.cli_json(&["status"]);
    let expected = serde_json::json!([
        { "address": full, "datagrams": dropped },
        { "address": other, "datagrams": 0 },
    ]);
    assert_eq!(status["receive_drops"], expected);
    let text = daemon.cli(&["status"]).stdout;
    let text = String::from_utf8(text).expect("text");
    let line = format!("{dropped} at {full}, whose receive buffer was full");
    assert!(text.contains(&line), "{text}");
}
