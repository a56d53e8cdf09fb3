//! `[admin]`

use std::net::SocketAddr;
use std::path::PathBuf;

use super::macros::settings;

settings! {
    /// Admin commands and metrics.
    pub struct Admin in admin {
        /// The Unix socket for admin commands such as `parlor user disable`. Only root and parlor's own user
        /// may use it. Unset: `$RUNTIME_DIRECTORY/parlor.sock` (systemd), else `parlor.sock` in the data
        /// directory.
        socket: Option<PathBuf> = None, Restart, example "/run/parlor/parlor.sock";

        /// Addresses and ports for Prometheus metrics (`/metrics`); empty: none. They have no authentication:
        /// keep them off the internet.
        metrics_listen: Vec<SocketAddr> = vec![SocketAddr::from(([127, 0, 0, 1], 9641))], Restart;

        /// Whether `/metrics` uses the names and label values of older versions, until 0.3.0.
        old_metric_names: bool = false, Live;
    }
}
