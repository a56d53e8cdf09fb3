//! The state that requests of the HTTP edge share: application, limits and derived settings.

use std::sync::Arc;

use super::api::rate_limits::ApiLimits;
use super::settings::DerivedSettingsCache;
use crate::service::App;

/// The application, and the state of the HTTP edge.
pub struct State {
    pub app: Arc<App>,
    pub(super) limits: ApiLimits,
    pub(super) derived: DerivedSettingsCache,
}

impl State {
    pub fn new(app: Arc<App>) -> Arc<State> {
        Arc::new(State {
            derived: DerivedSettingsCache::new(app.settings()),
            limits: ApiLimits::default(),
            app,
        })
    }
}
