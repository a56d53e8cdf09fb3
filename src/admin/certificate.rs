//! How `parlor status` tells of the certificate.

use serde_json::{Value, json};

use crate::clock;
use crate::storage::utc;
use crate::tls::Standing;

pub fn json(standing: &Standing) -> Value {
    let trouble = standing.trouble.as_ref();
    json!({
        "from": standing.validity.map(|validity| utc_text(validity.from)),
        "until": standing.validity.map(|validity| utc_text(validity.until)),
        "sha256": standing.fingerprint,
        "trouble": trouble.map(|trouble| &trouble.reason),
        "next_attempt": trouble.map(|trouble| utc::text(trouble.next)),
    })
}

pub fn text(standing: &Standing) -> String {
    let now = clock::now().unix;
    let held = match standing.validity {
        None => "none yet".to_owned(),
        Some(held) if held.is_over(now) => format!("expired at {}", utc_text(held.until)),
        Some(held) if held.is_to_come(now) => format!("not valid before {}", utc_text(held.from)),
        Some(held) => format!("until {}", utc_text(held.until)),
    };
    match &standing.trouble {
        None => held,
        Some(trouble) => {
            let next = utc::text(trouble.next);
            format!(
                "{held}; the last attempt failed: {}; the next one is at {next}, or at once by \
                 `parlor reload`",
                trouble.reason
            )
        }
    }
}

/// Returns why clients reject TLS: the certificate is missing or not valid now.
pub fn unusable_reason(standing: &Standing) -> Option<&'static str> {
    let now = clock::now().unix;
    match standing.validity {
        None => Some("there is no certificate yet"),
        Some(held) if held.is_over(now) => Some("the certificate has expired"),
        Some(held) if held.is_to_come(now) => Some("the certificate is not valid yet"),
        Some(_) => None,
    }
}

fn utc_text(unix: i64) -> String {
    utc::text(u64::try_from(unix).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{Trouble, Validity};

    fn standing(validity: Option<(i64, i64)>) -> Standing {
        Standing {
            validity: validity.map(|(from, until)| Validity { from, until }),
            fingerprint: None,
            trouble: None,
        }
    }

    #[test]
    fn it_is_told_from_when_until_when_a_certificate_is_valid_and_what_is_wrong() {
        let far = 40_000_000_000;
        assert_eq!(
            text(&standing(Some((0, far)))),
            "until 3237-07-19T23:06:40Z"
        );
        assert_eq!(
            text(&standing(Some((0, 1)))),
            "expired at 1970-01-01T00:00:01Z"
        );
        let message = text(&standing(Some((far, far))));
        assert_eq!(message, "not valid before 3237-07-19T23:06:40Z");
        let mut none = standing(None);
        assert_eq!(text(&none), "none yet");
        assert_eq!(unusable_reason(&none), Some("there is no certificate yet"));
        let over = unusable_reason(&standing(Some((0, 1))));
        assert_eq!(over, Some("the certificate has expired"));
        assert_eq!(unusable_reason(&standing(Some((0, far)))), None);
        none.trouble = Some(Trouble {
            reason: "nobody answers".to_owned(),
            next: 60,
        });
        let message = "none yet; the last attempt failed: nobody answers; the next one is at 1970-01-01T00:01:00Z, or at once by `parlor reload`";
        assert_eq!(text(&none), message);
        assert_eq!(json(&none)["next_attempt"], "1970-01-01T00:01:00Z");
    }
}
