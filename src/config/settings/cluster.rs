//! `[cluster]`

use std::path::PathBuf;
use std::time::Duration;

use super::macros::settings;
use crate::config::RedisUrl;
use crate::secret::Secret;

settings! {
    /// Several parlors that serve the same rooms, each on a machine of its own. They share a PostgreSQL server
    /// and a Redis server.
    pub struct Cluster in cluster {
        /// The Redis server (7 or newer) that all nodes share, such as `"rediss://redis.example.org"`.
        /// Unset: this parlor is the only one.
        ///
        /// `rediss://` uses TLS, `redis://` does not; a user, a port and the number of a database may be in
        /// the URL (`rediss://parlor@redis.example.org:6380/1`). The URL of a Unix socket is
        /// `redis+unix:///run/redis/redis.sock`. It needs `store.url`, `auth.secret` and `turn.secret`, with
        /// the same values on all nodes. See [Several machines](../run/several-machines.md).
        ///
        /// `redis+sentinel://a.example.org,b.example.org:26379/main` asks these Redis Sentinels for the master of
        /// the service `main` (`?db=1`: a database). `rediss+sentinel://` uses TLS to the sentinels and to the
        /// master, whose certificate must name the host that the sentinels announce. The user and the password are
        /// those of the master; a sentinel gets them only if it demands a password.
        redis_url: Option<RedisUrl> = None, Restart, example "rediss://redis.example.org";

        /// The password for `cluster.redis_url`; it may also be in the URL.
        redis_password: Option<Secret> = None, Restart, example "password";

        /// A file with `cluster.redis_password` alone, instead of that key.
        /// (systemd: `LoadCredential=cluster.redis_password:FILE` needs no setting.)
        redis_password_file: Option<PathBuf> = None, Restart,
            example "/etc/parlor/cluster.redis_password";

        /// The certificate of the authority that signs the certificate of a `rediss://` server, in PEM. Unset: the
        /// authorities of the system.
        redis_ca_file: Option<PathBuf> = None, Restart, example "/etc/parlor/authority.pem";

        /// The name of this node, for admins: letters, digits, `.`, `_` and `-`. Unset: the name of the host.
        node: Option<String> = None, Restart, example "node-1";

        /// The beginning of all keys in Redis, the same on all nodes. Clusters with different prefixes can
        /// share a Redis server.
        prefix: String = "parlor:".to_owned(), Restart;

        /// How long the other nodes believe a node that is silent, 1 to 60 seconds, the same on all nodes.
        /// Its users leave their rooms then.
        #[serde(with = "crate::config::duration")]
        lease: Duration = Duration::from_secs(10), Restart;
    }
}
