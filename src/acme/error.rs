//! The error of an order.

use std::fmt::Display;

use instant_acme::{Error, Problem};

use super::error_text;
use super::schedule::Failure;

/// Characters of a reason: the response of an authority may contain a whole page.
const MAX_REASON_CHARS: usize = 500;

/// Why an order failed.
#[derive(Debug)]
pub(super) struct OrderError {
    pub failure: Failure,
    /// A sentence without its full stop, on one line.
    pub reason: String,
    /// Whether the authority does not know the account.
    pub account_unknown: bool,
}

impl OrderError {
    pub(super) fn new(failure: Failure, reason: &str) -> OrderError {
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        let reason = reason
            .chars()
            .take(MAX_REASON_CHARS)
            .map(printable)
            .collect();
        OrderError {
            failure,
            reason,
            account_unknown: false,
        }
    }

    pub(super) fn timed_out() -> OrderError {
        let reason = "the authority does not answer in time";
        OrderError::new(Failure::Unreachable, reason)
    }

    /// An error on this side, perhaps temporary.
    pub(super) fn local(error: impl Display) -> OrderError {
        OrderError::new(Failure::Unreachable, &error.to_string())
    }

    /// An error that the authority reported.
    pub(super) fn from_problem(problem: &Problem) -> OrderError {
        let kind = problem.r#type.as_deref().unwrap_or("no type");
        let kind = kind.trim_start_matches("urn:ietf:params:acme:error:");
        let details = [problem.detail.clone()].into_iter().flatten();
        let details = details.chain(problem.subproblems.iter().map(ToString::to_string));
        let details: Vec<_> = details.collect();
        let reason = format!("the authority says: {} ({kind})", details.join("; "));
        OrderError {
            account_unknown: kind == "accountDoesNotExist",
            ..OrderError::new(failure(kind), &reason)
        }
    }
}

/// Classifies a problem document by its type. A nonce that was rejected three times in a row and an
/// internal error of the authority are independent of the order (RFC 8555 §6.5 and §6.7).
fn failure(kind: &str) -> Failure {
    match kind {
        "badNonce" | "serverInternal" => Failure::Unreachable,
        "rateLimited" => Failure::RateLimited,
        _ => Failure::Rejected,
    }
}

impl From<Error> for OrderError {
    fn from(error: Error) -> OrderError {
        match &error {
            Error::Api(problem) => OrderError::from_problem(problem),
            Error::Timeout(_) => {
                OrderError::new(Failure::Rejected, "the authority does not decide in time")
            }
            error => {
                let reason = format!(
                    "the certificate authority cannot be reached: {}",
                    error_text::describe(error)
                );
                OrderError::new(Failure::Unreachable, &reason)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        let text = serde_json::json!({ "type": kind, "detail": detail });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let detail = "no\n\x1b[31m such domain ".to_owned() + &"x".repeat(10_000);
        let error: OrderError =
            Error::Api(problem("urn:ietf:params:acme:error:dns", &detail)).into();
        assert_eq!(error.failure, Failure::Rejected);
        assert!(!error.reason.contains(|c: char| c.is_control()));
        assert_eq!(error.reason.chars().count(), MAX_REASON_CHARS);
        assert!(
            error
                .reason
                .starts_with("the authority says: no  [31m such domain")
        );
    }

    #[test]
    fn a_rejected_nonce_does_not_count_as_a_rejected_order() {
        for (kind, failure) in [
            ("badNonce", Failure::Unreachable),
            ("serverInternal", Failure::Unreachable),
            ("rejectedIdentifier", Failure::Rejected),
            ("rateLimited", Failure::RateLimited),
        ] {
            let kind = format!("urn:ietf:params:acme:error:{kind}");
            let error = OrderError::from(Error::Api(problem(&kind, "")));
            assert_eq!(error.failure, failure, "{kind}");
        }
    }

    #[test]
    fn only_an_unknown_account_is_reported_as_unknown() {
        let kind = "urn:ietf:params:acme:error:accountDoesNotExist";
        assert!(OrderError::from(Error::Api(problem(kind, ""))).account_unknown);
        let kind = "urn:ietf:params:acme:error:rateLimited";
        assert!(!OrderError::from(Error::Api(problem(kind, ""))).account_unknown);
        assert!(!OrderError::from(Error::Timeout(None)).account_unknown);
    }
}
