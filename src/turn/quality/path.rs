//! Notices that a client's path has died: the client was sending media, has gone silent, and its peers
//! still send to it.

use std::time::Duration;

use crate::clock::Mono;

/// The shortest silence that counts. Opus with discontinuous transmission pauses for 400 ms.
const SHORTEST_SILENCE: Duration = Duration::from_millis(700);

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
    /// The last packet of any kind from the client.
    pub heard: Mono,
    /// The last media packet from the client.
    media: Mono,
    /// The longest gap between media packets and their number, in the current interval and the
    /// one before.
    gaps_ns: [u64; 2],
    packets: [u64; 2],
    /// The starts of the interval before the current one, and of the current one.
    starts: [Mono; 2],
    /// When the silence is checked next; `None` while the path is not watched.
    pub check_at: Option<Mono>,
    /// Whether `check_at` is set and the path is not lost.
    is_watched: bool,
    pub is_lost: bool,
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
    pub(super) fn new(now: Mono) -> Path {
        Path {
            heard: now,
            media: now,
            gaps_ns: [0; 2],
            packets: [0; 2],
            starts: [now; 2],
            check_at: None,
            is_watched: false,
            is_lost: false,
        }
    }

    /// Records a media packet from the client.
    #[inline]
    pub(super) fn record_media(&mut self, now: Mono) -> Option<PathEvent> {
        let gap_ns = now.0.saturating_sub(self.media.0);
        self.media = now;
        self.packets[1] += 1;
        if gap_ns > self.gaps_ns[1] || !self.is_watched {
            return self.record_change(gap_ns, now);
        }
        None
    }

    #[cold]
    fn record_change(&mut self, gap_ns: u64, now: Mono) -> Option<PathEvent> {
        if self.is_lost {
            *self = Path::new(now);
            return Some(PathEvent::Restored);
        }
        if self.check_at.is_none() {
            *self = Path::new(now);
            return Some(self.watch(now + SHORTEST_SILENCE));
        }
        self.gaps_ns[1] = gap_ns;
        None
    }

    fn watch(&mut self, at: Mono) -> PathEvent {
        self.check_at = Some(at);
        self.is_watched = true;
        PathEvent::CheckAt(at)
    }

    /// Checks the silence. Returns true if the path is lost since this check. `peers` is the last
    /// media packet that was relayed to the client.
    pub(super) fn check(&mut self, now: Mono, peers: Option<Mono>) -> bool {
        if self.check_at.is_none_or(|at| at > now) {
            return false;
        }
        if now.since(self.starts[1]) >= INTERVAL {
            self.start_interval(now);
        }
        let silent = now.since(self.heard);
        let due = self.longest_tolerated_silence();
        self.check_at = if silent < due {
            Some(self.heard + due)
        } else if self.is_lost || silent > LONGEST_WATCH {
            None
        } else {
            Some(now + RECHECK)
        };
        let is_lost = silent >= due && self.was_active() && self.peers_continue(now, peers);
        let is_new = is_lost && !self.is_lost;
        self.is_lost |= is_lost;
        self.is_watched = self.check_at.is_some() && !self.is_lost;
        is_new
    }

    fn start_interval(&mut self, now: Mono) {
        self.starts = [self.starts[1], now];
        self.gaps_ns = [self.gaps_ns[1], 0];
        self.packets = [self.packets[1], 0];
    }

    fn longest_tolerated_silence(&self) -> Duration {
        let [before, now] = self.gaps_ns;
        SHORTEST_SILENCE.max(GAPS * Duration::from_nanos(before.max(now)))
    }

    /// Returns whether the client was sending media at a steady rate until it was heard last.
    fn was_active(&self) -> bool {
        let time = self.media.since(self.starts[0]);
        let packets: u64 = self.packets.iter().sum();
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        time >= SHORTEST_RATE && packets.saturating_mul(1000) / ms > MIN_PACKETS_PER_SECOND
    }

    fn peers_continue(&self, now: Mono, peers: Option<Mono>) -> bool {
        peers.is_some_and(|peers| {
            peers >= self.heard + PEERS_CONTINUE && now.since(peers) <= PEERS_ARE_ACTIVE
        })
    }
}
