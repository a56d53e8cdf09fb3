//! What the settings say at the moment: swapped as one when they are read anew.
//!
//! What belongs together is decided by one state of them: whoever checks a caller, makes an answer or
//! opens a connection takes them once. No message and no packet does.

use std::sync::{Arc, PoisonError, RwLock};

use tower_http::cors::CorsLayer;

use super::{base_path, cors};
use crate::config::Config;
use crate::credential::Credentials;
use crate::token::Tokens;

/// The configuration and what is made of it.
pub struct Settings {
    pub config: Config,
    pub tokens: Tokens,
    pub credentials: Credentials,
    /// By `http.allowed_origins`.
    pub(super) cors: CorsLayer,
    /// By `server.public_url`: see [`base_path::from_config`].
    pub(super) base_path: String,
}

impl Settings {
    pub fn new(config: Config, tokens: Tokens, credentials: Credentials) -> Settings {
        Settings {
            cors: cors::layer(&config.http.allowed_origins),
            base_path: base_path::from_config(&config),
            config,
            tokens,
            credentials,
        }
    }
}

/// The settings that hold now. Whoever took them before a change goes on with the old ones.
pub struct Live(RwLock<Arc<Settings>>);

impl Live {
    pub fn new(settings: Settings) -> Live {
        Live(RwLock::new(Arc::new(settings)))
    }

    pub fn get(&self) -> Arc<Settings> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// From now on these hold.
    pub fn swap(&self, settings: Settings) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(settings);
    }
}
