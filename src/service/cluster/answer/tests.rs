//! Requests between two nodes on a real Redis.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::bus::redis::tests::server::server;
use crate::relay::Handle;
use crate::service::cluster::tests::start;
use crate::service::fixture::{self, eventually};
use crate::storage::Store;

const LEASE: Duration = Duration::from_secs(60);

/// Two nodes, and the directory of their stores. The first knows the second.
async fn nodes() -> (Arc<App>, Arc<App>, TempDir) {
    let (directory, url) = (TempDir::new().unwrap(), server().database());
    let far = start("far", &url, LEASE).await;
    let near = start("near", &url, LEASE).await;
    let app = |node: crate::service::cluster::tests::Node| {
        let name = node.hub.link().unwrap().id();
        let store = Store::open(&directory.path().join(&*name)).unwrap();
        fixture::app(node.hub, store, Handle::with_fake_shard().0)
    };
    let (near, far) = (app(near), app(far));
    let link = near.hub.link().unwrap();
    eventually(|| link.nodes().borrow().len() == 2).await;
    (near, far, directory)
}

fn answer_requests(app: &Arc<App>) {
    let stop = CancellationToken::new();
    tokio::spawn(serve(app.clone(), Arc::default(), stop));
}

#[tokio::test]
async fn a_request_of_a_later_version_gets_no_answer_and_the_next_one_does() {
    let (near, far, _directory) = nodes().await;
    answer_requests(&far);
    let link = near.hub.link().unwrap();
    let later = message::request(1, b"\"later\"").unwrap();
    let other_version = [&[2, 9][..], &later[2..]].concat();
    for bytes in [later, other_version, vec![77], Vec::new()] {
        assert!(link.tell_all(bytes));
    }
    let described = near.describe_nodes().await.unwrap();
    let [(name, description)] = &described.answers[..] else {
        panic!("{described:?}");
    };
    assert_eq!(name, "far");
    assert_eq!(description.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(described.silent, [""; 0]);
}

#[tokio::test]
async fn a_node_that_does_not_answer_requests_is_named() {
    let (near, _far, _directory) = nodes().await;
    let described = near.describe_nodes().await.unwrap();
    assert_eq!(described.answers, []);
    assert_eq!(described.silent, ["far"]);
}
