//! How a service limits its connections.

use std::net::IpAddr;

use super::limits::Limits;
use super::reject::RejectReason;

/// Limits the connections of a service.
pub trait ConnectionAdmission: Send + Sync + 'static {
    /// A connection holds it for as long as it counts.
    type Permit: Send + 'static;

    /// Admits a connection from `peer`. `None` at a limit that [`ConnectionAdmission::released`] waits for: the
    /// connection stays, and later ones wait in the kernel's backlog.
    fn admit(&self, peer: IpAddr, limits: &Limits) -> Result<Option<Self::Permit>, RejectReason>;

    /// Waits until a permit may be free.
    fn released(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// Returns a future that completes when the connection has to be closed in favour of another. Call it
    /// once, before the connection is classified.
    fn evicted(&self, permit: &mut Self::Permit) -> impl Future<Output = ()> + Send + 'static;

    /// Counts the connection for its `client`, which a proxy may have named instead of `peer`.
    fn assign(
        &self,
        permit: &mut Self::Permit,
        peer: IpAddr,
        client: IpAddr,
        limits: &Limits,
    ) -> Result<(), RejectReason>;

    /// The connection is classified.
    fn classified(&self, _: &mut Self::Permit) {}
}
