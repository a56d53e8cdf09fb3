//! What stands behind relayed addresses: a socket each, or, where nobody outside is to be reached,
//! nothing but the number.

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

/// The tokens of relay sockets count from here.
pub const FIRST_RELAY: usize = 1 << 16;

/// The relayed addresses of a shard, by the numbers that its server knows them by.
pub struct Relays {
    mode: RelayMode,
    held: Slab<Held>,
    /// The addresses that no socket holds. No other shard has any of these ports.
    numbers: HashSet<SocketAddr>,
}

enum Held {
    Socket(RelaySocket),
    Number(SocketAddr),
}

pub struct RelaySocket {
    pub socket: UdpSocket,
    /// `None` while the port is only reserved.
    pub owner: Option<AllocationId>,
    pub queued: bool,
    /// Whether the network may have something to say of what was sent.
    pub errors: bool,
}

impl Relays {
    pub fn new(mode: RelayMode) -> Relays {
        Relays {
            mode,
            held: Slab::new(),
            numbers: HashSet::new(),
        }
    }

    /// Takes an address, and gives its number. What arrives there belongs to `owner`.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] where it is taken, and whatever the system says.
    pub fn bind(
        &mut self,
        registry: &Registry,
        owner: Option<AllocationId>,
        address: SocketAddr,
    ) -> io::Result<u32> {
        let entry = self.held.vacant_entry();
        let index = entry.key();
        let held = match self.mode {
            RelayMode::Internal => {
                if !self.numbers.insert(address) {
                    return Err(io::ErrorKind::AddrInUse.into());
                }
                Held::Number(address)
            }
            RelayMode::Ports => {
                let socket = sockets::relay(address)?;
                register(registry, &socket, Token(FIRST_RELAY + index))?;
                Held::Socket(RelaySocket {
                    socket,
                    owner,
                    queued: false,
                    errors: false,
                })
            }
        };
        entry.insert(held);
        Ok(index as u32)
    }

    /// Takes an address that an earlier process had, with its socket where one stands behind it, and
    /// gives its number.
    pub fn take_up(
        &mut self,
        registry: &Registry,
        address: SocketAddr,
        socket: Option<UdpSocket>,
    ) -> io::Result<u32> {
        let entry = self.held.vacant_entry();
        let index = entry.key();
        let held = match (self.mode, socket) {
            (RelayMode::Internal, None) if self.numbers.insert(address) => Held::Number(address),
            (RelayMode::Ports, Some(socket)) => {
                register(registry, &socket, Token(FIRST_RELAY + index))?;
                Held::Socket(RelaySocket {
                    socket,
                    owner: None,
                    queued: false,
                    errors: true,
                })
            }
            _ => return Err(io::ErrorKind::Unsupported.into()),
        };
        entry.insert(held);
        Ok(index as u32)
    }

    /// Gives up everything: each address by its number, with the socket behind it.
    pub fn into_all(
        self,
    ) -> impl Iterator<Item = (u32, io::Result<SocketAddr>, Option<UdpSocket>)> {
        let held = self.held.into_iter();
        held.map(|(number, held)| match held {
            Held::Number(address) => (number as u32, Ok(address), None),
            Held::Socket(relay) => {
                let address = relay.socket.local_addr();
                (number as u32, address, Some(relay.socket))
            }
        })
    }

    pub fn adopt(&mut self, index: usize, owner: AllocationId) {
        if let Some(relay) = self.get_mut(index) {
            relay.owner = Some(owner);
        }
    }

    /// Gives an address up. A socket that is closed leaves the poller by itself.
    pub fn unbind(&mut self, index: usize) {
        if let Some(Held::Number(address)) = self.held.try_remove(index) {
            self.numbers.remove(&address);
        }
    }

    pub fn get(&self, index: usize) -> Option<&RelaySocket> {
        match self.held.get(index)? {
            Held::Socket(relay) => Some(relay),
            Held::Number(_) => None,
        }
    }

    pub fn get_mut(&mut self, index: usize) -> Option<&mut RelaySocket> {
        match self.held.get_mut(index)? {
            Held::Socket(relay) => Some(relay),
            Held::Number(_) => None,
        }
    }

    pub fn fd(&self, index: usize) -> Option<BorrowedFd<'_>> {
        Some(self.get(index)?.socket.as_fd())
    }
}

/// Has the poller speak up when something arrives.
pub fn register(registry: &Registry, socket: &UdpSocket, token: Token) -> io::Result<()> {
    let fd = socket.as_raw_fd();
    registry.register(&mut SourceFd(&fd), token, Interest::READABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_a_socket_is_taken_once_and_free_again_afterwards() {
        let poll = mio::Poll::new().unwrap();
        let registry = poll.registry();
        let mut relays = Relays::new(RelayMode::Internal);
        // This host has no such address: a socket could not be bound there.
        let address = "192.0.2.1:50000".parse().unwrap();
        let index = relays.bind(registry, None, address).unwrap();
        let taken = relays.bind(registry, None, address).unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
        assert!(relays.fd(index as usize).is_none());
        relays.unbind(index as usize);
        assert!(relays.bind(registry, None, address).is_ok());
    }
}
