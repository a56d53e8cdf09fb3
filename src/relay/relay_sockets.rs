//! The relayed addresses of a shard: a socket each, or virtual ones with `turn.mode = "internal"`.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use slab::Slab;

use crate::config::RelayMode;
use crate::turn::AllocationId;

use super::sockets;

/// The first token of relay sockets.
pub(super) const FIRST_RELAY_TOKEN: usize = 1 << 16;

/// The relayed addresses of a shard, by the ids that its server uses.
pub(super) struct RelaySockets {
    mode: RelayMode,
    endpoints: Slab<RelayEndpoint>,
    /// The addresses without a socket. Every port belongs to one shard, so this set detects all conflicts.
    virtual_addresses: HashSet<SocketAddr>,
}

enum RelayEndpoint {
    Socket(RelaySocket),
    Virtual(SocketAddr),
}

pub(super) struct RelaySocket {
    pub socket: UdpSocket,
    /// The allocation that receives packets of this socket; `None` while the port is only reserved.
    pub owner: Option<AllocationId>,
    pub queued: bool,
    /// Whether the error queue may have entries.
    pub errors: bool,
}

impl RelaySockets {
    pub(super) fn new(mode: RelayMode) -> RelaySockets {
        RelaySockets {
            mode,
            endpoints: Slab::new(),
            virtual_addresses: HashSet::new(),
        }
    }

    /// Binds an address for `owner`, and returns its id.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if the address is in use, and errors of the system.
    pub(super) fn bind(
        &mut self,
        registry: &Registry,
        owner: Option<AllocationId>,
        address: SocketAddr,
    ) -> io::Result<u32> {
        let entry = self.endpoints.vacant_entry();
        let index = entry.key();
        let endpoint = match self.mode {
            RelayMode::Internal => {
                if !self.virtual_addresses.insert(address) {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                RelayEndpoint::Virtual(address)
            }
            RelayMode::Ports => {
                let socket = sockets::relay_socket(address)?;
                register(registry, &socket, Token(FIRST_RELAY_TOKEN + index))?;
                RelayEndpoint::Socket(RelaySocket {
                    socket,
                    owner,
                    queued: false,
                    errors: false,
                })
            }
        };
        entry.insert(endpoint);
        Ok(index as u32)
    }

    /// Adopts an address of an earlier process, with its socket unless it is virtual, and returns its id.
    pub(super) fn adopt(
        &mut self,
        registry: &Registry,
        address: SocketAddr,
        socket: Option<UdpSocket>,
    ) -> io::Result<u32> {
        let entry = self.endpoints.vacant_entry();
        let index = entry.key();
        let endpoint = match (self.mode, socket) {
            (RelayMode::Internal, None) if self.virtual_addresses.insert(address) => {
                RelayEndpoint::Virtual(address)
            }
            (RelayMode::Ports, Some(socket)) => {
                register(registry, &socket, Token(FIRST_RELAY_TOKEN + index))?;
                RelayEndpoint::Socket(RelaySocket {
                    socket,
                    owner: None,
                    queued: false,
                    errors: true,
                })
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        entry.insert(endpoint);
        Ok(index as u32)
    }

    /// Returns each address with its id and socket.
    pub(super) fn into_endpoints(
        self,
    ) -> impl Iterator<Item = (u32, io::Result<SocketAddr>, Option<UdpSocket>)> {
        let endpoint = self.endpoints.into_iter();
        endpoint.map(|(number, endpoint)| match endpoint {
            RelayEndpoint::Virtual(address) => (number as u32, Ok(address), None),
            RelayEndpoint::Socket(relay) => {
                let address = relay.socket.local_addr();
                (number as u32, address, Some(relay.socket))
            }
        })
    }

    pub(super) fn set_owner(&mut self, index: usize, owner: AllocationId) {
        if let Some(relay) = self.get_mut(index) {
            relay.owner = Some(owner);
        }
    }

    /// Releases an address. Closing its socket also removes it from the poller.
    pub(super) fn unbind(&mut self, index: usize) {
        if let Some(RelayEndpoint::Virtual(address)) = self.endpoints.try_remove(index) {
            self.virtual_addresses.remove(&address);
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<&RelaySocket> {
        match self.endpoints.get(index)? {
            RelayEndpoint::Socket(relay) => Some(relay),
            RelayEndpoint::Virtual(_) => None,
        }
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut RelaySocket> {
        match self.endpoints.get_mut(index)? {
            RelayEndpoint::Socket(relay) => Some(relay),
            RelayEndpoint::Virtual(_) => None,
        }
    }

    pub(super) fn fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        Some(self.get(index)?.socket.as_fd())
    }
}

/// Registers a socket for read events.
pub(super) fn register(registry: &Registry, socket: &UdpSocket, token: Token) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_virtual_address_is_bound_once_and_free_again_after_unbind() {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry();
        let mut relay_sockets = RelaySockets::new(RelayMode::Internal);
        // This host does not have this address, so binding a socket would fail.
        let address = "192.0.2.1:50000".parse().unwrap();
        let index = relay_sockets.bind(registry, None, address).unwrap();
        let taken = relay_sockets.bind(registry, None, address).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(relay_sockets.fd(index as usize).is_none());
        relay_sockets.unbind(index as usize);
        assert!(relay_sockets.bind(registry, None, address).is_ok());
    }
}
