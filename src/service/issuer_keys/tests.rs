//! Requests for keys, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::secret::Secret;

/// An issuer with two keys, at whose URL a test decides what is found.
struct Issuer {
    keys: IssuerKeys,
    tokens: Tokens,
    /// `None`: the URL cannot be reached.
    published: Mutex<Option<Vec<&'static str>>>,
    requests: AtomicUsize,
}

impl Issuer {
    fn new() -> Issuer {
        let auth = config::Auth {
            algorithm: config::Algorithm::EdDSA,
            ..config::Auth::default()
        };
        let tls = client_config(Verification::None, None).unwrap();
        Issuer {
            keys: IssuerKeys::with(
                HttpsUrl::parse("https://id.example/keys").unwrap(),
                HttpsClient::new(tls),
                auth.algorithm,
            ),
            tokens: Tokens::new(&auth, &Secret::new("x".repeat(32))),
            published: Mutex::new(Some(vec!["1"])),
            requests: AtomicUsize::new(0),
        }
    }

    async fn fetch(&self) -> Result<Vec<PublicKey>, String> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let published = self.published.lock().unwrap().clone();
        let ids = published.ok_or("cannot be reached")?;
        let keys: Vec<_> = ids.into_iter().map(jwk).collect();
        let text = json!({ "keys": keys }).to_string();
        let kind = public_key::Kind::Ed25519;
        public_key::parse_jwks(&text, kind, "EdDSA").map_err(|error| error.to_string())
    }

    /// Runs a test beside the requests.
    async fn run(&self, test: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            () = self.keys.keep_current(|| self.fetch()) => unreachable!("it does not end"),
            () = test => {}
        }
    }

    async fn check(&self, kid: &str) -> Result<String, TokenError> {
        let claims = self.keys.check_or_refresh(&self.tokens, &token(kid)).await;
        claims.map(|claims| claims.sub)
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

fn pair(kid: &str) -> Ed25519KeyPair {
    let seed = [kid.as_bytes()[0]; 32];
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap()
}

fn jwk(kid: &str) -> Value {
    let key = URL_SAFE_NO_PAD.encode(pair(kid).public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "x": key, "kid": kid})
}

/// A token of alice, signed by the key with this id.
fn token(kid: &str) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(json!({"alg": "EdDSA", "kid": kid}));
    let claims = part(json!({"sub": "alice", "exp": clock::now().unix + 3600}));
    let signed = format!("{header}.{claims}");
    let signature = pair(kid).sign(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature.as_ref()))
}

async fn pass(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_waits_for_the_first_request_and_for_one_after_the_issuer_has_other_keys() {
    let issuer = Issuer::new();
    let test = async {
        assert_eq!(issuer.check("1").await, Ok("alice".to_owned()));
        pass(MIN_INTERVAL).await;
        *issuer.published.lock().unwrap() = Some(vec!["2"]);
        assert_eq!(issuer.check("2").await, Ok("alice".to_owned()));
        assert_eq!(issuer.requests(), 2);
        // The earlier key is not published any more.
        assert_eq!(issuer.check("1").await, Err(TokenError::UnknownKey));
    };
    issuer.run(test).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_with_unknown_keys_cause_a_request_every_five_seconds_at_most() {
    let issuer = Issuer::new();
    let test = async {
        let begin = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(issuer.check("9").await, Err(TokenError::UnknownKey));
            pass(Duration::from_millis(50)).await;
        }
        let passed = begin.elapsed().as_secs() / MIN_INTERVAL.as_secs();
        let requests = issuer.requests() as u64;
        assert!((2..=passed + 2).contains(&requests), "{requests} {passed}");
    };
    issuer.run(test).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_that_the_issuer_s_key_did_not_sign_causes_no_request() {
    let issuer = Issuer::new();
    let test = async {
        assert_eq!(issuer.check("1").await, Ok("alice".to_owned()));
        pass(MIN_INTERVAL).await;
        let mut forged = token("1");
        forged.truncate(forged.rfind('.').unwrap() + 1);
        forged.push_str(&URL_SAFE_NO_PAD.encode([7; 64]));
        let checked = issuer.keys.check_or_refresh(&issuer.tokens, &forged).await;
        assert_eq!(checked, Err(TokenError::BadSignature));
        pass(MIN_INTERVAL).await;
        assert_eq!(issuer.requests(), 1);
    };
    issuer.run(test).await;
}

#[tokio::test(start_paused = true)]
async fn keys_stay_valid_for_a_day_while_the_issuer_cannot_be_reached() {
    let issuer = Issuer::new();
    let test = async {
        assert_eq!(issuer.check("1").await, Ok("alice".to_owned()));
        // The last request that succeeds.
        pass(INTERVAL + MIN_INTERVAL).await;
        assert_eq!(issuer.requests(), 2);
        *issuer.published.lock().unwrap() = None;
        pass(VALID_FOR - 2 * MIN_INTERVAL).await;
        assert_eq!(issuer.check("1").await, Ok("alice".to_owned()));
        pass(2 * MIN_INTERVAL).await;
        assert_eq!(issuer.check("1").await, Err(TokenError::UnknownKey));
        *issuer.published.lock().unwrap() = Some(vec!["1"]);
        pass(MIN_INTERVAL).await;
        assert_eq!(issuer.check("1").await, Ok("alice".to_owned()));
    };
    issuer.run(test).await;
}

#[tokio::test(start_paused = true)]
async fn the_keys_are_fetched_every_ten_minutes_and_after_a_failure_every_five_seconds() {
    let issuer = Issuer::new();
    let test = async {
        pass(3 * INTERVAL - MIN_INTERVAL).await;
        assert_eq!(issuer.requests(), 3);
        *issuer.published.lock().unwrap() = None;
        pass(MIN_INTERVAL + MIN_INTERVAL * 3).await;
        assert!(
            (6..=7).contains(&issuer.requests()),
            "{}",
            issuer.requests()
        );
    };
    issuer.run(test).await;
}
