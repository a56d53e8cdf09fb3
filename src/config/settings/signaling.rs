//! `[signaling]`

use std::time::Duration;

use super::macros::settings;

settings! {
    /// WebSockets: timeouts, and limits of each connection.
    pub struct Signaling in signaling {
        /// How often a silent client is pinged.
        #[serde(with = "crate::config::duration")]
        ping_interval: Duration = Duration::from_secs(20), Live;

        /// How long a client may take to answer a ping. Then its connection is closed (1011).
        #[serde(with = "crate::config::duration")]
        ping_timeout: Duration = Duration::from_secs(10), Live;

        /// How long a closed connection may take to read its close frame.
        #[serde(with = "crate::config::duration")]
        close_timeout: Duration = Duration::from_secs(10), Live;

        /// The maximum number of bytes in one message; a longer one closes its connection (1009).
        max_message: usize = 256 * 1024, Live;

        /// The maximum number of bytes in the queue of a slow reader, at least `signaling.max_message`. Above
        /// it the reader is closed (4010).
        ///
        /// If several senders share the queue and one of them has the most bytes in it, an eighth of the limit
        /// or more, parlor drops frames of that sender instead.
        max_queue: usize = 1024 * 1024, Live;

        /// Messages of one connection each second, on average.
        rate: u32 = 100, Live;

        /// Burst of messages of one connection.
        burst: u32 = 1000, Live;

        /// Bytes of one connection's messages each second, on average; 0 = unlimited. A connection above the
        /// limit is closed (4008) before it can fill a reader's queue.
        ///
        /// Each message counts with the length that a reader receives, plus 64 bytes.
        byte_rate: u32 = 128 * 1024, Live;

        /// Burst in bytes of one connection's messages: at least `signaling.max_message`, less than
        /// `signaling.max_queue`; 0 = three quarters of `signaling.max_queue`.
        ///
        /// The default is enough for 25 people who send 20 KB to each other within a second.
        byte_burst: usize = 0, Live;

        /// How long a `parlor.v1` client may take to resume its session after its connection was lost; 0 = sessions end
        /// with their connections.
        ///
        /// Until then the client counts as connected. After 3 seconds the others see that it is away.
        #[serde(with = "crate::config::duration")]
        resume_grace: Duration = Duration::from_secs(30), Live;

        /// The maximum number of bytes of frames that are kept for one session until its client has acknowledged them,
        /// at most `signaling.max_queue`. A client that misses more cannot resume.
        resume_buffer: usize = 256 * 1024, Live;

        /// The maximum number of bytes of frames that are kept for all sessions. Above it, the sessions that have kept
        /// frames for the longest time lose them.
        ///
        /// The sessions of one user have an eighth of it, at least `signaling.resume_buffer`. Above that, the oldest
        /// ones of this user lose their frames.
        resume_memory: usize = 64 * 1024 * 1024, Live;
    }
}

impl Signaling {
    /// The effective burst of one connection in bytes. One message always fits.
    pub fn byte_burst(&self) -> usize {
        match self.byte_burst {
            0 => (self.max_queue / 4 * 3).max(self.max_message),
            burst => burst,
        }
    }

    /// The effective limit of the frames that are kept for one session: they pass its queue when it is resumed.
    pub fn resume_buffer(&self) -> usize {
        self.resume_buffer.min(self.max_queue)
    }
}
