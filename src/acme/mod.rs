//! A certificate from an authority by ACME (RFC 8555): asked for until there is one, and again at two
//! thirds of its life.
//!
//! What goes over the network is `instant-acme`'s work; this decides when it is done
//! ([`schedule`]), answers challenges through `tls::Current`, and keeps account and certificate in
//! the data directory (`shelf`).

mod order;
mod reason;
pub mod schedule;
mod shelf;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::ChallengeType;
use tokio::sync::Notify;
use tokio::task::block_in_place;

use crate::clock;
use crate::config::{self, Config};
use crate::storage::data_dir::{DataDir, DataDirError};
use crate::storage::utc;
use crate::tls::{Current, Identity, Trouble};

use order::Refused;
use schedule::{Backoff, Failure};
use shelf::Shelf;

/// No wait is longer without another look: clocks are put right, and machines sleep.
const LOOK: Duration = Duration::from_secs(3600);

/// For all of one attempt. An authority that takes connections and says nothing ends here.
const PATIENCE: Duration = Duration::from_secs(180);

/// What is asked for, and of whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Lower case, at least one.
    pub domains: Vec<String>,
    /// The URL of the authority's directory.
    pub directory: String,
    /// An e-mail address.
    pub contact: Option<String>,
    /// The root that vouches for the authority's own certificate, where it is none of the system's.
    pub ca_file: Option<PathBuf>,
}

impl Wanted {
    pub fn of(config: &Config) -> Wanted {
        Wanted {
            domains: config::acme_domains(config),
            directory: config::acme_directory(&config.tls).to_owned(),
            contact: config.tls.acme_contact.clone(),
            ca_file: config.tls.acme_ca_file.clone(),
        }
    }

    fn is_met_by(&self, identity: &Identity) -> bool {
        self.domains.iter().all(|domain| identity.is_for(domain))
    }
}

/// Sees to it that there is a certificate.
pub struct Keeper<R> {
    current: Arc<Current>,
    data_dir: DataDir,
    /// From 0 to below 1.
    random: R,
    backoff: Backoff,
    /// Not before this, in Unix seconds; after a failure.
    retry: u64,
    /// When the certificate that is kept is to be renewed, with its share of chance.
    renewal: Option<(Identity, u64)>,
    /// What a directory has issued since the start, whether the disk took it or not.
    issued: Option<(String, Identity)>,
    /// Whether the domains are proven over TLS first.
    by_tls: bool,
}

/// The certificate that is kept for what is wanted, if there is one.
///
/// # Errors
/// It can't be read.
pub fn kept(data_dir: &DataDir, wanted: &Wanted) -> Result<Option<Identity>, DataDirError> {
    Shelf::new(data_dir, &wanted.directory).certificate()
}

impl<R: FnMut() -> f64> Keeper<R> {
    pub fn new(current: Arc<Current>, data_dir: DataDir, random: R) -> Keeper<R> {
        Keeper {
            current,
            data_dir,
            random,
            backoff: Backoff::default(),
            retry: 0,
            renewal: None,
            issued: None,
            by_tls: true,
        }
    }

    /// Goes on for ever. `wanted` is asked each time, and `reloaded` ends a wait.
    pub async fn run(mut self, wanted: impl Fn() -> Wanted, reloaded: Arc<Notify>) {
        loop {
            let wanted = wanted();
            let now = clock::now().unix;
            let due = self.due(&wanted).max(self.retry);
            if due <= now {
                self.attempt(&wanted).await;
                continue;
            }
            let wait = Duration::from_secs(due - now).min(LOOK);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Somebody may have mended what was wrong.
                () = reloaded.notified() => self.retry = 0,
            }
        }
    }

    /// When a certificate is to be asked for, in Unix seconds: at once where none is kept that is for
    /// all domains.
    fn due(&mut self, wanted: &Wanted) -> u64 {
        let kept = block_in_place(|| kept(&self.data_dir, wanted));
        let kept = kept.unwrap_or_else(|error| {
            tracing::error!(%error, "the kept certificate can't be used: another is asked for");
            None
        });
        let issued = self.issued.as_ref();
        let issued = issued.filter(|(directory, _)| *directory == wanted.directory);
        let issued = issued.map(|(_, identity)| identity.clone());
        let met = issued.or(kept).filter(|held| wanted.is_met_by(held));
        let Some(kept) = met else {
            return 0;
        };
        if self.current.identity().as_ref() != Some(&kept) {
            self.current.swap(&kept);
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

    async fn attempt(&mut self, wanted: &Wanted) {
        tracing::info!(
            domains = wanted.domains.join(" "),
            directory = wanted.directory,
            over = if self.by_tls {
                "tls-alpn-01"
            } else {
                "http-01"
            },
            "asking for a certificate"
        );
        let asked = tokio::time::timeout(PATIENCE, self.ask(wanted)).await;
        // One that ran out of time ends nothing by itself.
        self.current.end_challenges();
        let asked = asked.unwrap_or_else(|_| {
            let reason = "the authority does not answer in time";
            Err(Refused::new(Failure::Unreachable, reason))
        });
        match asked {
            Ok(identity) => self.take(wanted, identity),
            Err(refused) => self.give_up_for_now(refused),
        }
    }

    async fn ask(&self, wanted: &Wanted) -> Result<Identity, Refused> {
        let shelf = Shelf::new(&self.data_dir, &wanted.directory);
        let kinds = match self.by_tls {
            true => [ChallengeType::TlsAlpn01, ChallengeType::Http01],
            false => [ChallengeType::Http01, ChallengeType::TlsAlpn01],
        };
        let account = order::account(wanted, &shelf).await?;
        let pem = order::certificate(wanted, &account, &self.current, &kinds).await;
        if pem.as_ref().is_err_and(|refused| refused.forgotten) {
            block_in_place(|| shelf.forget_account());
        }
        shelf.keep_certificate(pem?)
    }

    fn take(&mut self, wanted: &Wanted, identity: Identity) {
        let validity = identity.validity();
        let until = u64::try_from(validity.until).unwrap_or(0);
        let (sha256, until) = (identity.fingerprint(), utc::text(until));
        self.current.swap(&identity);
        tracing::info!(sha256, until, "a certificate was issued");
        let is_met = wanted.is_met_by(&identity);
        self.issued = Some((wanted.directory.clone(), identity));
        // What would be asked for again at once must not be: the authority counts.
        let useless = if !is_met {
            "the authority has issued a certificate for other names"
        } else if schedule::renewal(validity, 1.0) <= clock::now().unix {
            "the certificate that was issued is to be renewed already: is this host's clock right?"
        } else {
            self.backoff = Backoff::default();
            self.retry = 0;
            return;
        };
        self.give_up_for_now(Refused::new(Failure::Useless, useless));
    }

    fn give_up_for_now(&mut self, refused: Refused) {
        let wait = self.backoff.failed(refused.failure, (self.random)());
        self.retry = clock::now().unix.saturating_add(wait.as_secs());
        if refused.failure == Failure::Refused {
            self.by_tls = !self.by_tls;
        }
        let (reason, next) = (refused.reason, utc::text(self.retry));
        let now = clock::now().unix;
        match self.current.standing().validity {
            None => tracing::error!(reason, next, "there is no certificate yet"),
            Some(validity) if validity.is_over(now) => {
                tracing::error!(reason, next, "the certificate has expired");
            }
            Some(_) => tracing::warn!(reason, next, "the certificate is not renewed yet"),
        }
        self.current.trouble(Trouble {
            reason,
            next: self.retry,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::tls;

    const DIRECTORY: &str = "https://ca.example/dir";

    fn wanted(domains: &[&str]) -> Wanted {
        Wanted {
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

    fn keeper(place: &tempfile::TempDir) -> Keeper<impl FnMut() -> f64> {
        let data_dir = DataDir::existing(place.path()).unwrap();
        Keeper::new(Arc::default(), data_dir, || 0.0)
    }

    #[test]
    fn the_certificate_that_is_kept_serves_until_it_is_due_and_for_its_own_authority() {
        let place = tempfile::tempdir().unwrap();
        let mut keeper = keeper(&place);
        let mut wanted = wanted(&["talk.example.org"]);
        assert_eq!(keeper.due(&wanted), 0);
        let shelf = Shelf::new(&keeper.data_dir, DIRECTORY);
        let kept = shelf
            .keep_certificate(issued("talk.example.org", 10))
            .unwrap();
        let due = keeper.due(&wanted);
        let days = (due - clock::now().unix) as f64 / 86_400.0;
        assert!((49.0..51.0).contains(&days), "{days}");
        assert_eq!(keeper.current.identity(), Some(kept));
        wanted.domains.push("turn.example.org".to_owned());
        assert_eq!(keeper.due(&wanted), 0);
        wanted.domains.pop();
        wanted.directory = "https://other.example/dir".to_owned();
        assert_eq!(keeper.due(&wanted), 0);
    }

    #[test]
    fn a_certificate_that_the_disk_does_not_take_is_not_asked_for_again() {
        let place = tempfile::tempdir().unwrap();
        let mut keeper = keeper(&place);
        let wanted = wanted(&["talk.example.org"]);
        let identity = tls::parse(issued("talk.example.org", 0).expose()).unwrap();
        keeper.take(&wanted, identity);
        assert!(keeper.due(&wanted) > clock::now().unix + 50 * 24 * 3600);
    }

    #[test]
    fn a_certificate_that_is_of_no_use_is_not_asked_for_again_at_once() {
        for (domain, days_ago) in [("other.example.org", 0), ("talk.example.org", 80)] {
            let place = tempfile::tempdir().unwrap();
            let mut keeper = keeper(&place);
            let wanted = wanted(&["talk.example.org"]);
            let identity = tls::parse(issued(domain, days_ago).expose()).unwrap();
            let now = clock::now().unix;
            keeper.take(&wanted, identity.clone());
            keeper.take(&wanted, identity);
            assert!(keeper.retry >= now + 300, "{domain}");
            assert!(keeper.current.standing().trouble.is_some());
        }
    }
}
