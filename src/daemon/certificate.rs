//! Loads the certificate, and keeps it valid while the server runs.

mod self_signed;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use crate::acme::{self, AcmeSettings, Renewer, SharedRenewer, SharedStorage};
use crate::clock;
use crate::config::{Config, TlsMode};
use crate::data_dir::DataDir;
use crate::storage::{Store, utc};
use crate::tls::{self, CertResolver};

use super::reload::Reloader;
use super::secrets::Secrets;
use super::startup;

/// Interval for checking the files of the certificate.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Interval for checking the validity of a self-signed certificate.
const RENEWAL_CHECK_INTERVAL: Duration = Duration::from_secs(3600);

/// Returns the certificate for the first handshakes; `None` if TLS is off.
///
/// # Errors
/// A certificate could not be created, read or stored.
pub(super) async fn load(
    config: &Config,
    secrets: &mut Secrets,
    store: &Store,
) -> anyhow::Result<Option<Arc<CertResolver>>> {
    let identity = match config.tls.mode {
        TlsMode::Off => return Ok(None),
        TlsMode::Files => config.tls.identity.clone(),
        TlsMode::SelfSigned => {
            let identity =
                self_signed::load_or_create(config, secrets.data_dir(), clock::now().unix);
            let identity = identity.context("tls.mode is self-signed")?;
            log_certificate(&identity, "self-signed certificate in use");
            Some(identity)
        }
        TlsMode::Acme => {
            let settings = AcmeSettings::from_config(config);
            // An account at an authority, and consent to its terms, must not be created silently.
            let directory = &settings.directory;
            tracing::info!(
                directory,
                "ACME enabled: the terms of service of the authority are accepted"
            );
            match store.acme() {
                Some(shared) => {
                    let storage = SharedStorage::new(shared, secrets.auth_secrets(config)?)?;
                    storage.certificate(&settings, secrets.data_dir()).await?
                }
                None => acme::stored_certificate(secrets.data_dir(), &settings)?,
            }
        }
    };
    Ok(Some(
        identity
            .as_ref()
            .map_or_else(Arc::default, CertResolver::new),
    ))
}

/// Reloads or renews the certificate for as long as the server runs.
pub(super) async fn maintain(reloader: Arc<Reloader>) {
    let Some(resolver) = reloader.certificate() else {
        return;
    };
    match reloader.config().tls.mode {
        TlsMode::Off => {}
        TlsMode::Files => watch_files(&reloader).await,
        TlsMode::SelfSigned => renew_self_signed(&reloader, &resolver).await,
        TlsMode::Acme => {
            if let Err(error) = renew_by_acme(&reloader, resolver).await {
                tracing::error!("ACME client failed to start: {error:#}");
            }
        }
    }
}

/// Runs forever.
///
/// # Errors
/// It could not start.
async fn renew_by_acme(
    reloader: &Arc<Reloader>,
    resolver: Arc<CertResolver>,
) -> anyhow::Result<()> {
    let settings = || AcmeSettings::from_config(&reloader.config());
    let Some(shared) = reloader.store().acme() else {
        let renewer = renewer(reloader, resolver)?;
        renewer.run(settings, reloader.reloaded()).await;
        return Ok(());
    };
    let storage = SharedStorage::new(shared, reloader.auth_secrets()?)?;
    let mut rng = ChaCha12Rng::from_seed(startup::seed()?);
    let renewer = SharedRenewer::new(storage, resolver, move || rng.random());
    let secrets = || reloader.auth_secrets().ok();
    renewer.run(settings, secrets, reloader.reloaded()).await;
    Ok(())
}

fn renewer(
    reloader: &Reloader,
    resolver: Arc<CertResolver>,
) -> anyhow::Result<Renewer<impl FnMut() -> f64 + use<>>> {
    let mut rng = ChaCha12Rng::from_seed(startup::seed()?);
    let data_dir = reloader.with_data_dir(DataDir::try_clone)?;
    Ok(Renewer::new(resolver, data_dir, move || rng.random()))
}

async fn watch_files(reloader: &Arc<Reloader>) {
    let mut watch = watch::Watch::default();
    loop {
        let reloader = reloader.clone();
        let check = tokio::task::spawn_blocking(move || {
            watch.check(&reloader);
            watch
        });
        watch = check.await.unwrap_or_default();
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

async fn renew_self_signed(reloader: &Arc<Reloader>, resolver: &CertResolver) {
    let reloaded = reloader.reloaded();
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEWAL_CHECK_INTERVAL) => {}
            () = reloaded.notified() => {}
        }
        let reloader = reloader.clone();
        let renewing = tokio::task::spawn_blocking(move || {
            let config = reloader.config();
            reloader
                .with_data_dir(|dir| self_signed::load_or_create(&config, dir, clock::now().unix))
        });
        match renewing.await {
            Ok(Ok(identity)) if resolver.identity().as_ref() != Some(&identity) => {
                resolver.swap(&identity);
                log_certificate(&identity, "self-signed certificate renewed");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!("certificate renewal failed: {error:#}"),
            Err(error) => tracing::error!(%error, "certificate renewal failed"),
        }
    }
}

fn log_certificate(identity: &tls::Identity, what: &'static str) {
    let until = u64::try_from(identity.validity().until).unwrap_or(0);
    tracing::info!(
        sha256 = identity.fingerprint(),
        until = utc::format(until),
        "{what}"
    );
}
