//! Parts of both ways of renewal: the timeout of an attempt, and the consequences of its result.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::tls::Identity;

use super::error::OrderError;
use super::schedule::{self, Backoff, Failure};
use super::settings::AcmeSettings;

/// For a whole attempt: an authority may accept connections and not respond.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(180);

/// Why an issued certificate cannot be used; `None` if it can. It is not requested again at once: authorities count
/// issued certificates.
pub(super) fn unusable_reason(settings: &AcmeSettings, identity: &Identity) -> Option<OrderError> {
    let reason = if !settings.covered_by(identity) {
        "the authority has issued a certificate for other names"
    } else if schedule::renewal(identity.validity(), 1.0) <= clock::now().unix {
        "the issued certificate is already due for renewal: check this host's clock"
    } else {
        return None;
    };
    Some(OrderError::new(Failure::Unusable, reason))
}

/// The failures since the last success, as the database stores them for all processes.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct SavedFailures {
    backoff: Backoff,
    /// Whether http-01 is tried before tls-alpn-01.
    http_first: bool,
}

impl SavedFailures {
    /// Reads what [`SavedFailures::to_text`] returned; there are no failures if an older parlor wrote something else.
    pub(super) fn parse(text: Option<&str>) -> SavedFailures {
        let parsed = text.and_then(|text| serde_json::from_str(text).ok());
        parsed.unwrap_or_default()
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn tls_alpn_first(&self) -> bool {
        !self.http_first
    }

    /// Returns the wait after another failure.
    pub(super) fn failed(&mut self, failure: Failure, jitter: f64) -> Duration {
        if failure == Failure::Rejected {
            self.http_first = !self.http_first;
        }
        self.backoff.failed(failure, jitter)
    }
}
