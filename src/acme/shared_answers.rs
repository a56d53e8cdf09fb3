//! The responses to challenges of an order, by all processes with the same database.

use std::time::Duration;

use crate::storage::{AcmeChallenge, SharedAcme};
use crate::tls::{self, CertResolver};

use super::attempt::ATTEMPT_TIMEOUT;
use super::error::OrderError;
use super::lease::LEASE;
use super::schedule::Failure;

/// The wait before the authority looks for a response, in which the other processes read it. It is only a wait: each
/// process polls once a second, and nothing tells whether all of them did. If the authority reaches one that did not,
/// it rejects the order, and the next attempt comes seconds later, with the other kind of challenge.
const SPREAD_TIME: Duration = Duration::from_secs(4);

/// The responses to challenges of an order, by all processes.
pub(super) struct SharedAnswers<'a> {
    pub(super) acme: &'a SharedAcme,
    pub(super) resolver: &'a CertResolver,
    pub(super) scope: &'a str,
    pub(super) holder: &'a str,
}

impl SharedAnswers<'_> {
    /// Prepares the responses; returns when other processes have had the time to read them.
    pub(super) async fn publish(&self, challenges: &[AcmeChallenge]) -> Result<(), OrderError> {
        answer(self.resolver, challenges)?;
        let added = self
            .acme
            .add_challenges(self.scope, challenges, ATTEMPT_TIMEOUT);
        added.await.map_err(OrderError::local)?;
        tokio::time::sleep(SPREAD_TIME).await;
        self.check_lease().await
    }

    /// # Errors
    /// Another process may order.
    pub(super) async fn check_lease(&self) -> Result<(), OrderError> {
        let extended = self.acme.extend_order(self.scope, self.holder, LEASE);
        if extended.await.map_err(OrderError::local)? {
            return Ok(());
        }
        let reason = "another process has taken over the order";
        Err(OrderError::new(Failure::Unreachable, reason))
    }
}

/// Prepares this process's responses to challenges.
pub(super) fn answer(
    resolver: &CertResolver,
    challenges: &[AcmeChallenge],
) -> Result<(), OrderError> {
    for challenge in challenges {
        let (name, proof) = (&challenge.name, &challenge.key_authorization);
        if challenge.is_tls_alpn {
            let certificate = tls::challenge(name, proof).map_err(OrderError::local)?;
            resolver.add_tls_alpn_challenge(name, certificate);
        } else {
            resolver.add_http_challenge(name, proof);
        }
    }
    Ok(())
}
