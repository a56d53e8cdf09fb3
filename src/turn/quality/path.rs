//! Notices that a client's path has died: the client was sending media, has gone silent, and its peers
//! still send to it.

use std::time::Duration;

use crate::clock::Mono;

/// The shortest silence that counts. Opus with discontinuous transmission pauses for 400 ms.
const SHORTEST_SILENCE: Duration = Duration::from_millis(700);

/// The shortest silence that counts if the client's data comes from another port.
const SHORTEST_SILENCE_AFTER_REBINDING: Duration = Duration::from_millis(100);

/// A silence counts if it is this many times the longest gap between recent packets.
const GAPS: u32 = 3;

/// A client that sends fewer packets in a second is not watched.
const MIN_PACKETS_PER_SECOND: u64 = 10;

/// The shortest time in which a rate is measured.
const SHORTEST_RATE: Duration = Duration::from_secs(1);

/// Interval in which the longest gap is measured. Two of them are remembered.
const INTERVAL: Duration = Duration::from_secs(5);

/// Peers that have sent for so long after the client was heard last do not know of its silence. Where
/// another candidate pair has replaced this one, both sides stop within a round trip.
const PEERS_CONTINUE: Duration = Duration::from_millis(200);

/// The last packet of the peers is at most this old.
const PEERS_ARE_ACTIVE: Duration = Duration::from_millis(600);

/// A path that has been silent for so long is not watched any more.
const LONGEST_WATCH: Duration = Duration::from_secs(10);

/// Interval of the checks of a silent path.
const RECHECK: Duration = Duration::from_millis(200);

/// The state of the path from a client to the relay.
#[derive(Debug)]
pub(super) struct Path {
    /// The last packet from the client that is no media.
    pub heard: Mono,
    /// The longest gap between media packets in the interval before, and in the current one. Both are
    /// 0 while the path is not watched, so that the next gap starts the watch.
    gaps_ns: [u64; 2],
    /// The starts of these intervals, and the number of media packets before them.
    starts: [(Mono, u64); 2],
    /// When the silence is checked next; `None` while the path is not watched.
    pub check_at: Option<Mono>,
    pub is_lost: bool,
}

/// The media of a link, for a check of its silence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traffic {
    /// The last media packet from the client.
    pub last_media: Mono,
    /// The number of media packets from the client.
    pub received: u64,
    /// The last media packet that was relayed to the client.
    pub peers: Option<Mono>,
}

/// A change that the caller has to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::turn) enum PathEvent {
    /// Call [`super::LinkMonitor::check`] at this time.
    CheckAt(Mono),
    /// The client is heard again.
    Restored,
}

impl Path {
    pub(super) fn new(now: Mono, received: u64) -> Path {
        Path {
            heard: now,
            gaps_ns: [0; 2],
            starts: [(now, received); 2],
            check_at: None,
            is_lost: false,
        }
    }

    /// Returns the gap above which [`Path::record_gap`] has to be called.
    #[inline(always)]
    pub(super) fn longest_gap_ns(&self) -> u64 {
        self.gaps_ns[1]
    }

    /// Handles the time since the previous media packet from the client. `received` is the number of
    /// media packets from the client.
    pub(super) fn record_gap(
        &mut self,
        gap_ns: u64,
        now: Mono,
        received: u64,
    ) -> Option<PathEvent> {
        if self.is_lost {
            *self = Path::new(now, received);
            return Some(PathEvent::Restored);
        }
        if self.check_at.is_none() {
            *self = Path::new(now, received);
            self.gaps_ns[1] = 1;
            return Some(self.watch(now + SHORTEST_SILENCE));
        }
        self.gaps_ns[1] = self.gaps_ns[1].max(gap_ns);
        None
    }

    fn watch(&mut self, at: Mono) -> PathEvent {
        self.check_at = Some(at);
        PathEvent::CheckAt(at)
    }

    /// Checks the silence. Returns true if the path is lost since this check.
    pub(super) fn check(&mut self, now: Mono, traffic: Traffic) -> bool {
        if self.check_at.is_none_or(|at| at > now) {
            return false;
        }
        let heard = self.heard.max(traffic.last_media);
        let silent = now.since(heard);
        let tolerated = self.longest_tolerated_silence();
        let is_lost = silent >= tolerated
            && self.was_active(traffic)
            && peers_continue(now, heard, traffic.peers);
        let is_new = is_lost && !self.is_lost;
        self.is_lost |= is_lost;
        self.check_at = if silent < tolerated {
            Some(heard + tolerated)
        } else if self.is_lost || silent > LONGEST_WATCH {
            None
        } else {
            Some(now + RECHECK)
        };
        if now.since(self.starts[1].0) >= INTERVAL {
            self.start_interval(now, traffic.received);
        }
        if self.check_at.is_none() || self.is_lost {
            // The next gap of any length is handled.
            self.gaps_ns[1] = 0;
        }
        is_new
    }

    /// Records that data of the client has come from another port. Returns true if the path is lost by
    /// that: the client was active, and has been silent for longer than usual.
    pub(super) fn record_rebinding(&mut self, now: Mono, traffic: Traffic) -> bool {
        let silent = now.since(self.heard.max(traffic.last_media));
        let longest = Duration::from_nanos(self.gaps_ns[0].max(self.gaps_ns[1]));
        let is_lost = !self.is_lost
            && silent >= SHORTEST_SILENCE_AFTER_REBINDING.max(2 * longest)
            && self.was_active(traffic);
        if is_lost {
            self.is_lost = true;
            self.gaps_ns[1] = 0;
        }
        is_lost
    }

    fn start_interval(&mut self, now: Mono, received: u64) {
        self.starts = [self.starts[1], (now, received)];
        self.gaps_ns = [self.gaps_ns[1], 1];
    }

    fn longest_tolerated_silence(&self) -> Duration {
        let [before, now] = self.gaps_ns;
        SHORTEST_SILENCE.max(GAPS * Duration::from_nanos(before.max(now)))
    }

    /// Returns whether the client was sending media at a steady rate until it was heard last.
    fn was_active(&self, traffic: Traffic) -> bool {
        let (start, before) = self.starts[0];
        let time = traffic.last_media.since(start);
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let packets = traffic.received.saturating_sub(before);
        time >= SHORTEST_RATE && packets.saturating_mul(1000) / ms > MIN_PACKETS_PER_SECOND
    }
}

/// Returns whether the peers still send to a client that was heard last at `heard`.
fn peers_continue(now: Mono, heard: Mono, peers: Option<Mono>) -> bool {
    peers.is_some_and(|peers| {
        peers >= heard + PEERS_CONTINUE && now.since(peers) <= PEERS_ARE_ACTIVE
    })
}
