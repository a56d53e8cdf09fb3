//! Restarts during calls: in place, and with the descriptor store of a service manager, which these tests
//! play.
#![cfg(target_os = "linux")]

mod activation;
mod fd_store;
pub(crate) mod in_place;
mod nodes;
mod sessions;
mod signals;
mod store;

use std::net::SocketAddr;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use crate::support::turn::{Client, SECRET, Wire, channel_data};
use crate::support::{Builder, Daemon};
use parlor::clock;

/// A relay that lets its clients talk to this host's loopback.
fn open_relay() -> Builder {
    Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        .env("PARLOR_TURN__ALLOWED_PEERS", "127.0.0.0/8,::1/128")
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "0")
}

fn metric(metrics: SocketAddr, name: &str) -> u64 {
    let text = crate::support::http::Client::new(metrics)
        .get("/metrics")
        .body;
    let text = String::from_utf8(text).expect("text");
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.expect(name).parse().expect("a number")
}

/// Sends a packet every 5 ms from one client to the other while `meanwhile` runs. Returns the longest time
/// without a packet, and the number of lost packets.
fn longest_gap(alice: &Client, bob: &Client, meanwhile: impl FnOnce()) -> (Duration, usize) {
    let (Wire::Udp(from), Wire::Udp(to)) = (&alice.wire, &bob.wire) else {
        panic!("over UDP");
    };
    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sender = thread::spawn(move || {
        let mut sent = 0;
        while stopped.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
            from.send(&channel_data(0x4001, b"tick", false)).unwrap();
            sent += 1;
        }
        sent
    });
    let receiver = thread::spawn(move || {
        let (mut last, mut longest, mut received) = (None, Duration::ZERO, 0);
        let mut buffer = [0; 100];
        // Two seconds without a packet mark the end.
        while to.recv(&mut buffer).is_ok() {
            let now = clock::now().mono;
            longest = longest.max(now.since(last.unwrap_or(now)));
            last = Some(now);
            received += 1;
        }
        (longest, received)
    });
    thread::sleep(Duration::from_millis(200));
    meanwhile();
    thread::sleep(Duration::from_millis(200));
    drop(stop);
    let sent: usize = sender.join().unwrap_or_default();
    let (longest, received) = receiver.join().unwrap();
    (longest, sent - received)
}
