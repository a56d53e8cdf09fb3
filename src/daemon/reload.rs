//! Reads the configuration anew while serving: what can change does at once, or nothing does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::config::{self, Config, Loaded, ReloadReport, Sources};
use crate::credential::Credentials;
use crate::data_dir::{DataDir, DataDirError, SecretFile};
use crate::secret::Secret;
use crate::service::{App, Settings};
use crate::tls;
use crate::token::Tokens;

use super::signals::SignalStream;
use super::{logging, startup};

/// Reloads at each of `reload_signals`, and tells the log.
pub async fn reload_on(mut reload_signals: SignalStream, reloader: Arc<Reloader>) {
    loop {
        reload_signals.next().await;
        let reloader = reloader.clone();
        let reload_on_sighup = tokio::task::spawn_blocking(move || reloader.reload());
        if let Err(error) = reload_on_sighup.await {
            tracing::error!(%error, "the configuration could not be read anew");
        }
    }
}

/// Everything that a reload reads from and acts on.
pub struct Reloader {
    /// As at the start, but for what stands in files.
    sources: Sources,
    /// That the start read.
    file: Option<PathBuf>,
    app: Arc<App>,
    secrets: Mutex<Secrets>,
    /// What handshakes are answered with, where TLS is spoken.
    certificate: Option<Arc<tls::CertResolver>>,
    /// Notified after each reload and each clock step.
    reloaded: Arc<Notify>,
    level: logging::Level,
    descriptors: u64,
}

/// The secrets that sign and mint: the configured ones, else those that the data directory keeps. These
/// are read once, so that they stay as they are.
pub struct Secrets {
    data_dir: DataDir,
    auth: Option<Secret>,
    turn: Option<Secret>,
}

impl Secrets {
    pub fn new(data_dir: DataDir) -> Secrets {
        Secrets {
            data_dir,
            auth: None,
            turn: None,
        }
    }

    pub fn data_dir(&self) -> &DataDir {
        &self.data_dir
    }

    /// What checks and makes tokens and credentials by `config`.
    ///
    /// # Errors
    /// A secret has to be kept and can't be.
    pub fn tokens_and_credentials(
        &mut self,
        config: &Config,
    ) -> Result<(Tokens, Credentials), DataDirError> {
        let (auth, turn) = (&config.auth, &config.turn);
        let dir = &self.data_dir;
        let secret = configured_or_stored(&auth.secret, &mut self.auth, dir, SecretFile::Auth)?;
        let tokens = Tokens::new(auth, &secret);
        let secret = configured_or_stored(&turn.secret, &mut self.turn, dir, SecretFile::Turn)?;
        Ok((tokens, Credentials::new(&secret, &turn.previous_secrets)))
    }
}

fn configured_or_stored(
    configured: &Option<Secret>,
    known: &mut Option<Secret>,
    dir: &DataDir,
    file: SecretFile,
) -> Result<Secret, DataDirError> {
    match (configured, &known) {
        (Some(secret), _) => Ok(secret.clone()),
        (None, Some(secret)) => Ok(secret.clone()),
        (None, None) => Ok(known.insert(dir.secret(file)?).clone()),
    }
}

impl Reloader {
    pub fn new(
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

    pub fn certificate(&self) -> Option<Arc<tls::CertResolver>> {
        self.certificate.clone()
    }

    /// What is in force.
    pub fn config(&self) -> Config {
        self.app.settings().config.clone()
    }

    /// Notified after each reload and each clock step.
    pub fn reloaded(&self) -> Arc<Notify> {
        self.reloaded.clone()
    }

    /// Makes the certificate task check the certificate and the clock now.
    pub fn recheck_certificate(&self) {
        self.reloaded.notify_one();
    }

    /// Does something in the data directory, while nobody reloads.
    pub fn with_data_dir<T>(&self, work: impl FnOnce(&DataDir) -> T) -> T {
        let secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        work(secrets.data_dir())
    }

    /// Reads the files of the certificate anew, and nothing else. Says whether it is another one, and
    /// what is unwise about it. Waits for disks.
    ///
    /// # Errors
    /// What is wrong with them, a sentence each; then the old certificate stays in force.
    pub fn reload_certificate(&self) -> Result<Option<Vec<String>>, Vec<String>> {
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

    /// Reads everything anew and puts into force what can be, and tells the log. Waits for disks.
    ///
    /// # Errors
    /// Every problem of the new configuration, a sentence each; then the old one stays in force.
    pub fn reload(&self) -> Result<ReloadReport, Vec<String>> {
        let outcome = self.replace();
        match &outcome {
            Ok(report) => {
                let (changed, restart) = (report.changed.join(" "), report.needs_restart.join(" "));
                let warnings = report.warnings.iter();
                warnings.for_each(|message| tracing::warn!("{message}"));
                tracing::info!(changed, needs_restart = restart, "configuration read anew");
                self.recheck_certificate();
            }
            Err(problems) => {
                problems
                    .iter()
                    .for_each(|message| tracing::error!("{message}"));
                tracing::error!("the configuration was refused: the old one stays in force");
            }
        }
        outcome
    }

    fn replace(&self) -> Result<ReloadReport, Vec<String>> {
        // One at a time, so that the last one read is the one in force.
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.load()?;
        let running = self.app.settings();
        let mut wanted = loaded.config;
        if wanted.tls.mode != running.config.tls.mode {
            // Without the restart that the mode needs, a certificate is of no use, or still needed.
            let mode = wanted.tls.mode;
            wanted.tls = running.config.tls.clone();
            wanted.tls.mode = mode;
        }
        let report = ReloadReport::new(&running.config, &wanted, &loaded.warnings);
        if !report.changed.is_empty() {
            config::keep_restart_values(&running.config, &mut wanted);
            let tokens_and_credentials = secrets.tokens_and_credentials(&wanted);
            let (tokens, credentials) =
                tokens_and_credentials.map_err(|error| vec![error.to_string()])?;
            let new = Settings::new(wanted, tokens, credentials);
            self.apply(&report.changed, new);
        }
        Ok(report)
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
            // Going on with what is built in is nothing that anybody asked for.
            Some(file) if loaded.file.as_ref() != Some(file) => {
                let mut message = loaded.remarks;
                message.push(format!(
                    "{}, which parlor was started with, is not the file that it would read now",
                    file.display()
                ));
                Err(message)
            }
            _ => Ok(loaded),
        }
    }

    /// The relay first: a credential that is handed out is good there.
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
    }
}
