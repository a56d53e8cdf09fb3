//! Reloads the configuration of a running server: applies all changes that need no restart, or none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::config::{self, Config, Loaded, ReloadReport, Sources};
use crate::data_dir::DataDir;
use crate::secret::Secret;
use crate::service::{App, Settings};
use crate::storage::Store;
use crate::tls;

use super::about::About;
use super::secrets::{Secrets, SecretsError};
use super::signals::SignalStream;
use super::{cluster, logging, startup};

/// The settings that all nodes must share, and that a reload changes.
const SHARED_SETTINGS: [&str; 4] = [
    "auth.secret",
    "auth.previous_secrets",
    "turn.secret",
    "turn.previous_secrets",
];

/// Reloads at each SIGHUP.
pub(super) async fn reload_on(mut reload_signals: SignalStream, reloader: Arc<Reloader>) {
    loop {
        reload_signals.next().await;
        let reloader = reloader.clone();
        let reload_on_sighup = tokio::task::spawn_blocking(move || reloader.reload());
        if let Err(error) = reload_on_sighup.await {
            tracing::error!(%error, "configuration reload failed");
        }
    }
}

/// The inputs of a reload and the parts that it changes.
pub(super) struct Reloader {
    /// The sources of the start; files are read again.
    sources: Sources,
    /// The configuration file that the start read.
    file: Option<PathBuf>,
    app: Arc<App>,
    secrets: Mutex<Secrets>,
    /// The certificate for TLS handshakes; `None` if TLS is off.
    certificate: Option<Arc<tls::CertResolver>>,
    /// Notified after each reload and each clock step.
    reloaded: Arc<Notify>,
    level: logging::Level,
    descriptors: u64,
}

impl Reloader {
    pub(super) fn new(
        sources: Sources,
        file: Option<PathBuf>,
        app: Arc<App>,
        secrets: Secrets,
        certificate: Option<Arc<tls::CertResolver>>,
        level: logging::Level,
        descriptors: u64,
    ) -> Reloader {
        Reloader {
            sources,
            file,
            app,
            secrets: Mutex::new(secrets),
            certificate,
            reloaded: Arc::default(),
            level,
            descriptors,
        }
    }

    pub(super) fn certificate(&self) -> Option<Arc<tls::CertResolver>> {
        self.certificate.clone()
    }

    /// Returns the configuration in force.
    pub(super) fn config(&self) -> Config {
        self.app.settings().config.clone()
    }

    /// Notified after each reload and each clock step.
    pub(super) fn reloaded(&self) -> Arc<Notify> {
        self.reloaded.clone()
    }

    /// Makes the certificate task check the certificate and the clock now.
    pub(super) fn recheck_certificate(&self) {
        self.reloaded.notify_one();
    }

    /// Calls `work` with the data directory, while no reload runs.
    pub(super) fn with_data_dir<T>(&self, work: impl FnOnce(&DataDir) -> T) -> T {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        work(secrets.data_dir())
    }

    /// Returns the secret of tokens in force, and then the previous ones.
    ///
    /// # Errors
    /// It could not be read.
    pub(super) fn auth_secrets(&self) -> Result<Vec<Secret>, SecretsError> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.auth_secrets(&self.config())
    }

    /// Returns the store.
    pub(super) fn store(&self) -> &Store {
        &self.app.store
    }

    /// Checks that a process with the configuration on disk could open its store and use Redis now, and that other nodes
    /// would accept it. Blocks: call it on a thread of the runtime for that.
    ///
    /// # Errors
    /// One sentence per problem.
    pub(super) fn check_start(&self) -> Result<(), Vec<String>> {
        let config = self.load()?.config;
        let seed = startup::seed().map_err(|error| vec![error.to_string()])?;
        let checked = cluster::check_start(&config, &self.app, seed);
        let checked = Handle::current().block_on(checked);
        checked.map_err(|error| vec![format!("{error:#}")])
    }

    /// Reloads only the files of the certificate; blocks on disks. Returns the warnings about a new
    /// certificate, or `None` if it has not changed.
    ///
    /// # Errors
    /// One sentence per problem; the old certificate stays in force.
    pub(super) fn reload_certificate(&self) -> Result<Option<Vec<String>>, Vec<String>> {
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let running = self.app.settings();
        let mut wanted = running.config.clone();
        let warnings = config::read_certificate(&mut wanted)?;
        if wanted.tls.identity == running.config.tls.identity {
            return Ok(None);
        }
        let tokens_and_credentials = secrets.tokens_and_credentials(&wanted);
        let (tokens, credentials) =
            tokens_and_credentials.map_err(|error| vec![error.to_string()])?;
        self.apply(&[], Settings::new(wanted, tokens, credentials));
        Ok(Some(warnings))
    }

    /// Reloads everything, applies what needs no restart, and logs the result; blocks on disks.
    ///
    /// # Errors
    /// One sentence per problem of the new configuration; the old one stays in force.
    pub(super) fn reload(&self) -> Result<ReloadReport, Vec<String>> {
        let outcome = self.replace();
        match &outcome {
            Ok(report) => {
                let (changed, restart) = (report.changed.join(" "), report.needs_restart.join(" "));
                let warnings = report.warnings.iter();
                warnings.for_each(|message| tracing::warn!("{message}"));
                tracing::info!(changed, needs_restart = restart, "configuration reloaded");
                self.recheck_certificate();
            }
            Err(problems) => {
                problems
                    .iter()
                    .for_each(|message| tracing::error!("{message}"));
                tracing::error!("configuration rejected: the old one stays in force");
            }
        }
        outcome
    }

    fn replace(&self) -> Result<ReloadReport, Vec<String>> {
        // The lock serializes reloads, so that the last configuration read is the one in force.
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.load()?;
        let running = self.app.settings();
        let mut wanted = loaded.config;
        if wanted.tls.mode != running.config.tls.mode {
            // A change of the mode needs a restart; until then the old mode needs its certificate.
            let mode = wanted.tls.mode;
            wanted.tls = running.config.tls.clone();
            wanted.tls.mode = mode;
        }
        let report = ReloadReport::new(&running.config, &wanted, &loaded.warnings);
        if !report.changed.is_empty() {
            wanted.keep_restart_values(&running.config);
            if report
                .changed
                .iter()
                .any(|key| SHARED_SETTINGS.contains(key))
            {
                self.check_secrets(&wanted)?;
            }
            let tokens_and_credentials = secrets.tokens_and_credentials(&wanted);
            let (tokens, credentials) =
                tokens_and_credentials.map_err(|error| vec![error.to_string()])?;
            let new = Settings::new(wanted, tokens, credentials);
            self.apply(&report.changed, new);
        }
        Ok(report)
    }

    /// Checks that other nodes accept the tokens and credentials of this configuration.
    fn check_secrets(&self, wanted: &Config) -> Result<(), Vec<String>> {
        let seed = startup::seed().map_err(|error| vec![error.to_string()])?;
        let checked = cluster::check_reload(wanted, &self.app, seed);
        let checked = Handle::current().block_on(checked);
        checked.map_err(|error| vec![format!("{error:#}")])
    }

    fn load(&self) -> Result<Loaded, Vec<String>> {
        let loaded = config::load(&self.sources).map_err(|errors| {
            let problems = errors.errors.iter().map(ToString::to_string);
            errors
                .remarks
                .iter()
                .cloned()
                .chain(problems)
                .collect::<Vec<_>>()
        })?;
        match &self.file {
            // A missing file must not silently restore the defaults.
            Some(file) if loaded.file.as_ref() != Some(file) => {
                let mut message = loaded.remarks;
                message.push(format!(
                    "{}, the configuration file of the start, is no longer the one that would be read",
                    file.display()
                ));
                Err(message)
            }
            _ => Ok(loaded),
        }
    }

    /// Changes the relay first: it must accept a credential before the API issues it.
    fn apply(&self, changed: &[&str], new: Settings) {
        let config = &new.config;
        if let (Some(current), Some(identity)) = (&self.certificate, &config.tls.identity) {
            current.swap(identity);
        }
        let affects_relay = |key: &&str| key.starts_with("turn.") || *key == "http.trusted_proxies";
        if changed.iter().any(affects_relay) {
            let allocations = startup::max_allocations(config, self.descriptors);
            let credentials = new.credentials.clone();
            let relay = &self.app.relay;
            let proxies = &config.http.trusted_proxies;
            relay.reconfigure(&config.turn, proxies, credentials, allocations);
        }
        let affects_names = |key: &&str| ["turn.external_ip", "ice.stun_urls"].contains(key);
        if changed.iter().any(affects_names) {
            let stun_urls = &config.ice.stun_urls;
            self.app
                .relay
                .set_external_ip(&config.turn.external_ip, stun_urls);
        }
        self.app.hub.reconfigure(&config.signaling);
        self.level.set(config.log.level);
        self.app.live.swap(new);
        About::announce(&self.app);
    }
}
