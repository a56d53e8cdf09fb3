//! The HTTP side of a drain: new users are rejected until the next server runs; existing users stay.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderValue};

use super::error::Error;
use crate::service::App;

/// `Retry-After` in seconds. A restart takes about this long.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Rejects a request for a new token or membership while the server drains.
///
/// # Errors
/// 503 with `Retry-After` while the server drains.
pub(super) fn reject_while_draining(app: &App) -> Result<(), Error> {
    if !app.is_draining() {
        return Ok(());
    }
    let error = Error::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "draining",
        "The server is about to stop and admits no new users; try again in a moment",
    );
    Err(error.with(
        header::RETRY_AFTER,
        HeaderValue::from(RETRY_AFTER.as_secs()),
    ))
}
