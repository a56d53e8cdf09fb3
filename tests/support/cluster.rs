//! Several nodes on one PostgreSQL and one Redis server.

use super::http::Client;
use super::postgres::Database;
use super::redis::{Server as Redis, server as redis};
use super::{Builder, Daemon, postgres, token};

/// The secrets that all nodes share.
const AUTH_SECRET: &str = "a secret of all nodes, thirty-two bytes and more";
const TURN_SECRET: &str = "a TURN secret of all nodes";

/// A lease that ends before a test loses patience.
pub(crate) const SHORT_LEASE: &str = "2s";
/// A lease that does not end during a test.
pub(crate) const LONG_LEASE: &str = "60s";

/// The servers and settings that the nodes share.
pub(crate) struct Cluster {
    database: Database,
    redis_url: String,
    lease: &'static str,
}

impl Cluster {
    pub(crate) fn new(lease: &'static str) -> Cluster {
        Cluster::on(redis(), lease)
    }

    /// A cluster on a Redis server that the test may stop.
    pub(crate) fn on(redis: &Redis, lease: &'static str) -> Cluster {
        Cluster::at(postgres::server(), redis.database(), lease)
    }

    /// A cluster on a PostgreSQL server that the test may stop, and on the Redis server with this URL.
    pub(crate) fn at(
        postgres: &'static postgres::Server,
        redis_url: String,
        lease: &'static str,
    ) -> Cluster {
        Cluster {
            database: postgres.create(None),
            redis_url,
            lease,
        }
    }

    /// The settings of a node, to be changed before its start.
    pub(crate) fn node(&self, name: &str) -> Builder {
        let settings = self.settings(name).into_iter();
        settings.fold(Builder::new(), |builder, (key, value)| {
            builder.env(key, &value)
        })
    }

    /// The settings of a node, as variables.
    pub(crate) fn settings(&self, name: &str) -> [(&'static str, String); 7] {
        [
            ("PARLOR_STORE__URL", self.database.url()),
            ("PARLOR_CLUSTER__REDIS_URL", self.redis_url.clone()),
            ("PARLOR_CLUSTER__LEASE", self.lease.to_owned()),
            ("PARLOR_CLUSTER__NODE", name.to_owned()),
            ("PARLOR_AUTH__SECRET", AUTH_SECRET.to_owned()),
            ("PARLOR_TURN__SECRET", TURN_SECRET.to_owned()),
            ("PARLOR_AUTH__PROVISION_USERS", "true".to_owned()),
        ]
    }

    /// Starts a node.
    pub(crate) fn start(&self, name: &str) -> Daemon {
        self.node(name).start()
    }

    pub(crate) fn into_database(self) -> Database {
        self.database
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn redis_url(&self) -> &str {
        &self.redis_url
    }
}

/// A token that all nodes accept.
pub(crate) fn cluster_token(user: &str) -> String {
    token(AUTH_SECRET, user)
}

/// Makes a user a member of a room.
pub(crate) fn join(node: &Daemon, room: &str, user: &str) {
    let caller = Client::new(node.http()).with_token(&cluster_token(user));
    caller.post(&format!("/api/rooms/{room}/join")).ok();
}
