//! Requests a certificate until there is one, and renews it at two thirds of its life.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::block_in_place;

use crate::clock;
use crate::data_dir::{DataDir, DataDirError};
use crate::tls::{CertResolver, Identity};

use super::attempt::{ATTEMPT_TIMEOUT, unusable_reason};
use super::error::OrderError;
use super::order::{self, Answers};
use super::report;
use super::schedule::{self, Backoff, Failure};
use super::settings::AcmeSettings;
use super::storage::AcmeStorage;

/// The longest sleep: clocks are set, and machines are suspended.
const MAX_SLEEP: Duration = Duration::from_secs(3600);

/// Requests the first certificate, and renews it.
pub struct Renewer<R> {
    resolver: Arc<CertResolver>,
    data_dir: DataDir,
    /// From 0 to below 1.
    random: R,
    backoff: Backoff,
    /// The earliest next attempt after a failure, in Unix seconds.
    retry: u64,
    /// The stored certificate, and when it is renewed.
    renewal: Option<(Identity, u64)>,
    /// The directory and its last certificate since the start, even if it could not be stored.
    issued: Option<(String, Identity)>,
    /// Whether tls-alpn-01 is tried before http-01.
    tls_alpn_first: bool,
}

/// The certificate that is kept for what is settings, if there is one.
///
/// # Errors
/// The file cannot be read.
pub fn stored_certificate(
    data_dir: &DataDir,
    settings: &AcmeSettings,
) -> Result<Option<Identity>, DataDirError> {
    AcmeStorage::new(data_dir, &settings.directory).certificate()
}

impl<R: FnMut() -> f64> Renewer<R> {
    pub fn new(resolver: Arc<CertResolver>, data_dir: DataDir, random: R) -> Renewer<R> {
        Renewer {
            resolver,
            data_dir,
            random,
            backoff: Backoff::default(),
            retry: 0,
            renewal: None,
            issued: None,
            tls_alpn_first: true,
        }
    }

    /// Runs forever. Reads `settings` before each step; `reloaded` ends a wait.
    pub async fn run(mut self, settings: impl Fn() -> AcmeSettings, reloaded: Arc<Notify>) {
        loop {
            let settings = settings();
            let now = clock::now().unix;
            let due = self.due(&settings).max(self.retry);
            if due <= now {
                self.attempt(&settings).await;
                continue;
            }
            let wait = Duration::from_secs(due - now).min(MAX_SLEEP);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // An admin may have fixed the cause.
                () = reloaded.notified() => self.retry = 0,
            }
        }
    }

    /// Returns when to request a certificate, in Unix seconds: 0 if no certificate covers all domains.
    fn due(&mut self, settings: &AcmeSettings) -> u64 {
        let kept = block_in_place(|| stored_certificate(&self.data_dir, settings));
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "stored certificate is unusable: requesting a new one");
            None
        });
        let issued = self.issued.as_ref();
        let issued = issued.filter(|(directory, _)| *directory == settings.directory);
        let issued = issued.map(|(_, identity)| identity.clone());
        let met = issued.or(kept).filter(|held| settings.covered_by(held));
        let Some(kept) = met else {
            return 0;
        };
        if self.resolver.identity().as_ref() != Some(&kept) {
            self.resolver.swap(&kept);
        }
        match &self.renewal {
            Some((known, due)) if *known == kept => *due,
            _ => {
                let due = schedule::renewal(kept.validity(), (self.random)());
                self.renewal = Some((kept, due));
                due
            }
        }
    }

    async fn attempt(&mut self, settings: &AcmeSettings) {
        let result =
            tokio::time::timeout(ATTEMPT_TIMEOUT, self.request_certificate(settings)).await;
        // An attempt that timed out has not removed its challenges.
        self.resolver.clear_challenges();
        let result = result.unwrap_or_else(|_| Err(OrderError::timed_out()));
        match result {
            Ok(identity) => self.install(settings, identity),
            Err(error) => self.schedule_retry(error),
        }
    }

    async fn request_certificate(&self, settings: &AcmeSettings) -> Result<Identity, OrderError> {
        let storage = AcmeStorage::new(&self.data_dir, &settings.directory);
        let kinds = report::begin_attempt(settings, self.tls_alpn_first);
        let account = order::account(settings, &storage).await?;
        let answers = Answers::Local(&self.resolver);
        let pem = order::certificate(settings, &account, &answers, &kinds).await;
        if pem.as_ref().is_err_and(|error| error.account_unknown) {
            block_in_place(|| storage.delete_account());
        }
        storage.store_certificate(pem?)
    }

    fn install(&mut self, settings: &AcmeSettings, identity: Identity) {
        self.resolver.swap(&identity);
        report::log_issued(&identity);
        let unusable = unusable_reason(settings, &identity);
        self.issued = Some((settings.directory.clone(), identity));
        if let Some(error) = unusable {
            self.schedule_retry(error);
            return;
        }
        self.backoff = Backoff::default();
        self.retry = 0;
    }

    fn schedule_retry(&mut self, error: OrderError) {
        let wait = self.backoff.failed(error.failure, (self.random)());
        self.retry = clock::now().unix.saturating_add(wait.as_secs());
        if error.failure == Failure::Rejected {
            self.tls_alpn_first = !self.tls_alpn_first;
        }
        report::record_failure(&self.resolver, error.reason, self.retry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::tls;

    const DIRECTORY: &str = "https://ca.example/dir";

    fn settings(domains: &[&str]) -> AcmeSettings {
        AcmeSettings {
            domains: domains.iter().map(|name| (*name).to_owned()).collect(),
            directory: DIRECTORY.to_owned(),
            contact: None,
            ca_file: None,
        }
    }

    /// Valid for 90 days from so many days before now.
    fn issued(domain: &str, days_ago: u64) -> Secret {
        let from = clock::now().unix - days_ago * 24 * 3600;
        Secret::new(tls::self_signed(&[domain.to_owned()], from, 90).unwrap())
    }

    fn renewer(place: &tempfile::TempDir) -> Renewer<impl FnMut() -> f64> {
        let data_dir = DataDir::open(place.path()).unwrap();
        Renewer::new(Arc::default(), data_dir, || 0.0)
    }

    #[test]
    fn a_stored_certificate_is_used_until_its_renewal_and_for_its_own_authority_alone() {
        let place = tempfile::tempdir().unwrap();
        let mut renewer = renewer(&place);
        let mut settings = settings(&["talk.example.org"]);
        assert_eq!(renewer.due(&settings), 0);
        let storage = AcmeStorage::new(&renewer.data_dir, DIRECTORY);
        let kept = storage
            .store_certificate(issued("talk.example.org", 10))
            .unwrap();
        let due = renewer.due(&settings);
        let days = (due - clock::now().unix) as f64 / 86_400.0;
        assert!((49.0..51.0).contains(&days), "{days}");
        assert_eq!(renewer.resolver.identity(), Some(kept));
        settings.domains.push("turn.example.org".to_owned());
        assert_eq!(renewer.due(&settings), 0);
        settings.domains.pop();
        settings.directory = "https://other.example/dir".to_owned();
        assert_eq!(renewer.due(&settings), 0);
    }

    #[test]
    fn a_certificate_that_could_not_be_stored_is_not_requested_again() {
        let place = tempfile::tempdir().unwrap();
        let mut renewer = renewer(&place);
        let settings = settings(&["talk.example.org"]);
        let identity = tls::parse(issued("talk.example.org", 0).expose()).unwrap();
        renewer.install(&settings, identity);
        assert!(renewer.due(&settings) > clock::now().unix + 50 * 24 * 3600);
    }

    #[test]
    fn an_unusable_certificate_is_not_requested_again_at_once() {
        for (domain, days_ago) in [("other.example.org", 0), ("talk.example.org", 80)] {
            let place = tempfile::tempdir().unwrap();
            let mut renewer = renewer(&place);
            let settings = settings(&["talk.example.org"]);
            let identity = tls::parse(issued(domain, days_ago).expose()).unwrap();
            let now = clock::now().unix;
            renewer.install(&settings, identity.clone());
            renewer.install(&settings, identity);
            assert!(renewer.retry >= now + 300, "{domain}");
            assert!(renewer.resolver.status().renewal_failure.is_some());
        }
    }
}
