//! Nodes in this process, and the connections of their users.

use std::sync::Arc;
use std::time::Duration;

use parlor::bus::redis::{Link, Server, Settings};
use parlor::config::Signaling;
use parlor::metrics::Metrics;
use parlor::service::{Entrance, Hub, Outbox, RoomHandle, cluster};
use parlor::tls::{Verification, client_config};
use parlor::token::Issue;
use tokio::task::JoinHandle;

/// The beginning of all keys.
pub(crate) const PREFIX: &str = "bench:";
const LEASE: Duration = Duration::from_secs(10);
const OUTBOX_BYTES: usize = 16 << 20;

/// A node; without a link the only one.
pub(crate) struct Node {
    pub hub: Arc<Hub>,
    pub link: Option<Arc<Link>>,
    task: Option<JoinHandle<()>>,
}

/// A user's connection.
pub(crate) struct Client {
    pub handle: RoomHandle,
    pub outbox: Arc<Outbox>,
}

impl Node {
    pub(crate) fn alone() -> Node {
        Node {
            hub: Hub::new(&settings(), &Metrics::new()),
            link: None,
            task: None,
        }
    }

    /// Starts one of several nodes, and waits until Redis lists it.
    pub(crate) async fn start(number: usize, url: &str) -> Node {
        let about = Settings {
            name: format!("n{number}"),
            prefix: PREFIX.to_owned(),
            lease: LEASE,
            about: String::new(),
        };
        let link = Arc::new(Link::new(about, rand::random()));
        let hub = Hub::with_link(&settings(), &Metrics::new(), Some(link.clone()));
        let tls = client_config(Verification::None, None).expect("a configuration");
        let server = Server::new(url, &tls).expect("a URL");
        let task = tokio::spawn(cluster::run(hub.clone(), link.clone(), server));
        while !link.is_available() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Node {
            hub,
            link: Some(link),
            task: Some(task),
        }
    }

    /// Gives up the lease.
    pub(crate) async fn finish(self) {
        if let Some(link) = &self.link {
            link.finish().await;
        }
    }

    pub(crate) async fn join(&self, room: &str, user: &str) -> Client {
        let outbox = Arc::new(Outbox::new(OUTBOX_BYTES));
        let issue = Issue::Own { generation: 0 };
        let joined = self.hub.join(room, Entrance::plain(user, issue), &outbox);
        let mut handle = joined.expect("a place");
        handle.entered().await.expect("a member");
        Client { handle, outbox }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// The built-in settings without limits of messages.
fn settings() -> Signaling {
    Signaling {
        rate: 1_000_000,
        burst: 1_000_000,
        byte_rate: 0,
        ..Signaling::default()
    }
}
