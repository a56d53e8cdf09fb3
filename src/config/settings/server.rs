//! `[server]`

use std::path::PathBuf;
use std::time::Duration;

use super::macros::settings;

settings! {
    /// The data directory, the public URL, and the end of the process.
    pub struct Server in server {
        /// The directory of the database (`parlor.db`) and the generated secrets.
        /// Unset: `$STATE_DIRECTORY` (systemd), else `$XDG_DATA_HOME/parlor`, else `~/.local/share/parlor`.
        ///
        /// `parlor serve` creates it with mode 0700 and locks it; other commands use it unchanged.
        data_dir: Option<PathBuf> = None, Restart, example "/var/lib/parlor";

        /// The public URL of this server: invite links begin with it, and ICE URLs use its host.
        /// It has a scheme, a host and, if it is not the default, the port.
        /// Unset: links use this host's address, and ICE URLs the host of the request.
        ///
        /// It also has a path if [a proxy](../run/proxies.md#below-a-path) serves parlor below one.
        /// Internationalised names are accepted and stored in their DNS form (`xn--…`).
        public_url: Option<String> = None, Live, example "https://talk.example.org";

        /// After SIGTERM or SIGINT, parlor accepts no new clients and lets calls finish for at most this long.
        /// It ends early when no client is connected and nothing is relayed; `"0s"` ends at once.
        ///
        /// During this [drain](../run/updates.md#draining), parlor closes WebSockets with 1012 one after
        /// the other. A second signal ends it at once. For more than about 10 seconds, raise
        /// `TimeoutStopSec=` of the unit as well.
        #[serde(with = "crate::config::duration")]
        drain_timeout: Duration = Duration::from_secs(5), Live;
    }
}
