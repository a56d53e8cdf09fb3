//! The values that go into a server and come out of it.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::credential::RevokedGenerations;
use crate::stun::Method;

use super::quality::Quality;
use super::reasons::{DropReason, ErrorReason};

/// Bytes that must be free before each datagram: the header of a Data indication from an IPv6 peer
/// (20 + 24 + 4).
pub const HEADROOM: usize = 48;

/// Bytes that must be free behind each datagram: the padding of a DATA attribute.
pub const TAILROOM: usize = 3;

/// A shard of the relay, counted from 0.
pub type ShardId = u8;

/// The transport protocol between a client and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    Udp,
    Tcp,
    /// TLS over TCP.
    Tls,
}

impl Transport {
    /// Returns whether messages arrive in a stream. An allocation over a stream ends with it.
    pub fn is_stream(self) -> bool {
        self != Transport::Udp
    }
}

/// A client's five-tuple, and the socket or stream that leads to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub transport: Transport,
    /// The client's address as the server sees it (its *server-reflexive* address).
    pub client: SocketAddr,
    /// The server address that the client sends to.
    pub server: SocketAddr,
    /// The caller's number for the socket or stream. The server returns it unchanged.
    pub via: u32,
}

/// An allocation: its index in the table, and the generation of the row at this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId {
    pub index: u32,
    pub generation: u32,
}

/// Where a datagram goes. Ranges are of the caller's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send to `peer` from the relay socket with the caller's number `socket`.
    ToPeer {
        socket: u32,
        peer: SocketAddr,
        /// Whether the IP packet must not be fragmented (DONT-FRAGMENT).
        dont_fragment: bool,
        range: Range<usize>,
    },
    /// Send to a client: data from a peer, or from another client of this relay (the hairpin).
    ToClient { route: Route, range: Range<usize> },
    /// Pass to [`Server::handle_shard_datagram`](super::Server::handle_shard_datagram) of another
    /// shard: application data for one of its clients. `from` and `to` are relayed addresses.
    ToShard {
        shard: ShardId,
        from: SocketAddr,
        to: SocketAddr,
        range: Range<usize>,
    },
    /// Pass the unchanged message to
    /// [`Server::handle_client_datagram`](super::Server::handle_client_datagram) of another shard,
    /// to which its client belongs.
    Redirect { shard: ShardId },
    /// Send [`Server::response`](super::Server::response) to the sender of the datagram.
    Respond(Outcome),
    /// The response follows as [`Output::Response`].
    Queued,
    /// Send nothing.
    Dropped(DropReason),
}

/// The result of a request, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Granted(Method),
    Refused(Method, ErrorReason),
}

/// A command or an event for the caller, from [`Server::poll_output`](super::Server::poll_output).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bind a UDP relay socket to `address`, and report the result to
    /// [`Server::handle_bind_result`](super::Server::handle_bind_result). Datagrams that arrive on
    /// the socket belong to `owner`; drop them if there is none.
    Bind {
        id: AllocationId,
        address: SocketAddr,
        owner: Option<AllocationId>,
    },
    /// Datagrams that arrive on this relay socket belong to `owner` from now on.
    Adopt { socket: u32, owner: AllocationId },
    /// Send a response that had to wait.
    Response {
        route: Route,
        bytes: Vec<u8>,
        outcome: Outcome,
    },
    /// An allocation has ended.
    Ended(Box<Session>),
    /// Allocations have ended because this host lost their address.
    AddressLost { ip: IpAddr, allocations: usize },
    /// Close a relay socket.
    Unbind { socket: u32 },
    /// The path of a client has died in the middle of a call, or is back.
    PathChanged(Box<PathChange>),
}

/// The allocations of a user that a revocation ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every allocation of the user.
    All,
    /// The allocations whose credential is bound to this room and of these generations.
    Room(Box<str>, RevokedGenerations),
    /// Those of [`Scope::Room`], and the allocations whose credential is bound to no room.
    RoomAndUnbound(Box<str>, RevokedGenerations),
}

/// An allocation as reported to an administrator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The user, or an account without a user: see [`crate::credential::anonymous_address`].
    pub user: Box<str>,
    /// The room that the credential is bound to.
    pub room: Option<Box<str>>,
    pub transport: Transport,
    /// The client's address as the server sees it.
    pub client: SocketAddr,
    /// The server address that the client sends to.
    pub server: SocketAddr,
    /// The relayed transport address as peers see it; of two, the IPv4 one.
    pub relayed: SocketAddr,
    /// Of two relayed addresses, the IPv6 one.
    pub relayed_ipv6: Option<SocketAddr>,
    /// Creation time in Unix seconds.
    pub since: u64,
    /// Bytes of application data relayed from the client.
    pub bytes_up: u64,
    /// Bytes of application data relayed to the client.
    pub bytes_down: u64,
    /// The quality of the client's links; `None` without application data, or if `turn.quality` is
    /// off.
    #[serde(default)]
    pub quality: Option<Quality>,
}

/// The path between a client and the relay has died, or is back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathChange {
    /// The user, or an account without a user.
    pub user: Box<str>,
    /// The room that the credential is bound to.
    pub room: Option<Box<str>>,
    /// The address of the client.
    pub client: SocketAddr,
    /// Whether the path has died.
    pub is_lost: bool,
}

/// A part of a shard's sessions.
#[derive(Debug, Default)]
pub struct SessionPage {
    pub sessions: Vec<Session>,
    /// The start of the next page; `None` after the last page.
    pub next: Option<usize>,
}
