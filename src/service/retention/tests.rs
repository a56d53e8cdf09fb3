use futures_util::future::join_all;

use super::*;
use crate::config::{Config, Signaling};
use crate::credential::Credentials;
use crate::metrics::Metrics;
use crate::relay::Handle;
use crate::secret::Secret;
use crate::service::{Hub, Settings, fixture};
use crate::storage::{JoinGrant, MAX_DELETED_MESSAGES, NewMessage, NewRoom, Store};
use crate::token::Tokens;

const RETENTION: Duration = Duration::from_secs(3600);

/// An application with a room of alice, and its folder.
async fn app() -> (Arc<App>, tempfile::TempDir) {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(&place.path().join("parlor.db")).unwrap();
    store.provision("alice", None).await.unwrap();
    let room = NewRoom {
        id: Some("r".to_owned()),
        name: "r".to_owned(),
        ..NewRoom::default()
    };
    store.create_room(room).await.unwrap();
    let joined = store.join("r", "alice", JoinGrant::None, 0).await;
    joined.unwrap();
    let hub = Hub::new(&Signaling::default(), &Metrics::new());
    (fixture::app(hub, store, Handle::with_fake_shard().0), place)
}

fn set_retention(app: &App, retention: Duration) {
    let mut config = Config::default();
    config.rooms.message_retention = retention;
    let secret = Secret::new("north");
    let tokens = Tokens::new(&config.auth, &secret);
    let settings = Settings::new(config, tokens, Credentials::new(&secret, &[]));
    app.live.swap(settings);
}

/// Writes messages of this age.
async fn post(app: &App, count: u32, age: Duration) {
    let unix = clock::now().unix - age.as_secs();
    let posts = (0..count).map(|_| {
        let message = NewMessage {
            room_id: "r".to_owned(),
            user_id: "alice".to_owned(),
            content: "text".to_owned(),
        };
        app.store.post_message(message, 0, unix)
    });
    for posted in join_all(posts).await {
        posted.unwrap();
    }
}

async fn count(app: &App) -> usize {
    let all = app.store.messages("r", None, None, 10_000).await;
    all.unwrap().len()
}

#[tokio::test]
async fn messages_are_kept_for_the_retention_and_by_default_for_ever() {
    let (app, _place) = app().await;
    post(&app, 3, 2 * RETENTION).await;
    post(&app, 2, RETENTION / 2).await;
    set_retention(&app, Duration::ZERO);
    run_once(&app).await.unwrap();
    assert_eq!(count(&app).await, 5);
    set_retention(&app, RETENTION);
    run_once(&app).await.unwrap();
    assert_eq!(count(&app).await, 2);
}

#[tokio::test]
async fn more_old_messages_than_one_write_deletes_are_deleted_at_once() {
    let (app, _place) = app().await;
    post(&app, 2 * MAX_DELETED_MESSAGES + 1, 2 * RETENTION).await;
    post(&app, 1, Duration::ZERO).await;
    set_retention(&app, RETENTION);
    run_once(&app).await.unwrap();
    assert_eq!(count(&app).await, 1);
}
