//! Two nodes on a real Redis and a real PostgreSQL, whose poll interval never ends.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::redis::tests::server::server as redis;
use crate::bus::redis::{Link, Server, Settings};
use crate::config::Config;
use crate::credential::{Credentials, Revocations};
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::room::CloseCode;
use crate::secret::Secret;
use crate::service::{self, App, Hub, LiveSettings, Outbox, cluster, external_changes};
use crate::storage::tests::connect;
use crate::storage::tests::server::{Database, server as postgres};
use crate::storage::{JoinGrant, NewRoom, NewUser};
use crate::tls::{Verification, client_config};
use crate::token::{Issue, Tokens};

/// Limit of a wait; a passing test never reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

async fn start(name: &str, database: &Database, url: &str) -> Arc<App> {
    let settings = Settings {
        name: name.to_owned(),
        prefix: "p1:".to_owned(),
        lease: Duration::from_secs(10),
        about: String::new(),
    };
    let link = Arc::new(Link::new(settings, rand::random()));
    let (config, metrics, secret) = (Config::default(), Metrics::new(), Secret::new("north"));
    let tokens = Tokens::new(&config.auth, &secret);
    let hub = Hub::with_link(&config.signaling, &metrics, Some(link.clone()));
    let tls = client_config(Verification::None, None).unwrap();
    let server = Server::new(url, &tls).unwrap();
    tokio::spawn(cluster::run(hub.clone(), link.clone(), server));
    let store = connect(database).await.unwrap();
    store.stop_interval();
    let app = Arc::new(App {
        hub,
        live: LiveSettings::new(service::Settings::new(
            config,
            tokens,
            Credentials::new(&secret, &[]),
        )),
        store,
        turn: Vec::new(),
        turn_tls: Vec::new(),
        https: Vec::new(),
        certificate: None,
        bus: Default::default(),
        order: Default::default(),
        health_log: Default::default(),
        relay: Handle::with_fake_shard().0,
        metrics,
    });
    let (revocations, stop) = (Arc::new(Revocations::default()), CancellationToken::new());
    tokio::spawn(external_changes::follow(app.clone(), revocations, stop));
    eventually(|| link.is_available()).await;
    app
}

async fn eventually(mut is_true: impl FnMut() -> bool) {
    let waiting = async {
        while !is_true() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, waiting)
        .await
        .expect("in time");
}

#[tokio::test]
async fn a_user_who_is_disabled_on_one_node_is_closed_on_the_other_before_its_next_poll() {
    let (database, url) = (postgres().create(None), redis().database());
    let near = start("near", &database, &url).await;
    let far = start("far", &database, &url).await;
    let alice = NewUser {
        name: "alice".to_owned(),
        ..NewUser::default()
    };
    let alice = near.store.add_user(alice).await.unwrap().id;
    let lobby = NewRoom {
        id: Some("lobby".to_owned()),
        name: "lobby".to_owned(),
        private: false,
        max_participants: None,
        owner_id: None,
    };
    near.store.create_room(lobby).await.unwrap();
    near.join(&alice, "lobby", JoinGrant::Operator)
        .await
        .unwrap();
    let outbox = Arc::new(Outbox::new(1000));
    let issue = Issue::Own { generation: 0 };
    let mut handle = far
        .hub
        .join("lobby", &alice, issue, false, &outbox)
        .unwrap();
    handle.entered().await.unwrap();
    near.disable_user(&alice).await.unwrap().expect("alice");
    let mut closed = None;
    eventually(|| {
        let context = Context::from_waker(Waker::noop());
        closed = outbox.take(&context, usize::MAX, |_| {}).close;
        closed.is_some()
    })
    .await;
    assert_eq!(closed, Some(CloseCode::Removed));
}
