//! Certificates of several processes with one database: one orders, all answer challenges and use the certificate.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::clock;
use crate::secret::Secret;
use crate::storage::{AcmeChallenge, AcmeResult, AcmeState, StoreError};
use crate::tls::{self, CertResolver, Identity, RenewalFailure};

use super::attempt::{ATTEMPT_TIMEOUT, SavedFailures, unusable_reason};
use super::error::OrderError;
use super::lease::{self, LEASE};
use super::order::{self, Answers};
use super::report;
use super::schedule::{self, Failure};
use super::settings::AcmeSettings;
use super::shared_answers::{SharedAnswers, answer};
use super::shared_storage::SharedStorage;

/// Interval of reading challenges and the version of the certificate.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Requests and renews the certificate of all processes, in turn with the others.
pub struct SharedRenewer<R> {
    storage: SharedStorage,
    resolver: Arc<CertResolver>,
    /// From 0 to below 1.
    random: R,
    /// Identifies this process.
    holder: String,
    /// The scope and version of the last certificate that was read.
    seen: (String, Option<i64>),
    /// The certificate for the settings, and when it is renewed in Unix seconds.
    held: Option<(Identity, u64)>,
    challenges: Vec<AcmeChallenge>,
    failure: Option<(String, u64)>,
}

impl<R: FnMut() -> f64> SharedRenewer<R> {
    pub fn new(storage: SharedStorage, resolver: Arc<CertResolver>, random: R) -> SharedRenewer<R> {
        SharedRenewer {
            storage,
            resolver,
            random,
            holder: Uuid::new_v4().to_string(),
            seen: (String::new(), None),
            held: None,
            challenges: Vec::new(),
            failure: None,
        }
    }

    /// Runs forever. Reads `settings` before each step. After `reloaded`, an attempt does not wait, and `secrets` returns
    /// the secrets of the stored values, the current one first, if they can be read.
    pub async fn run(
        mut self,
        settings: impl Fn() -> AcmeSettings,
        secrets: impl Fn() -> Option<Vec<Secret>>,
        reloaded: Arc<Notify>,
    ) {
        let mut ignore_wait = false;
        loop {
            if ignore_wait && let Some(secrets) = secrets() {
                self.storage.set_secrets(secrets);
            }
            let settings = settings();
            // The store logs that its server does not answer.
            if let Ok(state) = self.follow(&settings).await
                && self.is_due()
                && (state.may_order || ignore_wait)
            {
                self.order(&settings, ignore_wait).await;
            }
            ignore_wait = tokio::select! {
                () = tokio::time::sleep(POLL_INTERVAL) => false,
                // An admin may have fixed the cause.
                () = reloaded.notified() => true,
            };
        }
    }

    /// Answers the challenges of all processes, and uses the newest certificate.
    async fn follow(&mut self, settings: &AcmeSettings) -> Result<AcmeState, StoreError> {
        let scope = self.storage.certificate_scope(settings);
        let state = self.storage.acme.state(&scope).await?;
        if state.challenges != self.challenges {
            self.resolver.clear_challenges();
            if let Err(error) = answer(&self.resolver, &state.challenges) {
                tracing::error!(reason = error.reason, "ACME challenge cannot be answered");
            }
            self.challenges.clone_from(&state.challenges);
        }
        if (&self.seen.0, self.seen.1) != (&scope, state.certificate) {
            let stored = self.storage.stored(settings).await?;
            self.held = stored.map(|identity| {
                if self.resolver.identity().as_ref() != Some(&identity) {
                    self.resolver.swap(&identity);
                    report::log_loaded(&identity);
                }
                let due = schedule::renewal(identity.validity(), (self.random)());
                (identity, due)
            });
            self.seen = (scope, state.certificate);
        }
        if state.failure != self.failure {
            self.failure.clone_from(&state.failure);
            if let Some((reason, next)) = state.failure.clone() {
                self.resolver
                    .set_renewal_failure(RenewalFailure { reason, next });
            }
        }
        Ok(state)
    }

    fn is_due(&self) -> bool {
        match &self.held {
            Some((_, due)) => *due <= clock::now().unix,
            None => true,
        }
    }

    /// Orders a certificate, unless another process does.
    async fn order(&mut self, settings: &AcmeSettings, ignore_wait: bool) {
        let (scope, acme) = (
            self.storage.certificate_scope(settings),
            self.storage.acme.clone(),
        );
        let requested_at = Instant::now();
        let begun = acme.begin_order(&scope, &self.holder, LEASE, ignore_wait);
        let Ok(Some(backoff)) = begun.await else {
            return;
        };
        let mut failures = SavedFailures::parse(backoff.as_deref());
        // Another process may have ended its order since the last poll.
        match acme.state(&scope).await {
            Ok(state) if state.certificate == self.seen.1 => {}
            Ok(_) => {
                self.end(&scope, AcmeResult::default()).await;
                return;
            }
            Err(_) => return,
        }
        let attempt = self.request(settings, &scope, failures.tls_alpn_first());
        let issued = tokio::select! {
            issued = tokio::time::timeout(ATTEMPT_TIMEOUT, attempt) => Some(issued),
            () = lease::keep(requested_at, || acme.extend_order(&scope, &self.holder, LEASE)) => None,
        };
        self.resolver.clear_challenges();
        self.challenges.clear();
        let issued = match issued {
            Some(Ok(issued)) => issued,
            Some(Err(_)) => Err(OrderError::timed_out()),
            None => {
                log_abandoned();
                return;
            }
        };
        let (sealed, unusable) = match issued {
            Ok((identity, sealed)) => {
                self.resolver.swap(&identity);
                report::log_issued(&identity);
                (Some(sealed), unusable_reason(settings, &identity))
            }
            Err(error) => (None, Some(error)),
        };
        let failure = unusable.map(|error| {
            let wait = failures.failed(error.failure, (self.random)());
            let retry = clock::now().unix.saturating_add(wait.as_secs());
            report::record_failure(&self.resolver, error.reason.clone(), retry);
            (wait, failures.to_text(), error.reason)
        });
        let failure = failure.as_ref();
        let result = AcmeResult {
            certificate: sealed.as_deref(),
            failure: failure.map(|(wait, failures, reason)| (*wait, &**failures, &**reason)),
        };
        self.end(&scope, result).await;
    }

    /// Returns the certificate, and its encrypted form.
    async fn request(
        &self,
        settings: &AcmeSettings,
        scope: &str,
        tls_alpn_first: bool,
    ) -> Result<(Identity, Vec<u8>), OrderError> {
        let kinds = report::begin_attempt(settings, tls_alpn_first);
        let kept = self.storage.account(settings).await?;
        let (account, created) = order::open_account(settings, kept).await?;
        if let Some(created) = created {
            self.storage.set_account(settings, &created).await?;
        }
        let answers = Answers::Shared(SharedAnswers {
            acme: &self.storage.acme,
            resolver: &self.resolver,
            scope,
            holder: &self.holder,
        });
        let pem = order::certificate(settings, &account, &answers, &kinds).await;
        if pem.as_ref().is_err_and(|error| error.account_unknown) {
            self.storage.delete_account(settings).await?;
        }
        let pem = pem?;
        let identity = tls::parse(pem.expose()).map_err(|why| {
            let reason = format!("the response of the authority {why}");
            OrderError::new(Failure::Rejected, &reason)
        })?;
        Ok((identity, self.storage.seal(scope, &pem)?))
    }

    /// Ends the order, and stores its result, unless another process has taken over. An issued certificate waits for the
    /// database, however long that is away: authorities count certificates. The end of an order without one does not: its
    /// lease ends it.
    async fn end(&self, scope: &str, result: AcmeResult<'_>) {
        let mut is_reported = false;
        loop {
            match self
                .storage
                .acme
                .end_order(scope, &self.holder, result)
                .await
            {
                Ok(true) => return,
                Ok(false) => {
                    log_abandoned();
                    return;
                }
                Err(error) if result.certificate.is_none() => {
                    tracing::debug!(%error, "the end of a certificate order could not be stored");
                    return;
                }
                Err(error) if !is_reported => {
                    tracing::error!(%error, "certificate could not be stored");
                    is_reported = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }
}

fn log_abandoned() {
    tracing::warn!("certificate order abandoned: its lease in the database ended");
}
