//! The sockets that this process was started with: by the previous process, or by a service manager.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};

use socket2::SockRef;

use super::handover::{RelaySocketState, SocketId, State, inode};

/// Inherited sockets. Those that are not taken are closed when this is dropped.
#[derive(Default)]
pub struct Inherited {
    tcp: Vec<InheritedListener>,
    /// UDP sockets by inode.
    udp: HashMap<u64, UdpSocket>,
    /// Whether UDP sockets of an earlier process may still be open. New sockets on their addresses then
    /// need `SO_REUSEPORT` for a moment.
    pub(super) shares_ports: bool,
    pub(super) state: Option<State>,
}

struct InheritedListener {
    /// The setting that it was bound for, if the previous process has handed it over.
    key: Option<String>,
    listener: TcpListener,
}

impl Inherited {
    /// `keys` has the settings that TCP listeners were bound for, by inode.
    pub fn new(
        tcp: Vec<TcpListener>,
        udp: Vec<UdpSocket>,
        keys: &HashMap<u64, String>,
        state: Option<State>,
    ) -> Inherited {
        let tcp = tcp.into_iter().map(|listener| InheritedListener {
            key: inode(&listener)
                .ok()
                .and_then(|inode| keys.get(&inode).cloned()),
            listener,
        });
        for socket in &udp {
            // Lets new sockets bind the same address. If this fails, their bind reports the conflict.
            let _ = SockRef::from(socket).set_reuse_port(true);
        }
        Inherited {
            tcp: tcp.collect(),
            shares_ports: !udp.is_empty(),
            udp: udp
                .into_iter()
                .filter_map(|socket| Some((inode(&socket).ok()?, socket)))
                .collect(),
            state,
        }
    }

    /// Shuts down listeners that match none of `settings`, if their port is needed for one of these.
    ///
    /// Dropping such a listener is not enough: the process that handed it over may still hold it, and the port
    /// would stay in use.
    pub fn close_stale_listeners(&mut self, settings: &[(&str, Vec<SocketAddr>)]) {
        let wanted: Vec<(&str, SocketAddr)> = settings
            .iter()
            .flat_map(|(key, addresses)| addresses.iter().map(move |address| (*key, *address)))
            .collect();
        self.tcp.retain(|inherited| {
            let port = inherited.listener.local_addr().map(|actual| actual.port());
            let port = port.ok();
            let matches = wanted
                .iter()
                .any(|(key, wanted)| inherited.matches(key, *wanted));
            let needed = wanted.iter().any(|(_, wanted)| Some(wanted.port()) == port);
            let stays = matches || !needed;
            if !stays {
                // Ends listening in all processes that hold the socket.
                let _ = SockRef::from(&inherited.listener).shutdown(Shutdown::Both);
            }
            stays
        });
    }

    /// Takes the listener for the address `wanted` of the setting `key`.
    pub(super) fn take_tcp(&mut self, key: &str, wanted: SocketAddr) -> Option<TcpListener> {
        let mut tcp = self.tcp.iter();
        let index = tcp.position(|inherited| inherited.matches(key, wanted))?;
        let InheritedListener { listener, .. } = self.tcp.remove(index);
        listener.set_nonblocking(true).ok()?;
        Some(listener)
    }

    /// The addresses of TCP listeners that have not been taken.
    pub fn unclaimed_tcp(&self) -> Vec<SocketAddr> {
        let tcp = self.tcp.iter();
        tcp.filter_map(|inherited| inherited.listener.local_addr().ok())
            .collect()
    }

    /// Takes the sockets of up to `shards` shards of the previous process for the address `wanted`, in the order of
    /// the shards.
    ///
    /// The order matters: the kernel selects a socket of a `SO_REUSEPORT` group by its position, so a client
    /// stays with its shard.
    pub(super) fn take_udp(&mut self, wanted: SocketAddr, shards: usize) -> Vec<UdpSocket> {
        let earlier = self.state.iter().flat_map(|state| &state.shards);
        let mut taken: Vec<UdpSocket> = Vec::new();
        for shard in earlier.take(shards) {
            // With port 0, the first socket determines the port of the others.
            let is_wanted = |id: &&SocketId| match taken.first().map(UdpSocket::local_addr) {
                Some(Ok(first)) => id.address == first,
                Some(Err(_)) => false,
                None => satisfies(wanted, id.address),
            };
            let ids = shard.listeners.iter().filter(is_wanted);
            let mut inodes = ids.map(|id| id.inode);
            if let Some(socket) = inodes.find_map(|inode| self.udp.remove(&inode)) {
                taken.push(socket);
            }
        }
        taken
    }

    /// Takes the socket of a relayed address.
    pub(super) fn take_relay_socket(&mut self, relay: &RelaySocketState) -> Option<UdpSocket> {
        let socket = self.udp.remove(&relay.inode?)?;
        // An inode may have been reused after the socket was closed.
        (socket.local_addr().ok()? == relay.address).then_some(socket)
    }
}

impl InheritedListener {
    /// Whether the listener is bound to the address `wanted` of the setting `key`.
    fn matches(&self, key: &str, wanted: SocketAddr) -> bool {
        let Ok(actual) = self.listener.local_addr() else {
            return false;
        };
        let same_setting = self.key.as_deref() == Some(key);
        actual == wanted || (same_setting && satisfies(wanted, actual))
    }
}

/// Whether a bound address is what a setting asks for; port 0 allows any port.
fn satisfies(wanted: SocketAddr, actual: SocketAddr) -> bool {
    wanted.ip() == actual.ip() && (wanted.port() == 0 || wanted.port() == actual.port())
}
