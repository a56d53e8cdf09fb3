//! The public keys that the issuer of tokens publishes at `auth.jwks_url`.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::https_client::HttpsClient;
use crate::public_key::{self, PublicKey};
use crate::tls::{Verification, client_config};
use crate::token::{Claims, PublishedKeys, TokenError, Tokens};
use crate::url::HttpsUrl;
use crate::{clock, config};

/// The time between two requests while all is well.
const INTERVAL: Duration = Duration::from_secs(600);
/// The time between two requests at least: also after a failure, and for tokens with unknown keys.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// How long keys stay valid after they were fetched.
const VALID_FOR: Duration = Duration::from_secs(24 * 3600);
/// How long a token with an unknown key waits for a request.
const WAIT: Duration = Duration::from_secs(5);

/// The keys that were fetched last, and requests for later ones.
pub struct IssuerKeys {
    url: HttpsUrl,
    client: HttpsClient,
    algorithm: config::Algorithm,
    /// For as long as no keys are valid.
    none: PublishedKeys,
    current: ArcSwapOption<Fetched>,
    wanted: Notify,
    round: watch::Sender<Round>,
}

struct Fetched {
    keys: PublishedKeys,
    at: Instant,
}

/// The state of the requests.
#[derive(Debug, Clone, Copy, Default)]
struct Round {
    /// The number of requests that have ended.
    ended: u64,
    is_running: bool,
    /// When the last one began.
    began: Option<Instant>,
}

impl IssuerKeys {
    /// Returns `None` without `auth.jwks_url`.
    ///
    /// # Errors
    /// The URL is invalid, or the trusted authorities cannot be read.
    pub fn new(auth: &config::Auth) -> Result<Option<IssuerKeys>, String> {
        let Some(url) = &auth.jwks_url else {
            return Ok(None);
        };
        let url = HttpsUrl::parse(url).map_err(|error| error.to_string())?;
        let tls = client_config(Verification::Full, auth.jwks_ca_file.as_deref())?;
        let client = HttpsClient::new(tls);
        Ok(Some(IssuerKeys::with(url, client, auth.algorithm)))
    }

    fn with(url: HttpsUrl, client: HttpsClient, algorithm: config::Algorithm) -> IssuerKeys {
        IssuerKeys {
            url,
            client,
            algorithm,
            none: PublishedKeys::new(algorithm, &[]),
            current: ArcSwapOption::empty(),
            wanted: Notify::new(),
            round: watch::Sender::default(),
        }
    }

    /// Verifies a token, if necessary with keys that its issuer has published since the last request.
    ///
    /// # Errors
    /// The token is not valid.
    pub(super) async fn check_or_refresh(
        &self,
        tokens: &Tokens,
        token: &str,
    ) -> Result<Claims, TokenError> {
        match self.check(tokens, token) {
            Err(TokenError::UnknownKey) => {
                self.refresh().await;
                self.check(tokens, token)
            }
            checked => checked,
        }
    }

    fn check(&self, tokens: &Tokens, token: &str) -> Result<Claims, TokenError> {
        let current = self.current.load();
        let valid = current
            .as_ref()
            .filter(|keys| keys.at.elapsed() < VALID_FOR);
        let keys = valid.map_or(&self.none, |fetched| &fetched.keys);
        tokens.check_with(Some(keys), token, clock::now().unix)
    }

    /// Causes a request. Waits for its end, but not if one ended a moment ago: then it comes later.
    async fn refresh(&self) {
        let mut rounds = self.round.subscribe();
        let Round {
            ended,
            is_running,
            began,
        } = *rounds.borrow_and_update();
        if !is_running {
            self.wanted.notify_one();
            if began.is_some_and(|began| began.elapsed() < MIN_INTERVAL) {
                return;
            }
        }
        let end = rounds.wait_for(|round| round.ended > ended);
        let _ = tokio::time::timeout(WAIT, end).await;
    }

    /// Keeps the keys current by `fetch`.
    async fn keep_current<F: Future<Output = Result<Vec<PublicKey>, String>>>(
        &self,
        fetch: impl Fn() -> F,
    ) {
        let mut is_failing = false;
        loop {
            let at = Instant::now();
            self.round.send_modify(|round| {
                round.is_running = true;
                round.began = Some(at);
            });
            let fetched = fetch().await;
            self.log(&fetched, is_failing);
            is_failing = fetched.is_err();
            if let Ok(keys) = fetched {
                let keys = PublishedKeys::new(self.algorithm, &keys);
                self.current.store(Some(Arc::new(Fetched { keys, at })));
            }
            self.round.send_modify(|round| {
                round.is_running = false;
                round.ended += 1;
            });
            tokio::time::sleep_until(at + MIN_INTERVAL).await;
            if !is_failing {
                let _ = tokio::time::timeout_at(at + INTERVAL, self.wanted.notified()).await;
            }
        }
    }

    /// Logs the first failure, and the first success after failures.
    fn log(&self, fetched: &Result<Vec<PublicKey>, String>, was_failing: bool) {
        let url = &self.url;
        match fetched {
            Ok(keys) if was_failing => {
                let keys = keys.len();
                tracing::info!(%url, keys, "keys of the token issuer fetched again");
            }
            Err(error) if !was_failing => {
                tracing::warn!(%url, error, "keys of the token issuer cannot be fetched");
            }
            _ => {}
        }
    }

    async fn fetch(&self) -> Result<Vec<PublicKey>, String> {
        let limit = public_key::MAX_FILE_BYTES as usize;
        let body = self.client.get(&self.url, limit).await;
        let body = body.map_err(|error| error.to_string())?;
        let kind = self.algorithm.key_kind();
        let kind = kind.ok_or("is not for the algorithm of a shared secret")?;
        let text = std::str::from_utf8(&body).map_err(|_| "is not UTF-8".to_owned())?;
        let keys = public_key::parse_jwks(text, kind, self.algorithm.name());
        keys.map_err(|error| error.to_string())
    }
}

/// Fetches the keys at regular times and when a token names an unknown one, until `shutdown`. Ends at once without
/// `auth.jwks_url`.
pub(super) async fn follow(issuer: Option<Arc<IssuerKeys>>, shutdown: CancellationToken) {
    if let Some(issuer) = issuer {
        let fetching = issuer.keep_current(|| issuer.fetch());
        shutdown.run_until_cancelled(fetching).await;
    }
}

#[cfg(test)]
mod tests;
