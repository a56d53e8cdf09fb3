//! Decides whether a batch uses GSO.

use std::os::fd::BorrowedFd;

use nix::sys::socket::{getsockopt, sockopt};

/// Maximum number of batches without GSO after refused GSO messages.
const MAX_SKIPPED_BATCHES: u32 = 1024;

/// Whether the kernel supports GSO, with a backoff after refused messages.
#[derive(Debug)]
pub(super) struct GsoSupport {
    /// Whether the kernel supports GSO and the configuration allows it. `None` before the first use.
    supported: Option<bool>,
    /// Batches to send without GSO. Support depends on device and route, and a refused message costs
    /// a copy of its headers.
    skip: u32,
    /// Batches to skip after the next refusal.
    penalty: u32,
}

impl GsoSupport {
    pub(super) fn new(allowed: bool) -> GsoSupport {
        GsoSupport {
            supported: if allowed { None } else { Some(false) },
            skip: 0,
            penalty: 1,
        }
    }

    /// Whether the next batch, on `socket`, uses GSO.
    pub(super) fn should_use(&mut self, socket: BorrowedFd<'_>) -> bool {
        // A kernel without GSO would ignore the control message and send one large datagram.
        let ask = || getsockopt(&socket, sockopt::UdpGsoSegment).is_ok();
        let supported = *self.supported.get_or_insert_with(ask);
        self.skip = self.skip.saturating_sub(1);
        supported && self.skip == 0
    }

    /// The kernel took messages; `combined` datagrams did not need a message of their own.
    pub(super) fn on_sent(&mut self, combined: usize) {
        if combined > 0 {
            self.penalty = 1;
        }
    }

    /// The kernel refused a GSO message.
    pub(super) fn on_refused(&mut self) {
        self.skip = 1 + self.penalty;
        self.penalty = (2 * self.penalty).min(MAX_SKIPPED_BATCHES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    #[test]
    fn refused_gso_messages_are_retried_at_growing_intervals() {
        let mut support = GsoSupport::new(true);
        support.supported = Some(true);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let socket = socket.as_fd();
        let mut tries = 0;
        for _ in 0..10_000 {
            if support.should_use(socket) {
                tries += 1;
                support.on_refused();
            }
        }
        assert!(tries < 30, "{tries}");
        while !support.should_use(socket) {}
        support.on_sent(1);
        support.on_refused();
        let pause = (0..).find(|_| support.should_use(socket));
        assert_eq!(pause, Some(1));
    }
}
