//! One order (RFC 8555 §7.4): account, challenges, certificate.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationHandle, AuthorizationStatus, ChallengeType, Error, Identifier,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use tokio::task::block_in_place;

use crate::secret::Secret;
use crate::tls::{self, CertResolver};

use super::error::OrderError;
use super::schedule::Failure;
use super::settings::AcmeSettings;
use super::storage::AcmeStorage;

/// Polls for the validation of challenges, and again for the certificate.
const POLL_POLICY: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(60));

/// Returns the stored account, or creates one. A new account agrees to the authority's terms, as the
/// documentation of the setting says.
pub(super) async fn account(
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

/// Returns a certificate chain and its key, in PEM. `kinds` are the preferred challenges in order.
pub(super) async fn certificate(
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

/// Prepares the response to a challenge, and asks the authority to validate it.
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
