//! The settings that can change while the server runs, replaced as one.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::credential::Credentials;
use crate::token::Tokens;

/// The configuration, and the keys that are derived from it.
pub struct Settings {
    pub config: Config,
    pub tokens: Tokens,
    pub credentials: Credentials,
}

impl Settings {
    pub fn new(config: Config, tokens: Tokens, credentials: Credentials) -> Settings {
        Settings {
            config,
            tokens,
            credentials,
        }
    }
}

/// The current settings. A reader keeps the settings that it took, even if they are replaced.
pub struct LiveSettings(ArcSwap<Settings>);

impl LiveSettings {
    pub fn new(settings: Settings) -> LiveSettings {
        LiveSettings(ArcSwap::from_pointee(settings))
    }

    pub fn get(&self) -> Arc<Settings> {
        self.0.load_full()
    }

    /// Replaces the settings.
    pub fn swap(&self, settings: Settings) {
        self.0.store(Arc::new(settings));
    }
}
