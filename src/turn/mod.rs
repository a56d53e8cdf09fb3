//! TURN (RFC 8656) as a state machine: bytes and time in, bytes and orders out.
//!
//! [`Server`] decides, the edge does. There is one `Server` per relay shard and no lock inside on
//! the way of a packet. It never touches a socket, a clock or global randomness.
//!
//! # How to drive it
//!
//! - A datagram from a client goes to [`Server::handle_client_datagram`], one from a peer to [`Server::handle_peer_datagram`], what
//!   the network says of one that went to a peer to [`Server::handle_icmp_error`].
//!   What to do with the packet is *returned* ([`Verdict`]): data is never copied, only headers are
//!   written into the [`HEADROOM`] before it.
//! - After each call that may queue something, drain [`Server::poll_output`]. A socket exists
//!   before success is promised: [`Output::Bind`] must be answered by [`Server::handle_bind_result`].
//! - Call [`Server::handle_timeout`] when [`Server::next_deadline`] has passed.

mod addresses;
mod algorithms;
mod allocate;
mod allocation;
mod alternate;
mod attributes;
mod auth;
mod binding;
mod data;
mod directory;
mod discovery;
mod family;
mod host;
mod icmp;
mod lease;
mod nat_mapping;
mod nonce;
mod permissions;
mod policy;
mod ports;
mod quota;
mod reconfigure;
mod requests;
mod reservation;
mod response;
mod server;
mod sessions;
mod snapshot;
mod table;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

pub use alternate::Alternates;
pub use directory::{Directory, ShardId};
pub use discovery::{Discovery, Endpoint};
pub use host::{AddressState, Host, HostAddress};
pub use icmp::IcmpError;
pub use nat_mapping::NatMapping;
pub use nonce::Nonces;
pub use policy::Policy;
pub use quota::{BandwidthUse, Permit, Quotas};
pub use reconfigure::Changes;
pub use server::{Server, Settings};
pub use sessions::{Session, SessionPage};
pub use snapshot::{IdMap, Snapshot};

use serde::{Deserialize, Serialize};

use crate::stun::Method;

/// Bytes that must be free in front of each datagram handed in: the header of a Data indication
/// from an IPv6 peer (20 + 24 + 4).
pub const HEADROOM: usize = 48;

/// Bytes that must be free behind each datagram handed in: the padding of a DATA attribute.
pub const TAILROOM: usize = 3;

/// How a client reaches the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    Udp,
    Tcp,
    /// Over TCP.
    Tls,
}

impl Transport {
    /// Whether messages come in a stream, which dies with what was made over it.
    pub fn is_stream(self) -> bool {
        self != Transport::Udp
    }
}

/// A client's five-tuple, and the way back to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub transport: Transport,
    /// The client's address as the server sees it (its *server-reflexive* address).
    pub client: SocketAddr,
    /// The address that the client asked.
    pub server: SocketAddr,
    /// The edge's own number for the socket or stream; the core only hands it back.
    pub via: u32,
}

/// An allocation, by its place and the generation of that place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AllocationId {
    pub index: u32,
    pub generation: u32,
}

/// What to do with the datagram just handed in. Ranges are of the caller's buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Send to `peer` from the relay socket that the edge called `socket`.
    ToPeer {
        socket: u32,
        peer: SocketAddr,
        /// Whether it may not be cut into fragments, as DONT-FRAGMENT asks.
        dont_fragment: bool,
        range: Range<usize>,
    },
    /// Send to a client: a packet from a peer, or from another client of ours (the hairpin).
    ToClient { route: Route, range: Range<usize> },
    /// For another client of ours, whose allocation another shard has: hand it to
    /// [`Server::handle_shard_datagram`] there. `from` and `to` are relayed addresses.
    ToShard {
        shard: ShardId,
        from: SocketAddr,
        to: SocketAddr,
        range: Range<usize>,
    },
    /// The client belongs to another shard: hand the same message to [`Server::handle_client_datagram`] there.
    Redirect { shard: ShardId },
    /// Send [`Server::response`] back to where the datagram came from.
    Respond(Outcome),
    /// The response will come out of [`Server::poll_output`].
    Queued,
    /// Nothing to send.
    Dropped(DropReason),
}

/// What a response says; for the log and the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    Granted(Method),
    Refused(Method, ErrorReason),
}

/// Why a request was refused, in the words that an admin reads.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    thiserror::Error,
)]
pub enum ErrorReason {
    /// The normal first 401 of every client: not an error.
    #[error("challenge")]
    Challenge,
    #[error("bad request")]
    BadRequest,
    /// PASSWORD-ALGORITHMS is not what this server sent: somebody on the way may have changed it.
    #[error("password algorithms")]
    PasswordAlgorithms,
    #[error("unknown attribute")]
    UnknownAttribute,
    #[error("stale nonce")]
    StaleNonce,
    #[error("unknown realm")]
    UnknownRealm,
    #[error("unknown user")]
    UnknownUser,
    #[error("bad credential")]
    BadCredential,
    /// The same, from an address that has not returned a nonce and may be anybody's.
    #[error("bad credential and nonce")]
    BadCredentialAndNonce,
    #[error("expired")]
    Expired,
    #[error("revoked")]
    Revoked,
    #[error("wrong credentials")]
    WrongCredentials,
    #[error("allocation mismatch")]
    AllocationMismatch,
    #[error("address family not supported")]
    AddressFamily,
    #[error("unsupported transport")]
    UnsupportedTransport,
    #[error("peer address family mismatch")]
    PeerFamily,
    #[error("peer denied")]
    PeerDenied,
    /// The client has a 6to4 or Teredo address (RFC 8656 section 21.4).
    #[error("client behind a tunnel")]
    TunnelledClient,
    #[error("peer port denied")]
    PeerPortDenied,
    #[error("user quota")]
    UserQuota,
    #[error("address quota")]
    AddressQuota,
    #[error("quota of permissions or channels")]
    PeerQuota,
    #[error("total quota")]
    TotalQuota,
    #[error("no relay port")]
    NoPort,
    #[error("no such reservation")]
    NoReservation,
    #[error("draining")]
    Draining,
    /// The credential names no user, and `turn.unnamed` is off.
    #[error("no user named")]
    Unnamed,
}

/// Why a datagram led to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum DropReason {
    #[error("not STUN")]
    NotStun,
    #[error("malformed")]
    Malformed,
    #[error("not for a server")]
    NotForServer,
    #[error("stranger over the rate")]
    UnauthenticatedRate,
    #[error("retransmitted while being served")]
    Pending,
    #[error("no allocation")]
    NoAllocation,
    #[error("no channel")]
    NoChannel,
    #[error("no permission")]
    NoPermission,
    #[error("peer denied")]
    PeerDenied,
    #[error("peer port denied")]
    PeerPortDenied,
    #[error("no such relayed address")]
    NoRelay,
    #[error("too large for a Data indication")]
    TooLarge,
    #[error("bandwidth of the allocation")]
    AllocationBandwidth,
    #[error("bandwidth of the user")]
    UserBandwidth,
    #[error("bandwidth of all")]
    TotalBandwidth,
    /// Of a type that clients are not told of.
    #[error("not an ICMP error to report")]
    IcmpType,
    #[error("ICMP errors over the rate")]
    IcmpRate,
}

impl ErrorReason {
    /// In the order of their numbers.
    pub const ALL: [ErrorReason; 27] = [
        ErrorReason::Challenge,
        ErrorReason::BadRequest,
        ErrorReason::PasswordAlgorithms,
        ErrorReason::UnknownAttribute,
        ErrorReason::StaleNonce,
        ErrorReason::UnknownRealm,
        ErrorReason::UnknownUser,
        ErrorReason::BadCredential,
        ErrorReason::BadCredentialAndNonce,
        ErrorReason::Expired,
        ErrorReason::Revoked,
        ErrorReason::WrongCredentials,
        ErrorReason::AllocationMismatch,
        ErrorReason::AddressFamily,
        ErrorReason::UnsupportedTransport,
        ErrorReason::PeerFamily,
        ErrorReason::PeerDenied,
        ErrorReason::TunnelledClient,
        ErrorReason::PeerPortDenied,
        ErrorReason::UserQuota,
        ErrorReason::AddressQuota,
        ErrorReason::PeerQuota,
        ErrorReason::TotalQuota,
        ErrorReason::NoPort,
        ErrorReason::NoReservation,
        ErrorReason::Draining,
        ErrorReason::Unnamed,
    ];
}

impl DropReason {
    /// In the order of their numbers.
    pub const ALL: [DropReason; 17] = [
        DropReason::NotStun,
        DropReason::Malformed,
        DropReason::NotForServer,
        DropReason::UnauthenticatedRate,
        DropReason::Pending,
        DropReason::NoAllocation,
        DropReason::NoChannel,
        DropReason::NoPermission,
        DropReason::PeerDenied,
        DropReason::PeerPortDenied,
        DropReason::NoRelay,
        DropReason::TooLarge,
        DropReason::AllocationBandwidth,
        DropReason::UserBandwidth,
        DropReason::TotalBandwidth,
        DropReason::IcmpType,
        DropReason::IcmpRate,
    ];
}

/// An order to the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bind a UDP relay socket here and report by [`Server::handle_bind_result`]. What arrives on it belongs to
    /// `owner`; to nobody where that is `None`.
    Bind {
        id: AllocationId,
        address: SocketAddr,
        owner: Option<AllocationId>,
    },
    /// What arrives on this relay socket belongs to `owner` from now on.
    Adopt { socket: u32, owner: AllocationId },
    /// Send a response that had to wait.
    Response {
        route: Route,
        bytes: Vec<u8>,
        outcome: Outcome,
    },
    /// An allocation is no more.
    Ended(Box<Session>),
    /// Allocations ended because this host no longer has their address.
    AddressLost { ip: IpAddr, allocations: usize },
    /// Close a relay socket.
    Unbind { socket: u32 },
}

/// Whose allocations to free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every allocation of the user.
    All,
    /// Those bound to this room.
    Room(Box<str>),
    /// Those bound to this room, and those bound to none.
    RoomAndUnbound(Box<str>),
}
