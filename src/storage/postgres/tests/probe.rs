//! The check whether the next process could open the store.

use std::time::Duration;

use tokio::time::sleep;

use crate::config::{self, Config};
use crate::storage::tests::options;
use crate::storage::tests::server::{Database, server};
use crate::storage::{RedisId, Store, StoreError, StoreLock};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Opens the store as a node of a cluster does.
async fn node(database: &Database) -> Store {
    let options = options(database);
    let node = Store::connect_with(&options, StoreLock::Shared).await;
    node.unwrap()
}

/// The settings of a store on this database.
fn settings(database: &Database) -> config::Store {
    let mut settings = Config::default().store;
    settings.url = Some(options(database).url);
    settings
}

#[tokio::test]
async fn the_lock_of_another_process_keeps_a_start_from_the_store_and_the_own_does_not() {
    let database = server().create(None);
    let settings = settings(&database);
    let own = node(&database).await;
    let alone = || own.probe(&settings, StoreLock::Exclusive);
    let shared = || own.probe(&settings, StoreLock::Shared);
    assert_eq!((alone().await, shared().await), (Ok(vec![]), Ok(vec![])));
    let other = node(&database).await;
    assert_eq!(shared().await, Ok(vec![]));
    let refused = alone().await.unwrap_err();
    assert!(
        matches!(refused, StoreError::ServerInUse { .. }),
        "{refused}"
    );
    drop(other);
    while alone().await.is_err() {
        sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn a_start_learns_which_redis_other_nodes_reach() {
    let database = server().create(None);
    let (own, other) = (node(&database).await, node(&database).await);
    let [own_id, other_id] = ["p:", "q:"].map(|prefix| RedisId::new(prefix, "server"));
    own.set_reached_redis(Some(own_id));
    other.set_reached_redis(Some(other_id));
    while own.reached_redis().await.unwrap().len() < 2 {
        sleep(PAUSE).await;
    }
    let reached = own.probe(&settings(&database), StoreLock::Shared).await;
    assert_eq!(reached, Ok(vec![other_id]));
}
