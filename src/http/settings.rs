//! Values that the HTTP edge derives from the settings: CORS and the base path.

use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::header::HeaderValue;
use tower_http::cors::CorsLayer;

use super::{base_path, cors, page_policy};
use crate::service::Settings;
use crate::url::OriginPattern;

/// Values that are derived from one state of the settings.
pub(super) struct DerivedSettings {
    settings: Arc<Settings>,
    /// Derived from `http.allowed_origins`.
    pub origins: Vec<OriginPattern>,
    pub cors: CorsLayer,
    /// Derived from `http.frame_ancestors`.
    pub framed_policy: Option<HeaderValue>,
    /// Derived from `server.public_url`.
    pub base_path: String,
}

impl DerivedSettings {
    fn new(settings: Arc<Settings>) -> DerivedSettings {
        let http = &settings.config.http;
        let origins = http.allowed_origins.iter();
        let origins: Vec<_> = origins
            .filter_map(|o| OriginPattern::parse(o).ok())
            .collect();
        DerivedSettings {
            cors: cors::layer(&origins),
            origins,
            framed_policy: page_policy::framed_policy(&http.frame_ancestors),
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
