//! One order (RFC 8555 §7.4): account, challenges, certificate.

use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationHandle, AuthorizationStatus, ChallengeHandle,
    ChallengeType, Error, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use tokio::task::block_in_place;

use crate::secret::Secret;
use crate::storage::AcmeChallenge;
use crate::tls::CertResolver;

use super::error::OrderError;
use super::schedule::Failure;
use super::settings::AcmeSettings;
use super::shared_answers::{SharedAnswers, answer};
use super::storage::AcmeStorage;

/// Polls for the validation of challenges, and again for the certificate.
const POLL_POLICY: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// The responses to challenges.
pub(super) enum Answers<'a> {
    /// By this process.
    Local(&'a CertResolver),
    /// By all processes with the same database.
    Shared(SharedAnswers<'a>),
}

impl Answers<'_> {
    /// Prepares the responses.
    async fn publish(&self, challenges: &[AcmeChallenge]) -> Result<(), OrderError> {
        match self {
            Answers::Local(resolver) => answer(resolver, challenges),
            Answers::Shared(answers) => answers.publish(challenges).await,
        }
    }

    /// # Errors
    /// Another process orders meanwhile.
    async fn check_lease(&self) -> Result<(), OrderError> {
        match self {
            Answers::Local(_) => Ok(()),
            Answers::Shared(answers) => answers.check_lease().await,
        }
    }
}

/// Returns the stored account, or creates one.
pub(super) async fn account(
    settings: &AcmeSettings,
    storage: &AcmeStorage<'_>,
) -> Result<Account, OrderError> {
    let kept = block_in_place(|| storage.account()).map_err(OrderError::local)?;
    let (account, created) = open_account(settings, kept).await?;
    if let Some(created) = created {
        block_in_place(|| storage.store_account(&created))?;
    }
    Ok(account)
}

/// Returns the account that was kept, or creates one and returns it with what is to be kept. A new account agrees to the
/// authority's terms, as the documentation of the setting says.
pub(super) async fn open_account(
    settings: &AcmeSettings,
    kept: Option<AccountCredentials>,
) -> Result<(Account, Option<AccountCredentials>), OrderError> {
    let builder = match &settings.ca_file {
        Some(file) => Account::builder_with_root(file),
        None => Account::builder(),
    }?;
    if let Some(kept) = kept {
        return Ok((builder.from_credentials(kept).await?, None));
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
    Ok((account, Some(credentials)))
}

/// Returns a certificate chain and its key, in PEM. `kinds` are the preferred challenges in order.
pub(super) async fn certificate(
    settings: &AcmeSettings,
    account: &Account,
    answers: &Answers<'_>,
    kinds: &[ChallengeType],
) -> Result<Secret, OrderError> {
    let domains = settings.domains.iter().cloned();
    let domains: Vec<_> = domains.map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&domains)).await?;
    let challenges = prepare_challenges(&mut order, kinds).await?;
    if !challenges.is_empty() {
        answers.publish(&challenges).await?;
        request_validations(&mut order, kinds).await?;
    }
    match order.poll_ready(&POLL_POLICY).await {
        Ok(OrderStatus::Ready) => {}
        Ok(_) => return Err(rejection(&mut order, None).await),
        Err(Error::Api(problem)) => return Err(rejection(&mut order, Some(problem)).await),
        Err(error) => return Err(error.into()),
    }
    answers.check_lease().await?;
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLL_POLICY).await?;
    Ok(Secret::new(format!("{chain}\n{key}")))
}

/// Returns the responses to one challenge for each domain that is not yet validated.
async fn prepare_challenges(
    order: &mut Order,
    kinds: &[ChallengeType],
) -> Result<Vec<AcmeChallenge>, OrderError> {
    let mut challenges = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let domain = authorization.identifier().to_string().to_ascii_lowercase();
        let Some(challenge) = choose(&mut authorization, kinds) else {
            let reason =
                format!("the authority takes neither tls-alpn-01 nor http-01 for {domain}");
            return Err(OrderError::new(Failure::Rejected, &reason));
        };
        let is_tls_alpn = challenge.r#type == ChallengeType::TlsAlpn01;
        challenges.push(AcmeChallenge {
            is_tls_alpn,
            name: if is_tls_alpn {
                domain
            } else {
                challenge.token.clone()
            },
            key_authorization: challenge.key_authorization().as_str().to_owned(),
        });
    }
    Ok(challenges)
}

/// Asks the authority to validate the challenges, whose responses are prepared.
async fn request_validations(order: &mut Order, kinds: &[ChallengeType]) -> Result<(), OrderError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        if let Some(mut challenge) = choose(&mut authorization, kinds) {
            challenge.set_ready().await?;
        }
    }
    Ok(())
}

/// Returns the first challenge of `kinds` that the authority offers.
fn choose<'a>(
    authorization: &'a mut AuthorizationHandle<'a>,
    kinds: &[ChallengeType],
) -> Option<ChallengeHandle<'a>> {
    let offered = |kind: &&ChallengeType| {
        let mut challenges = authorization.challenges.iter();
        challenges.any(|challenge| challenge.r#type == **kind)
    };
    let kind = kinds.iter().find(offered).cloned()?;
    authorization.challenge(kind)
}

/// Collects the errors of the failed challenges: they are more specific than the error of the order.
async fn rejection(order: &mut Order, of_order: Option<Problem>) -> OrderError {
    let mut authorizations = order.authorizations();
    let mut errors = Vec::new();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            continue;
        }
        let challenges = authorization.challenges.iter();
        let faults = challenges.filter_map(|challenge| challenge.error.as_ref());
        let domain = authorization.identifier().to_string();
        errors.extend(
            faults.map(|fault| format!("{domain}: {}", OrderError::from_problem(fault).reason)),
        );
    }
    match (errors.is_empty(), of_order) {
        (false, _) => OrderError::new(Failure::Rejected, &errors.join("; ")),
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
    use crate::tls;

    /// An authority whose server certificate is its root certificate.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_authority_whose_server_uses_its_root_certificate_is_reported_in_words() {
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
        let result = account(&settings, &AcmeStorage::new(&data_dir, &settings.directory)).await;
        let error = result.err().expect("a fault of TLS");
        assert_eq!(error.failure, Failure::Unreachable);
        let reason = error.reason;
        assert!(
            reason.contains("is that of an authority itself"),
            "{reason}"
        );
        assert!(
            reason.contains("tls.acme_ca_file") && !reason.contains("CaUsed"),
            "{reason}"
        );
        serving.abort();
    }
}
