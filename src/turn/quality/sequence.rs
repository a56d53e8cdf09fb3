//! Loss of one RTP stream, from its sequence numbers (RFC 3550 sections 6.4.1, A.1 and A.3).

use std::time::Duration;

/// The largest step ahead that counts as loss. A larger one restarts the stream.
const MAX_AHEAD: u16 = 3000;

/// The number of recent packets that are recognised as duplicates.
const REMEMBERED: u64 = u64::BITS as u64;

/// A stream that misses packets after so long a pause has used another path meanwhile, such as a
/// direct one: they are not lost.
const LONGEST_OUTAGE: Duration = Duration::from_secs(2);

/// The counts of a stream since its first packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// The length of the sequence.
    pub expected: u64,
    /// Those of the sequence that did not arrive. Duplicates do not count, and late packets are
    /// subtracted again.
    pub lost: u64,
}

/// The sequence numbers of one stream. A packet in order changes one field.
#[derive(Debug)]
pub(super) struct Sequence {
    /// The highest sequence number, with its cycles.
    highest: u64,
    /// The first sequence number. It advances over numbers that were never sent.
    first: u64,
    lost: u64,
    /// The highest number when `recent` was written. All later ones have arrived.
    run_start: u64,
    /// Bit *n* says whether the packet *n* before `run_start` has arrived.
    recent: u64,
    /// The number that would follow the last packet outside of the sequence. If it arrives, the
    /// sender has restarted its numbers.
    restart_at: Option<u16>,
}

impl Counts {
    /// Returns the counts since an earlier moment. Packets that were lost before and arrived since do
    /// not make up for others.
    pub(super) fn since(self, earlier: Counts) -> Counts {
        Counts {
            expected: self.expected.saturating_sub(earlier.expected),
            lost: self.lost.saturating_sub(earlier.lost),
        }
    }

    /// Returns the number of packets that arrived.
    pub(super) fn received(self) -> u64 {
        self.expected - self.lost.min(self.expected)
    }
}

impl Sequence {
    pub(super) fn new(first: u16) -> Sequence {
        // One cycle ahead, so that a number before the first one is positive.
        let first = 0x1_0000 + u64::from(first);
        Sequence {
            highest: first,
            first,
            lost: 0,
            run_start: first,
            recent: 1,
            restart_at: None,
        }
    }

    /// Returns the counts of the packets so far.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            expected: self.highest - self.first + 1,
            lost: self.lost,
        }
    }

    /// Returns the highest sequence number.
    pub(super) fn highest(&self) -> u16 {
        self.highest as u16
    }

    /// Returns whether this packet is the next in order.
    fn is_next(&self, sequence: u16) -> bool {
        sequence == (self.highest as u16).wrapping_add(1)
    }

    /// Counts the next packet in order.
    #[inline(always)]
    pub(super) fn record_next(&mut self) {
        self.highest += 1;
    }

    /// Counts a packet. `pause` is the time since the previous media packet on this link.
    pub(super) fn record_any(&mut self, sequence: u16, pause: Duration) {
        if self.is_next(sequence) {
            self.record_next();
            return;
        }
        self.recent = shift_in(self.recent, self.highest - self.run_start, true);
        self.run_start = self.highest;
        let ahead = sequence.wrapping_sub(self.highest as u16);
        let behind = u64::from(ahead.wrapping_neg());
        if (1..=MAX_AHEAD).contains(&ahead) {
            self.advance(u64::from(ahead), pause > LONGEST_OUTAGE);
        } else if behind < REMEMBERED {
            self.record_late(behind);
        } else if self.restart_at == Some(sequence) {
            self.restart(sequence);
        } else if behind > u64::from(MAX_AHEAD) {
            self.restart_at = Some(sequence.wrapping_add(1));
        }
    }

    fn advance(&mut self, step: u64, was_elsewhere: bool) {
        let missing = step - 1;
        self.highest += step;
        self.run_start = self.highest;
        if was_elsewhere {
            self.first += missing;
            // The missing ones cannot arrive late: `first` has moved already.
            self.recent = u64::MAX;
        } else {
            self.lost += missing;
            self.recent = shift_in(self.recent, missing, false) << 1 | 1;
        }
    }

    fn record_late(&mut self, behind: u64) {
        let bit = 1 << behind;
        if self.recent & bit != 0 {
            return;
        }
        self.recent |= bit;
        let number = self.highest - behind;
        if number >= self.first {
            self.lost = self.lost.saturating_sub(1);
            return;
        }
        // The first packets can be out of order as well.
        self.lost += self.first - number - 1;
        self.first = number;
    }

    /// Continues with new numbers. The packet before this one counts as well.
    fn restart(&mut self, sequence: u16) {
        let next_cycle = (self.highest & !0xffff) + 0x1_0000 + u64::from(sequence);
        // Two packets are expected and have arrived.
        self.first += next_cycle - self.highest - 2;
        self.highest = next_cycle;
        self.run_start = next_cycle;
        // Numbers before them are those of the earlier sequence.
        self.recent = u64::MAX;
        self.restart_at = None;
    }
}

/// Shifts `count` equal bits into a bitmap.
fn shift_in(bits: u64, count: u64, value: bool) -> u64 {
    let filled = if value { u64::MAX } else { 0 };
    if count >= REMEMBERED {
        return filled;
    }
    let ones = !(u64::MAX << count);
    bits << count | ones & filled
}
