//! The listening UDP sockets of a relay, for the counters that the kernel keeps of them.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use super::udp::receive_drops;

/// Duplicates of the listening UDP sockets of all shards, with their addresses. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct UdpListeners(Arc<[(SocketAddr, UdpSocket)]>);

impl UdpListeners {
    pub(super) fn new(sockets: impl IntoIterator<Item = (SocketAddr, UdpSocket)>) -> UdpListeners {
        UdpListeners(sockets.into_iter().collect())
    }

    /// The datagrams that the kernel dropped because the receive buffer of a listener was full, by its
    /// address. The sockets of several shards share an address.
    pub fn receive_drops(&self) -> BTreeMap<SocketAddr, u64> {
        let mut drops = BTreeMap::new();
        for (address, socket) in self.0.iter() {
            *drops.entry(*address).or_default() += receive_drops(socket);
        }
        drops
    }
}
