use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::credential::Credentials;
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::secret::Secret;
use crate::service::{Hub, LiveSettings, Settings};
use crate::storage::{NewUser, Store};
use crate::token::Tokens;

fn app(place: &tempfile::TempDir, relay: Handle) -> Arc<App> {
    let (config, metrics, secret) = (Config::default(), Metrics::new(), Secret::new("north"));
    let tokens = Tokens::new(&config.auth, &secret);
    Arc::new(App {
        hub: Hub::new(&config.signaling, &metrics),
        live: LiveSettings::new(Settings::new(
            config,
            tokens,
            Credentials::new(&secret, &[]),
        )),
        store: Store::open(&place.path().join("parlor.db")).unwrap(),
        turn: Vec::new(),
        turn_tls: Vec::new(),
        https: Vec::new(),
        certificate: None,
        bus: Default::default(),
        order: Default::default(),
        health_log: Default::default(),
        relay,
        metrics,
    })
}

#[tokio::test]
async fn the_change_order_is_free_while_the_relay_counts() {
    let place = tempfile::tempdir().unwrap();
    let (relay, mut shard) = Handle::with_fake_shard();
    let app = app(&place, relay);
    let alice = NewUser {
        name: "alice".to_owned(),
        ..NewUser::default()
    };
    let id = app.store.add_user(alice).await.unwrap().id;
    let disabling = tokio::spawn({
        let app = app.clone();
        async move { app.disable_user(&id).await }
    });
    let freed = loop {
        match shard.next_revocation() {
            Some(freed) => break freed,
            None => tokio::task::yield_now().await,
        }
    };
    drop(app.order.exclusive().await);
    freed.send(3).expect("it still waits for the count");
    let (_, ended) = disabling.await.unwrap().unwrap().expect("alice");
    assert_eq!(ended.relays, 3);
}
