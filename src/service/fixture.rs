//! An application and a wait for several tests of the service.

use std::sync::Arc;
use std::time::Duration;

use super::{App, Hub, LiveSettings, Settings};
use crate::clock;
use crate::config::Config;
use crate::credential::Credentials;
use crate::metrics::Metrics;
use crate::relay;
use crate::secret::Secret;
use crate::storage::Store;
use crate::token::Tokens;

/// Limit of a wait; a passing test never reaches it.
const DEADLINE: Duration = Duration::from_secs(30);

/// An application with the default settings, without listeners.
pub(super) fn app(hub: Arc<Hub>, store: Store, relay: relay::Handle) -> Arc<App> {
    let (config, secret) = (Config::default(), Secret::new("north"));
    let tokens = Tokens::new(&config.auth, &secret);
    let credentials = Credentials::new(&secret, &[]);
    Arc::new(App {
        started: clock::now(),
        hub,
        live: LiveSettings::new(Settings::new(config, tokens, credentials)),
        store,
        turn: Vec::new(),
        turn_tls: Vec::new(),
        https: Vec::new(),
        certificate: None,
        bus: Default::default(),
        order: Default::default(),
        health_log: Default::default(),
        relay_nodes: None,
        redis_health: Default::default(),
        issuer_keys: None,
        relay,
        metrics: Metrics::new(),
    })
}

/// Waits until a condition holds.
pub(super) async fn eventually(mut is_true: impl FnMut() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("in time");
}
