//! The certificate as `parlor status` shows it.

use serde_json::{Value, json};

use crate::clock;
use crate::storage::utc;
use crate::tls::CertificateStatus;

pub(super) fn json(status: &CertificateStatus) -> Value {
    let failure = status.renewal_failure.as_ref();
    json!({
        "from": status.validity.map(|validity| utc_text(validity.from)),
        "until": status.validity.map(|validity| utc_text(validity.until)),
        "sha256": status.fingerprint,
        "trouble": failure.map(|failure| &failure.reason),
        "next_attempt": failure.map(|failure| utc::format(failure.next)),
    })
}

pub(super) fn text(status: &CertificateStatus) -> String {
    let now = clock::now().unix;
    let held = match status.validity {
        None => "none yet".to_owned(),
        Some(held) if held.is_expired(now) => format!("expired at {}", utc_text(held.until)),
        Some(held) if held.is_not_yet_valid(now) => {
            format!("not valid before {}", utc_text(held.from))
        }
        Some(held) => format!("until {}", utc_text(held.until)),
    };
    match &status.renewal_failure {
        None => held,
        Some(failure) => {
            let next = utc::format(failure.next);
            format!(
                "{held}; the last attempt failed: {}; next attempt at {next}, or now with `parlor \
                 reload`",
                failure.reason
            )
        }
    }
}

/// Returns why clients reject TLS: the certificate is missing or not valid now.
pub(super) fn unusable_reason(status: &CertificateStatus) -> Option<&'static str> {
    let now = clock::now().unix;
    match status.validity {
        None => Some("there is no certificate yet"),
        Some(held) if held.is_expired(now) => Some("the certificate has expired"),
        Some(held) if held.is_not_yet_valid(now) => Some("the certificate is not valid yet"),
        Some(_) => None,
    }
}

fn utc_text(unix: i64) -> String {
    utc::format(u64::try_from(unix).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{RenewalFailure, Validity};

    fn status(validity: Option<(i64, i64)>) -> CertificateStatus {
        CertificateStatus {
            validity: validity.map(|(from, until)| Validity { from, until }),
            fingerprint: None,
            renewal_failure: None,
        }
    }

    #[test]
    fn the_status_shows_the_validity_of_a_certificate_and_the_last_error() {
        let far = 40_000_000_000;
        assert_eq!(text(&status(Some((0, far)))), "until 3237-07-19T23:06:40Z");
        assert_eq!(
            text(&status(Some((0, 1)))),
            "expired at 1970-01-01T00:00:01Z"
        );
        let message = text(&status(Some((far, far))));
        assert_eq!(message, "not valid before 3237-07-19T23:06:40Z");
        let mut none = status(None);
        assert_eq!(text(&none), "none yet");
        assert_eq!(unusable_reason(&none), Some("there is no certificate yet"));
        let over = unusable_reason(&status(Some((0, 1))));
        assert_eq!(over, Some("the certificate has expired"));
        assert_eq!(unusable_reason(&status(Some((0, far)))), None);
        none.renewal_failure = Some(RenewalFailure {
            reason: "connection timed out".to_owned(),
            next: 60,
        });
        let message = "none yet; the last attempt failed: connection timed out; next attempt at 1970-01-01T00:01:00Z, or now with `parlor reload`";
        assert_eq!(text(&none), message);
        assert_eq!(json(&none)["next_attempt"], "1970-01-01T00:01:00Z");
    }
}
