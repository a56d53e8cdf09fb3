//! The log lines of attempts.

use instant_acme::ChallengeType;

use crate::clock;
use crate::storage::utc;
use crate::tls::{CertResolver, Identity, RenewalFailure};

use super::settings::AcmeSettings;

/// Returns the challenges in the order in which they are tried, and logs the attempt.
pub(super) fn begin_attempt(settings: &AcmeSettings, tls_alpn_first: bool) -> [ChallengeType; 2] {
    tracing::info!(
        domains = settings.domains.join(" "),
        directory = settings.directory,
        over = if tls_alpn_first {
            "tls-alpn-01"
        } else {
            "http-01"
        },
        "requesting a certificate"
    );
    if tls_alpn_first {
        [ChallengeType::TlsAlpn01, ChallengeType::Http01]
    } else {
        [ChallengeType::Http01, ChallengeType::TlsAlpn01]
    }
}

/// Logs an issued certificate.
pub(super) fn log_issued(identity: &Identity) {
    let (sha256, until) = fields(identity);
    tracing::info!(sha256, until, "certificate issued");
}

/// Logs a certificate that another process ordered.
pub(super) fn log_loaded(identity: &Identity) {
    let (sha256, until) = fields(identity);
    tracing::info!(sha256, until, "certificate loaded from the database");
}

fn fields(identity: &Identity) -> (String, String) {
    let until = u64::try_from(identity.validity().until).unwrap_or(0);
    (identity.fingerprint(), utc::format(until))
}

/// Logs and records a failed attempt. `retry` is the time of the next one, in Unix seconds.
pub(super) fn record_failure(resolver: &CertResolver, reason: String, retry: u64) {
    let next = utc::format(retry);
    let now = clock::now().unix;
    match resolver.status().validity {
        None => tracing::error!(reason, next, "there is no certificate yet"),
        Some(validity) if validity.is_expired(now) => {
            tracing::error!(reason, next, "the certificate has expired");
        }
        Some(_) => tracing::warn!(
            reason,
            next,
            "certificate renewal failed, the old one is still valid"
        ),
    }
    resolver.set_renewal_failure(RenewalFailure {
        reason,
        next: retry,
    });
}
