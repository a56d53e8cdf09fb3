//! Two nodes on a real Redis and a real PostgreSQL, whose poll interval never ends.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bus::redis::tests::server::server as redis;
use crate::credential::Revocations;
use crate::relay::Handle;
use crate::room::CloseCode;
use crate::service::fixture::{self, eventually};
use crate::service::{App, Entrance, Outbox, cluster, external_changes};
use crate::storage::tests::connect;
use crate::storage::tests::server::{Database, server as postgres};
use crate::storage::{JoinGrant, NewRoom, NewUser};
use crate::token::Issue;

async fn start(name: &str, database: &Database, url: &str) -> Arc<App> {
    let node = cluster::tests::start(name, url, Duration::from_secs(10)).await;
    let store = connect(database).await.unwrap();
    store.stop_interval();
    let app = fixture::app(node.hub, store, Handle::with_fake_shard().0);
    let (revocations, stop) = (Arc::new(Revocations::default()), CancellationToken::new());
    tokio::spawn(external_changes::follow(app.clone(), revocations, stop));
    app
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
    let entrance = Entrance::plain(&alice, issue);
    let mut handle = far.hub.join("lobby", entrance, &outbox).unwrap();
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
