//! Values that the HTTP edge derives from the settings: CORS and the base path.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tower_http::cors::CorsLayer;

use super::{base_path, cors};
use crate::service::Settings;

/// Values that are derived from one state of the settings.
pub(super) struct DerivedSettings {
    settings: Arc<Settings>,
    /// Derived from `http.allowed_origins`.
    pub cors: CorsLayer,
    /// Derived from `server.public_url`.
    pub base_path: String,
}

impl DerivedSettings {
    fn new(settings: Arc<Settings>) -> DerivedSettings {
        DerivedSettings {
            cors: cors::layer(&settings.config.http.allowed_origins),
            base_path: base_path::from_config(&settings.config),
            settings,
        }
    }
}

/// Keeps the values that were derived last.
pub(super) struct DerivedSettingsCache(ArcSwap<DerivedSettings>);

impl DerivedSettingsCache {
    pub(super) fn new(settings: Arc<Settings>) -> DerivedSettingsCache {
        DerivedSettingsCache(ArcSwap::from_pointee(DerivedSettings::new(settings)))
    }

    /// The values for these settings; derived again only after a reload.
    pub(super) fn get(&self, settings: &Arc<Settings>) -> Arc<DerivedSettings> {
        let cached = self.0.load_full();
        if Arc::ptr_eq(&cached.settings, settings) {
            return cached;
        }
        let derived = Arc::new(DerivedSettings::new(settings.clone()));
        self.0.store(derived.clone());
        derived
    }
}
