//! Loss of one RTP stream, from its sequence numbers (RFC 3550 sections 6.4.1, A.1 and A.3).

use std::time::Duration;

use crate::clock::Mono;

/// The largest step ahead that counts as loss. A larger one restarts the stream.
const MAX_AHEAD: u16 = 3000;

/// The number of recent packets that are recognised as duplicates.
const REMEMBERED: u16 = u64::BITS as u16;

/// A stream that misses packets after so long a pause has used another path meanwhile, such as a
/// direct one: they are not lost.
const LONGEST_OUTAGE: Duration = Duration::from_secs(2);

/// The counts of a stream since its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// The length of the sequence.
    pub expected: u64,
    /// Those of the sequence that arrived. Duplicates do not count.
    pub received: u64,
}

/// The sequence numbers of one stream.
#[derive(Debug)]
pub(super) struct Sequence {
    /// The highest sequence number, with its cycles.
    highest: u64,
    /// The first sequence number. It advances over numbers that were never sent.
    first: u64,
    received: u64,
    /// Bit *n* says whether the packet *n* before the highest has arrived.
    recent: u64,
    /// The number that would follow the last packet outside of the sequence. If it arrives, the
    /// sender has restarted its numbers.
    restart_at: Option<u16>,
}

impl Counts {
    /// Returns the counts since an earlier moment.
    pub(super) fn since(self, earlier: Counts) -> Counts {
        Counts {
            expected: self.expected.saturating_sub(earlier.expected),
            received: self.received.saturating_sub(earlier.received),
        }
    }

    /// Returns the number of lost packets. It is negative while packets that were counted as lost
    /// arrive late.
    pub(super) fn lost(self) -> i64 {
        self.expected as i64 - self.received as i64
    }
}

impl Sequence {
    pub(super) fn new(first: u16) -> Sequence {
        // One cycle ahead, so that a number before the first one is positive.
        let first = 0x1_0000 + u64::from(first);
        Sequence {
            highest: first,
            first,
            received: 1,
            recent: 1,
            restart_at: None,
        }
    }

    /// Returns the counts of the packets so far.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            expected: self.highest - self.first + 1,
            received: self.received,
        }
    }

    /// Counts a packet. `pause` is the time since the stream's previous packet.
    #[inline]
    pub(super) fn record(&mut self, sequence: u16, last_arrival: Mono, now: Mono) {
        if sequence == (self.highest as u16).wrapping_add(1) {
            self.highest += 1;
            self.recent = self.recent << 1 | 1;
            self.received += 1;
        } else {
            self.record_out_of_order(sequence, now.since(last_arrival));
        }
    }

    #[cold]
    fn record_out_of_order(&mut self, sequence: u16, pause: Duration) {
        let ahead = sequence.wrapping_sub(self.highest as u16);
        let behind = ahead.wrapping_neg();
        if (1..=MAX_AHEAD).contains(&ahead) {
            self.advance(u64::from(ahead), pause > LONGEST_OUTAGE);
        } else if behind < REMEMBERED {
            self.record_late(u64::from(behind));
        } else if self.restart_at == Some(sequence) {
            self.restart(sequence);
        } else if behind > MAX_AHEAD {
            self.restart_at = Some(sequence.wrapping_add(1));
        }
    }

    fn advance(&mut self, step: u64, was_elsewhere: bool) {
        self.highest += step;
        self.recent = if step < u64::from(REMEMBERED) {
            self.recent << step | 1
        } else {
            1
        };
        self.received += 1;
        if was_elsewhere {
            self.skip(step - 1);
        }
    }

    /// Removes numbers before the highest one that nobody sent to this relay.
    fn skip(&mut self, numbers: u64) {
        self.first += numbers;
        // They cannot arrive late: `first` has moved already.
        self.recent = u64::MAX;
    }

    fn record_late(&mut self, behind: u64) {
        let bit = 1 << behind;
        if self.recent & bit != 0 {
            return;
        }
        self.recent |= bit;
        self.received += 1;
        // The first packets can be out of order as well.
        self.first = self.first.min(self.highest - behind);
    }

    /// Continues with new numbers. The packet before this one counts as well.
    fn restart(&mut self, sequence: u16) {
        let next_cycle = (self.highest & !0xffff) + 0x1_0000 + u64::from(sequence);
        // Two packets are expected and have arrived.
        self.first += next_cycle - self.highest - 2;
        self.highest = next_cycle;
        self.received += 2;
        self.recent = 0b11;
        self.restart_at = None;
    }
}
