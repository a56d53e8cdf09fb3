//! `[store]`

use std::path::PathBuf;

use super::macros::settings;
use crate::config::StoreUrl;
use crate::secret::Secret;

settings! {
    /// Where users, rooms, memberships and messages are stored.
    pub struct Store in store {
        /// The PostgreSQL server (15 or newer) and its database, such as
        /// `"postgres://parlor@db.example.org/parlor"`. Unset: SQLite in the data directory.
        ///
        /// `?sslmode=` is `disable`, `require` (any certificate), `verify-ca` (a trusted authority) or
        /// `verify-full` (and the name of the server). The default is `verify-full`, and `disable` for a
        /// Unix socket or a loopback address. The URL of a socket in `/run/postgresql` is
        /// `postgres://parlor@%2Frun%2Fpostgresql/parlor`. See [PostgreSQL](../run/postgresql.md).
        url: Option<StoreUrl> = None, Restart, example "postgres://parlor@db.example.org/parlor";

        /// The password for `store.url`; it may also be in the URL.
        password: Option<Secret> = None, Restart, example "password";

        /// A file with `store.password` alone, instead of that key.
        /// (systemd: `LoadCredential=store.password:FILE` needs no setting.)
        password_file: Option<PathBuf> = None, Restart, example "/etc/parlor/store.password";

        /// The certificate of the authority that signs the server's certificate, in PEM. Unset: the
        /// authorities of the system.
        ca_file: Option<PathBuf> = None, Restart, example "/etc/parlor/authority.pem";

        /// The maximum number of connections to the PostgreSQL server, besides one that polls for changes and one
        /// that holds the lock of the database.
        max_connections: usize = 16, Restart;
    }
}
