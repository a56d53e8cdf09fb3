//! The measured values.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The window of recent values is renewed at this interval, and covers between one and two intervals.
pub(super) const WINDOW: Duration = Duration::from_secs(5);

/// The quality of both links of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quality {
    /// From the client to the relay.
    pub up: LinkQuality,
    /// From the relay to the client.
    pub down: LinkQuality,
    /// Between the relay and the client and back: the median of the last five.
    pub round_trip: Option<Duration>,
    /// Whether the client has gone silent in the middle of a call.
    pub path_lost: bool,
}

/// The quality of one link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LinkQuality {
    /// In the last 5 to 10 seconds; `None` without media, and for `down` without reports.
    pub recent: Option<Loss>,
    /// Since the first packet; for `down` since the first report.
    pub total: Option<Loss>,
    /// RFC 3550 section 6.4.1.
    pub jitter: Option<Duration>,
    /// In the last 5 to 10 seconds, in kbit/s of application data.
    pub kbps: u32,
    /// Since the last media packet; `None` before the first.
    pub silent: Option<Duration>,
}

/// Lost packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Loss {
    /// Packets that were sent.
    pub expected: u64,
    /// Those of them that did not arrive.
    pub lost: u64,
}

impl Loss {
    /// Returns the loss in percent.
    pub fn percent(self) -> f64 {
        if self.expected == 0 {
            return 0.0;
        }
        100.0 * self.lost as f64 / self.expected as f64
    }
}
