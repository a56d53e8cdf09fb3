//! The listening sockets of a relay.

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use nix::sys::stat::fstat;

use super::error::RelayError;
use super::inherited::Inherited;
use super::udp_listeners::UdpListeners;
use super::{local_addresses, sockets};

/// The listening sockets, which are bound before anything else is started.
pub struct BoundListeners {
    /// For each shard, a socket on every address.
    pub udp: Vec<Vec<UdpSocket>>,
    pub tcp: Vec<TcpListener>,
    /// The addresses of `turn.alternate_port`, which serve STUN over UDP only. In `udp` of each shard, their
    /// sockets are the last.
    pub(super) alternate: Vec<SocketAddr>,
    pub tls: Vec<TcpListener>,
}

/// Binds `turn.listen` for UDP and TCP, with a UDP socket for each shard on every address, and
/// `turn.tls_listen`. Takes inherited sockets instead where they match.
pub fn bind(
    listen: &[SocketAddr],
    tls: &[SocketAddr],
    shards: usize,
    inherited: &mut Inherited,
) -> Result<BoundListeners, RelayError> {
    let mut bound = BoundListeners {
        udp: (0..shards).map(|_| Vec::new()).collect(),
        tcp: Vec::new(),
        alternate: Vec::new(),
        tls: sockets::tcp_listeners(tls, "turn.tls_listen", inherited)
            .map_err(RelayError::Listen)?,
    };
    let own = local_addresses::own_addresses().map_err(RelayError::OwnAddresses)?;
    for address in sockets::listen_on(listen, &own) {
        match sockets::turn_sockets(address, shards, inherited) {
            Ok((udp, tcp)) => {
                bound.add_udp(udp);
                bound.tcp.push(tcp);
            }
            Err(error) if sockets::is_family_missing(address, &error) => {
                tracing::warn!(%address, "this host has no IPv6: not listening there");
            }
            Err(error) => {
                let sentence = sockets::cannot_listen(address, "turn.listen", &error);
                return Err(RelayError::Listen(sentence));
            }
        }
    }
    if bound.tcp.is_empty() && !listen.is_empty() {
        let sentence = "no address of turn.listen can be listened on".to_owned();
        return Err(RelayError::Listen(sentence));
    }
    Ok(bound)
}

impl BoundListeners {
    /// The addresses that serve clients over UDP and TCP.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpListener::local_addr).collect()
    }

    /// The addresses that serve clients over TLS.
    pub fn tls_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tls.iter().map(TcpListener::local_addr).collect()
    }

    /// The inode of a listening socket, which the next process gets with the state; 0 if there is none.
    pub fn inode(&self) -> io::Result<u64> {
        match self.udp.iter().flatten().next() {
            Some(socket) => Ok(fstat(socket)?.st_ino),
            None => Ok(0),
        }
    }

    /// Adds the sockets of one address, one for each shard.
    pub(super) fn add_udp(&mut self, sockets: Vec<UdpSocket>) {
        for (shard, socket) in self.udp.iter_mut().zip(sockets) {
            shard.push(socket);
        }
    }

    /// Duplicates every listening UDP socket, for their drop counters.
    pub(super) fn duplicate_udp(&self) -> io::Result<UdpListeners> {
        let sockets = self.udp.iter().flatten();
        let sockets = sockets.map(|socket| Ok((socket.local_addr()?, socket.try_clone()?)));
        Ok(UdpListeners::new(sockets.collect::<io::Result<Vec<_>>>()?))
    }
}
