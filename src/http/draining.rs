//! The HTTP side of a drain: new users are rejected until the next server runs; existing users stay.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::App;
use super::error::Error;

/// `Retry-After` in seconds. A restart takes about this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl App {
    /// Accepts no new connection and no new allocation. Those that exist continue.
    pub fn drain(&self) {
        self.hub.drain();
        self.relay.drain();
    }

    /// The reason why a draining server is not ready.
    pub(super) fn draining(&self) -> Option<&'static str> {
        self.hub.is_draining().then_some("draining")
    }

    /// Rejects a request of a new user.
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
