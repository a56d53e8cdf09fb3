//! One order (RFC 8555 §7.4): account, challenges, certificate.

use std::fmt::Display;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use tokio::task::block_in_place;

use crate::secret::Secret;
use crate::tls::{self, CertResolver};

use super::AcmeSettings;
use super::error_text;
use super::schedule::Failure;
use super::storage::AcmeStorage;

/// For the authority to look at challenges, and again to issue.
const POLL_POLICY: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// Characters of a reason: an authority may quote a whole page.
const MAX_REASON_CHARS: usize = 500;

/// Why there is no certificate.
#[derive(Debug)]
pub struct OrderError {
    pub failure: Failure,
    /// A sentence without its full stop, in which nothing breaks a line.
    pub reason: String,
    /// Whether the account is not known there.
    pub account_unknown: bool,
}

impl OrderError {
    pub fn new(failure: Failure, reason: &str) -> OrderError {
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

    /// Something on this side went wrong, which may pass.
    pub fn local(error: impl Display) -> OrderError {
        OrderError::new(Failure::Unreachable, &error.to_string())
    }

    fn from_problem(problem: &Problem) -> OrderError {
        let kind = problem.r#type.as_deref().unwrap_or("no type");
        let kind = kind.trim_start_matches("urn:ietf:params:acme:error:");
        let told = [problem.detail.clone()].into_iter().flatten();
        let told = told.chain(problem.subproblems.iter().map(ToString::to_string));
        let told: Vec<_> = told.collect();
        let reason = format!("the authority says: {} ({kind})", told.join("; "));
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
                    "the authority can't be asked: {}",
                    error_text::describe(error)
                );
                OrderError::new(Failure::Unreachable, &reason)
            }
        }
    }
}

/// The account that is kept, or a new one. Making one agrees to the authority's terms, as the
/// documentation of the setting says.
pub async fn account(
    settings: &AcmeSettings,
    storage: &AcmeStorage<'_>,
) -> Result<Account, OrderError> {
    let builder = match &settings.ca_file {
        Some(file) => Account::builder_with_root(file),
        None => Account::builder(),
    }?;
    let kept = block_in_place(|| storage.account()).map_err(OrderError::local)?;
    if let Some(kept) = kept {
        return Ok(builder.from_credentials(kept).await?);
    }
    let contact = settings.contact.iter().map(|mail| format!("mailto:{mail}"));
    let contact: Vec<_> = contact.collect();
    let contact: Vec<_> = contact.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let made = builder.create(&new, settings.directory.clone(), None).await;
    let (account, credentials) = made?;
    block_in_place(|| storage.store_account(&credentials))?;
    Ok(account)
}

/// A chain of certificates and its key, in PEM. `kinds` of challenges are tried in this order.
pub async fn certificate(
    settings: &AcmeSettings,
    account: &Account,
    resolver: &CertResolver,
    kinds: &[ChallengeType],
) -> Result<Secret, OrderError> {
    let domains = settings.domains.iter().cloned();
    let domains: Vec<_> = domains.map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&domains)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let authorization = authorization?;
        if authorization.status != AuthorizationStatus::Valid {
            answer_challenge(authorization, resolver, kinds).await?;
        }
    }
    match order.poll_ready(&POLL_POLICY).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(rejection(&mut order, None).await),
        Err(Error::Api(problem)) => return Err(rejection(&mut order, Some(problem)).await),
        Err(error) => return Err(error.into()),
    }
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLL_POLICY).await?;
    Ok(Secret::new(format!("{chain}\n{key}")))
}

/// Answers a challenge, and has the authority look.
async fn answer_challenge(
    mut authorization: AuthorizationHandle<'_>,
    resolver: &CertResolver,
    kinds: &[ChallengeType],
) -> Result<(), OrderError> {
    let domain = authorization.identifier().to_string().to_ascii_lowercase();
    let offered = |kind: &&ChallengeType| {
        let mut challenges = authorization.challenges.iter();
        challenges.any(|challenge| challenge.r#type == **kind)
    };
    let kind = kinds.iter().find(offered).cloned();
    let challenge = kind.clone().and_then(|kind| authorization.challenge(kind));
    let (Some(kind), Some(mut challenge)) = (kind, challenge) else {
        let reason = format!("the authority takes neither tls-alpn-01 nor http-01 for {domain}");
        return Err(OrderError::new(Failure::Rejected, &reason));
    };
    let proof = challenge.key_authorization();
    if kind == ChallengeType::TlsAlpn01 {
        let certificate = tls::challenge(&domain, proof.as_str()).map_err(OrderError::local)?;
        resolver.add_tls_alpn_challenge(&domain, certificate);
    } else {
        resolver.add_http_challenge(&challenge.token, proof.as_str());
    }
    Ok(challenge.set_ready().await?)
}

/// What the authority says of the challenges that it did not like: more than it says of the order.
async fn rejection(order: &mut Order, of_order: Option<Problem>) -> OrderError {
    let mut authorizations = order.authorizations();
    let mut told = Vec::new();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let challenges = authorization.challenges.iter();
        let faults = challenges.filter_map(|challenge| challenge.error.as_ref());
        let domain = authorization.identifier().to_string();
        told.extend(
            faults.map(|fault| format!("{domain}: {}", OrderError::from_problem(fault).reason)),
        );
    }
    match (told.is_empty(), of_order) {
        (false, _) => OrderError::new(Failure::Rejected, &told.join("; ")),
        (true, Some(problem)) => OrderError::from_problem(&problem),
        (true, None) => {
            OrderError::new(Failure::Rejected, "the authority refuses and says no more")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data_dir::DataDir;

    fn problem(kind: &str, detail: &str) -> Problem {
        let text = serde_json::json!({ "type": kind, "detail": detail });
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn what_an_authority_says_is_one_short_line() {
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
    fn a_nonce_that_is_not_taken_is_no_refusal() {
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

    /// An authority whose server certificate is its root certificate.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_authority_that_serves_its_root_as_its_own_certificate_is_told_of_in_words() {
        let signing = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let made = params.self_signed(&signing).unwrap();
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("root.pem");
        std::fs::write(&root, made.pem()).unwrap();
        let identity = tls::parse(&(made.pem() + &signing.serialize_pem())).unwrap();
        let server = tls::server_config(CertResolver::new(&identity), &[tls::HTTP_1]).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(server);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = acceptor.accept(stream).await;
            }
        });
        let settings = AcmeSettings {
            domains: vec!["talk.example.org".to_owned()],
            directory: format!("https://localhost:{port}/dir"),
            contact: None,
            ca_file: Some(root),
        };
        let data_dir = DataDir::open(place.path()).unwrap();
        let asked = account(&settings, &AcmeStorage::new(&data_dir, &settings.directory)).await;
        let error = asked.err().expect("a fault of TLS");
        assert_eq!(error.failure, Failure::Unreachable);
        let told = error.reason;
        assert!(told.contains("is that of an authority itself"), "{told}");
        assert!(
            told.contains("tls.acme_ca_file") && !told.contains("CaUsed"),
            "{told}"
        );
        serving.abort();
    }

    #[test]
    fn an_account_that_is_not_known_there_is_forgotten() {
        let kind = "urn:ietf:params:acme:error:accountDoesNotExist";
        assert!(OrderError::from(Error::Api(problem(kind, ""))).account_unknown);
        let kind = "urn:ietf:params:acme:error:rateLimited";
        assert!(!OrderError::from(Error::Api(problem(kind, ""))).account_unknown);
        assert!(!OrderError::from(Error::Timeout(None)).account_unknown);
    }
}
