//! The error of a relay that cannot start.

use std::io;

/// The reason why a relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// A complete sentence, as returned by [`cannot_listen`](super::sockets::cannot_listen).
    #[error("{0}")]
    Listen(String),
    #[error("cannot list the addresses of this host, which the relay needs: {0}")]
    OwnAddresses(io::Error),
    #[error("the relay could not start")]
    Start(#[from] io::Error),
}
