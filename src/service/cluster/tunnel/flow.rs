//! The state of one end of a tunnel: its order, its windows and its end. A state machine without I/O.

use std::collections::VecDeque;

use bytes::{Buf, Bytes};

use super::message::Body;
use crate::room::CloseCode;

/// Bytes that an end may send before the other one has consumed them.
pub(super) const WINDOW_BYTES: usize = 256 << 10;
/// An end grants further bytes when it has consumed this many.
const CREDIT_BYTES: usize = WINDOW_BYTES / 4;

#[derive(Debug)]
pub(super) struct Flow {
    received: VecDeque<Bytes>,
    /// Bytes that were received and not granted again.
    outstanding: usize,
    /// Of these, those that were consumed.
    consumed: usize,
    /// Bytes that may be sent.
    window: usize,
    /// The number of the last message in each direction.
    sent: u64,
    seen: u64,
    /// Whether the other end sends no more data.
    is_finished: bool,
    is_reset: bool,
    close: Option<CloseCode>,
}

/// The outcome of [`Flow::read`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// The bytes were read; this many are to be granted, if any.
    Bytes {
        count: usize,
        credit: Option<u64>,
    },
    /// Nothing has arrived.
    Empty,
    /// There is no more data.
    End,
    Reset,
}

impl Flow {
    pub(super) fn new() -> Flow {
        Flow {
            received: VecDeque::new(),
            outstanding: 0,
            consumed: 0,
            window: WINDOW_BYTES,
            sent: 0,
            seen: 0,
            is_finished: false,
            is_reset: false,
            close: None,
        }
    }

    /// Handles a message. Returns false if the tunnel has ended: a message was lost, or the other end exceeds its window.
    pub(super) fn receive(&mut self, number: u64, body: Body<'_>) -> bool {
        self.seen += 1;
        if number != self.seen {
            self.is_reset = true;
        }
        match body {
            _ if self.is_reset => {}
            Body::Data(data) => {
                self.outstanding += data.len();
                self.received.push_back(Bytes::copy_from_slice(data));
                self.is_reset = self.is_finished || self.outstanding > WINDOW_BYTES;
            }
            Body::Credit(bytes) => {
                let window = (self.window as u64).saturating_add(bytes);
                self.window = window.min(WINDOW_BYTES as u64) as usize;
            }
            Body::Finish => self.is_finished = true,
            Body::Reset => self.is_reset = true,
            Body::Close(code) => {
                let known = CloseCode::from_code(code);
                self.close = Some(known.unwrap_or(CloseCode::ConnectionError));
            }
        }
        !self.is_reset
    }

    /// Fills `target` with received bytes, also after a reset.
    pub(super) fn read(&mut self, target: &mut [u8]) -> Read {
        let mut count = 0;
        while count < target.len()
            && let Some(first) = self.received.front_mut()
        {
            let part = first.len().min(target.len() - count);
            target[count..count + part].copy_from_slice(&first[..part]);
            first.advance(part);
            count += part;
            if first.is_empty() {
                self.received.pop_front();
            }
        }
        if count == 0 && !target.is_empty() {
            return match (self.is_reset, self.is_finished) {
                (true, _) => Read::Reset,
                (false, true) => Read::End,
                (false, false) => Read::Empty,
            };
        }
        self.consumed += count;
        let is_due = self.consumed >= CREDIT_BYTES;
        let credit = is_due.then(|| std::mem::take(&mut self.consumed));
        self.outstanding -= credit.unwrap_or(0);
        let credit = credit.map(|bytes| bytes as u64);
        Read::Bytes { count, credit }
    }

    /// Takes the right to send at most `bytes`, and returns how many may be sent now.
    pub(super) fn reserve(&mut self, bytes: usize) -> usize {
        let granted = bytes.min(self.window);
        self.window -= granted;
        granted
    }

    /// The number of the next message.
    pub(super) fn next_number(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    pub(super) fn reset(&mut self) {
        self.is_reset = true;
    }

    pub(super) fn is_reset(&self) -> bool {
        self.is_reset
    }

    /// The code with which the other end wants the connection to be closed.
    pub(super) fn close(&self) -> Option<CloseCode> {
        self.close
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flow: &mut Flow, bytes: usize) -> (Vec<u8>, Option<u64>) {
        let mut target = vec![0; bytes];
        match flow.read(&mut target) {
            Read::Bytes { count, credit } => (target[..count].to_vec(), credit),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn bytes_are_read_in_order_and_before_the_end() {
        let mut flow = Flow::new();
        assert_eq!(flow.read(&mut [0; 4]), Read::Empty);
        assert!(flow.receive(1, Body::Data(b"abc")));
        assert!(flow.receive(2, Body::Data(b"def")));
        assert!(flow.receive(3, Body::Finish));
        assert_eq!(read(&mut flow, 2).0, b"ab");
        assert_eq!(read(&mut flow, 9).0, b"cdef");
        assert_eq!(flow.read(&mut [0; 4]), Read::End);
        assert!(!flow.receive(4, Body::Data(b"g")), "data after the end");
    }

    #[test]
    fn bytes_that_arrived_before_a_reset_are_read() {
        let mut flow = Flow::new();
        flow.receive(1, Body::Data(b"abc"));
        assert!(!flow.receive(2, Body::Reset));
        assert_eq!(read(&mut flow, 9).0, b"abc");
        assert_eq!(flow.read(&mut [0; 4]), Read::Reset);
    }

    #[test]
    fn a_lost_or_repeated_message_ends_the_tunnel() {
        for number in [1, 3] {
            let mut flow = Flow::new();
            assert!(flow.receive(1, Body::Data(b"abc")));
            assert!(!flow.receive(number, Body::Data(b"def")));
            assert_eq!(read(&mut flow, 9).0, b"abc");
            assert!(flow.is_reset());
        }
    }

    #[test]
    fn an_end_sends_no_more_than_the_window_and_gets_credit_for_what_is_consumed() {
        let [mut near, mut far] = [Flow::new(), Flow::new()];
        assert_eq!(near.reserve(WINDOW_BYTES + 1), WINDOW_BYTES);
        assert_eq!(near.reserve(1), 0);
        let data = vec![7; WINDOW_BYTES];
        assert!(far.receive(1, Body::Data(&data)));
        assert_eq!(read(&mut far, CREDIT_BYTES - 1).1, None);
        let credit = read(&mut far, 1).1.expect("credit");
        assert_eq!(credit, CREDIT_BYTES as u64);
        assert!(near.receive(1, Body::Credit(credit)));
        assert_eq!(near.reserve(WINDOW_BYTES), CREDIT_BYTES);
        // The window does not grow by too much credit.
        near.receive(2, Body::Credit(u64::MAX));
        near.receive(3, Body::Credit(u64::MAX));
        assert_eq!(near.reserve(usize::MAX), WINDOW_BYTES);
    }

    #[test]
    fn more_than_the_window_ends_the_tunnel() {
        let mut flow = Flow::new();
        assert!(flow.receive(1, Body::Data(&vec![0; WINDOW_BYTES])));
        assert!(!flow.receive(2, Body::Data(b"x")));
    }

    #[test]
    fn an_unknown_close_code_is_a_connection_error() {
        let mut flow = Flow::new();
        assert_eq!(flow.close(), None);
        flow.receive(1, Body::Close(1012));
        assert_eq!(flow.close(), Some(CloseCode::Restarting));
        flow.receive(2, Body::Close(9));
        assert_eq!(flow.close(), Some(CloseCode::ConnectionError));
    }
}
