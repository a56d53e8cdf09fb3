//! A call over the relay: two clients that send media packets to each other.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::turn::{Client, Wire, channel_data, connected};

/// The interval of the packets of a voice.
const INTERVAL: Duration = Duration::from_millis(20);
/// The first client's SSRC; the second one's is the next number.
pub(crate) const SSRC: u32 = 1000;

/// A call that lasts until it is dropped.
pub(crate) struct Call {
    shared: Arc<Shared>,
    sender: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    is_over: AtomicBool,
    is_first_silent: AtomicBool,
    /// The first client skips each packet whose number is a multiple of this; 0: none.
    skips: AtomicU64,
    sent: AtomicU64,
}

impl Call {
    /// Starts a call of two clients over UDP.
    pub(crate) fn start(first: Client, second: Client) -> Call {
        let (first, second) = connected(first, second);
        let shared = Arc::new(Shared::default());
        let sender = {
            let shared = shared.clone();
            thread::spawn(move || shared.send(&[(socket(first), 0x4001), (socket(second), 0x4002)]))
        };
        Call {
            shared,
            sender: Some(sender),
        }
    }

    /// The first client sends no more.
    pub(crate) fn silence_first(&self) {
        self.shared.is_first_silent.store(true, Ordering::SeqCst);
    }

    /// The first client sends again.
    pub(crate) fn resume_first(&self) {
        self.shared.is_first_silent.store(false, Ordering::SeqCst);
    }

    /// Loses one of this many packets of the first client.
    pub(crate) fn lose_one_of(&self, packets: u64) {
        self.shared.skips.store(packets, Ordering::SeqCst);
    }

    /// The packets that each client would have sent, without silence and losses.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// Waits until both clients have sent for this time.
    pub(crate) fn continue_for(&self, time: Duration) {
        let packets = time.as_millis() / INTERVAL.as_millis();
        let last = self.sent() + packets as u64;
        while self.sent() < last {
            thread::sleep(INTERVAL);
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        if let Some(sender) = self.sender.take() {
            let ended = sender.join();
            assert!(thread::panicking() || ended.is_ok(), "the call failed");
        }
    }
}

impl Shared {
    fn send(&self, clients: &[(UdpSocket, u16); 2]) {
        for number in 0.. {
            if self.is_over.load(Ordering::SeqCst) {
                return;
            }
            for (ssrc, (socket, channel)) in (SSRC..).zip(clients) {
                let skips = self.skips.load(Ordering::SeqCst);
                let is_lost = skips > 0 && number % skips == 0;
                let is_silent = self.is_first_silent.load(Ordering::SeqCst);
                if ssrc == SSRC && (is_lost || is_silent) {
                    continue;
                }
                let packet = channel_data(*channel, &media_packet(ssrc, number), false);
                assert_eq!(socket.send(&packet).expect("sent"), packet.len());
            }
            self.sent.store(number + 1, Ordering::SeqCst);
            thread::sleep(INTERVAL);
        }
    }
}

/// An RTP packet of a voice (RFC 3550 section 5.1).
fn media_packet(ssrc: u32, number: u64) -> Vec<u8> {
    let timestamp = number as u32 * 960;
    let mut packet = vec![0x80, 111];
    packet.extend((number as u16).to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([0; 40]);
    packet
}

fn socket(client: Client) -> UdpSocket {
    match client.wire {
        Wire::Udp(socket) => socket,
        Wire::Tcp(_) | Wire::Tls(_) => panic!("no UDP client"),
    }
}
