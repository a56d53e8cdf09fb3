//! The state and the sockets of a relay on their way to the next process.
//!
//! Descriptors arrive under any number and in any order. A socket is recognised by its inode, which
//! stays the same while any process holds the socket, and by its address.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;

use nix::sys::stat::fstat;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::turn::{BandwidthUse, Policy, Snapshot};

/// The state of a relay, without its sockets.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// The policy that granted the permissions.
    pub(super) policy: Policy,
    #[serde(rename = "debts")]
    pub(super) bandwidth_use: Vec<BandwidthUse>,
    pub(super) shards: Vec<ShardState>,
}

/// The state of a shard.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShardState {
    /// The listening sockets, indexed by the ids in the snapshot.
    pub(super) listeners: Vec<SocketId>,
    pub(super) relays: Vec<RelaySocketState>,
    pub(super) snapshot: Snapshot,
}

/// The identity of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SocketId {
    pub(super) address: SocketAddr,
    pub(super) inode: u64,
}

/// A relayed address.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RelaySocketState {
    /// The id in the snapshot.
    pub(super) number: u32,
    pub(super) address: SocketAddr,
    /// The inode of its socket; `None` for a virtual address.
    pub(super) inode: Option<u64>,
}

/// The state and the sockets of a shard.
pub(super) struct ShardHandover {
    pub state: ShardState,
    pub listeners: Vec<UdpSocket>,
    pub relays: Vec<UdpSocket>,
}

/// Receives the handover of a shard.
pub(super) type HandoverReply = oneshot::Sender<io::Result<(ShardHandover, Policy)>>;

/// The state and the sockets of a stopped relay. If not all sockets can be handed over, the first ones
/// are the most important: those of listeners.
pub struct RelayHandover {
    pub state: State,
    pub sockets: Vec<UdpSocket>,
}

impl RelayHandover {
    pub(super) fn new(
        policy: Policy,
        bandwidth_use: Vec<BandwidthUse>,
        handovers: Vec<ShardHandover>,
    ) -> RelayHandover {
        let (mut sockets, mut relays, mut shards) = (Vec::new(), Vec::new(), Vec::new());
        for shard in handovers {
            sockets.extend(shard.listeners);
            relays.extend(shard.relays);
            shards.push(shard.state);
        }
        sockets.extend(relays);
        RelayHandover {
            state: State {
                policy,
                bandwidth_use,
                shards,
            },
            sockets,
        }
    }
}

impl State {
    /// The number of allocations.
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

/// The inode of a socket, which is the same in every process.
pub fn inode(socket: &impl AsFd) -> io::Result<u64> {
    Ok(fstat(socket)?.st_ino)
}
