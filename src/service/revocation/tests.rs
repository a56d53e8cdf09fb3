use crate::config::Signaling;
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::service::{Hub, fixture};
use crate::storage::{NewUser, Store};

#[tokio::test]
async fn the_change_order_is_free_while_the_relay_counts() {
    let place = tempfile::tempdir().unwrap();
    let (relay, mut shard) = Handle::with_fake_shard();
    let hub = Hub::new(&Signaling::default(), &Metrics::new());
    let store = Store::open(&place.path().join("parlor.db")).unwrap();
    let app = fixture::app(hub, store, relay);
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
