//! A relay that goes on in another process: the sockets and the state of its shards, on their way
//! from one to the other.
//!
//! A descriptor may arrive under any number and in any order. What it was is known by its inode,
//! which a socket keeps for as long as anybody holds it, and by its address.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};
use socket2::SockRef;

use crate::turn::{BandwidthUse, Policy, Snapshot};

use super::sockets;

/// What a relay was doing, without its sockets.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What permissions were granted by.
    pub(super) policy: Policy,
    #[serde(rename = "debts")]
    pub(super) bandwidth_use: Vec<BandwidthUse>,
    pub(super) shards: Vec<ShardState>,
}

/// What a shard was doing.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardState {
    /// In the order of their numbers.
    pub(super) listeners: Vec<SocketId>,
    pub(super) relays: Vec<RelaySocketState>,
    pub(super) snapshot: Snapshot,
}

/// A socket, and how to know it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketId {
    pub(super) address: SocketAddr,
    inode: u64,
}

/// A relayed address by the number that its shard knew it by.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelaySocketState {
    pub(super) number: u32,
    pub(super) address: SocketAddr,
    /// `None` where no socket stood behind it.
    pub(super) inode: Option<u64>,
}

/// What one shard hands over.
pub struct ShardHandover {
    pub state: ShardState,
    pub listeners: Vec<UdpSocket>,
    pub relays: Vec<UdpSocket>,
}

/// What a stopped relay hands over. Where there is not room for all sockets, the first are worth
/// most.
pub struct RelayHandover {
    pub state: State,
    pub sockets: Vec<UdpSocket>,
}

impl RelayHandover {
    pub(super) fn new(
        policy: Policy,
        bandwidth_use: Vec<BandwidthUse>,
        handed: Vec<ShardHandover>,
    ) -> RelayHandover {
        let (mut listeners, mut relays, mut shards) = (Vec::new(), Vec::new(), Vec::new());
        for one in handed {
            listeners.extend(one.listeners);
            relays.extend(one.relays);
            shards.push(one.state);
        }
        listeners.extend(relays);
        RelayHandover {
            state: State {
                policy,
                bandwidth_use,
                shards,
            },
            sockets: listeners,
        }
    }
}

impl State {
    /// Allocations that wait to be taken up.
    pub fn allocations(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| shard.snapshot.allocations()).sum()
    }
}

impl SocketId {
    pub(super) fn of(socket: &UdpSocket) -> io::Result<SocketId> {
        Ok(SocketId {
            address: socket.local_addr()?,
            inode: inode(socket)?,
        })
    }
}

/// What the system knows a socket by, in whichever process.
pub fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(fstat(socket)?.st_ino)
}

/// Sockets that this process was started with. What nobody takes is closed with it.
#[derive(Default)]
pub struct Inherited {
    /// Each with the setting that it was bound for, where an earlier process has said so.
    tcp: Vec<(Option<String>, TcpListener)>,
    udp: HashMap<u64, UdpSocket>,
    /// Whether UDP sockets of an earlier process are still open somewhere, so that whoever binds the
    /// same address has to share it for a moment.
    pub(super) shares_ports: bool,
    pub(super) state: Option<State>,
}

impl Inherited {
    /// `named` says what TCP listeners were bound for, by their inodes.
    pub fn new(
        tcp: Vec<TcpListener>,
        udp: Vec<UdpSocket>,
        named: &HashMap<u64, String>,
        state: Option<State>,
    ) -> Inherited {
        let tcp = tcp.into_iter().map(|listener| {
            let name = inode(&listener).ok().and_then(|inode| named.get(&inode));
            (name.cloned(), listener)
        });
        for socket in &udp {
            // Where it can't be said, an address that has changed may be taken for another's.
            let _ = SockRef::from(socket).set_reuse_port(true);
        }
        let shares_ports = !udp.is_empty();
        let udp = udp.into_iter();
        Inherited {
            tcp: tcp.collect(),
            shares_ports,
            udp: udp
                .filter_map(|one| Some((inode(&one).ok()?, one)))
                .collect(),
            state,
        }
    }

    /// Ends listeners that fit none of the settings with their addresses, and stand on the port of
    /// one: whoever else holds them would keep the port taken.
    pub fn close_stale_listeners(&mut self, settings: &[(&str, Vec<SocketAddr>)]) {
        let asked = || {
            let settings = settings.iter();
            settings.flat_map(|(key, addresses)| addresses.iter().map(move |one| (*key, *one)))
        };
        self.tcp.retain(|handed| {
            let port = handed.1.local_addr().map(|actual| actual.port()).ok();
            let wanted = asked().any(|(key, address)| matches_setting(handed, key, address));
            let stays = wanted || !asked().any(|(_, address)| Some(address.port()) == port);
            if !stays {
                // Then it listens no more, in whichever process.
                let _ = SockRef::from(&handed.1).shutdown(Shutdown::Both);
            }
            stays
        });
    }

    /// The listener for `asked` of the setting `key`: that of an earlier process, or of a service
    /// manager.
    pub(super) fn take_tcp(&mut self, key: &str, asked: SocketAddr) -> Option<TcpListener> {
        let index = self
            .tcp
            .iter()
            .position(|handed| matches_setting(handed, key, asked))?;
        let (_, listener) = self.tcp.remove(index);
        listener.set_nonblocking(true).ok()?;
        Some(listener)
    }

    /// TCP listeners that nobody has taken so far.
    pub fn unclaimed_tcp(&self) -> Vec<SocketAddr> {
        let left = self.tcp.iter();
        left.filter_map(|(_, listener)| listener.local_addr().ok())
            .collect()
    }

    /// The sockets that the shards of an earlier process had for `asked`, in their order: none, or
    /// as many as there are `shards`.
    pub(super) fn take_udp(
        &mut self,
        asked: SocketAddr,
        shards: usize,
    ) -> io::Result<Vec<UdpSocket>> {
        let (udp, state) = (&mut self.udp, self.state.iter());
        let known = state.flat_map(|state| &state.shards);
        let mut taken: Vec<UdpSocket> = Vec::new();
        for shard in known.take(shards) {
            let of_this = |socket: &&SocketId| match taken.first().map(UdpSocket::local_addr) {
                Some(Ok(first)) => socket.address == first,
                Some(Err(_)) => false,
                None => satisfies(asked, socket.address),
            };
            let known = shard.listeners.iter().filter(of_this);
            let mut known = known.map(|socket| socket.inode);
            if let Some(socket) = known.find_map(|inode| udp.remove(&inode)) {
                taken.push(socket);
            }
        }
        if !taken.is_empty() {
            sockets::fill_group(&mut taken, shards)?;
        }
        Ok(taken)
    }

    /// The socket behind a relayed address.
    pub(super) fn take_relay_socket(&mut self, known: &RelaySocketState) -> Option<UdpSocket> {
        let socket = self.udp.remove(&known.inode?)?;
        (socket.local_addr().ok()? == known.address).then_some(socket)
    }
}

/// Whether a listener that was handed over is what the setting `key` asks for.
fn matches_setting(
    (name, listener): &(Option<String>, TcpListener),
    key: &str,
    asked: SocketAddr,
) -> bool {
    let bound_for = |actual| name.as_deref() == Some(key) && satisfies(asked, actual);
    let actual = listener.local_addr();
    actual.is_ok_and(|actual| actual == asked || bound_for(actual))
}

/// Whether an address that was bound is what a setting asks for: port 0 is any.
fn satisfies(asked: SocketAddr, actual: SocketAddr) -> bool {
    asked.ip() == actual.ip() && (asked.port() == 0 || asked.port() == actual.port())
}
