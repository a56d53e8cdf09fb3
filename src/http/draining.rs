//! The HTTP side of a drain: newcomers are sent to the next server, and whoever is inside stays.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::App;
use super::exchange::Error;

/// How long a client is asked to wait before it tries again. A restart takes about this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl App {
    /// Accepts no new connection and no new allocation. Those that exist continue.
    pub fn drain(&self) {
        self.hub.drain();
        self.relay.drain();
    }

    /// What keeps a draining server from being fit for traffic.
    pub(super) fn draining(&self) -> Option<&'static str> {
        self.hub.is_draining().then_some("draining")
    }

    /// Rejects a request that would let somebody in.
    ///
    /// # Errors
    /// 503 with `Retry-After` while the server drains.
    pub(super) fn accepts_newcomers(&self) -> Result<(), Error> {
        if !self.hub.is_draining() {
            return Ok(());
        }
        let error = Error::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "draining",
            "The server is about to stop and lets nobody in; try again in a moment",
        );
        Err(error.with(
            header::RETRY_AFTER,
            HeaderValue::from(RETRY_AFTER.as_secs()),
        ))
    }
}
