//! A sans-IO TURN server (RFC 8656): datagrams and timestamps in, transmits and socket commands
//! out.
//!
//! [`Server`] holds the protocol of one shard. It touches no socket, no clock and no global
//! randomness: time and the seed are arguments, so a test runs hours in milliseconds and replays.
//! There is one `Server` per relay shard, and a packet takes no lock.
//!
//! # How to drive a server
//!
//! The caller (`relay`) owns the sockets. It repeats these steps, all with the same `now`:
//!
//! 1. **Wait** until a socket is readable or [`Server::next_deadline`] has passed.
//! 2. **Timers**: call [`Server::handle_timeout`]. Permissions, channels, allocations and
//!    reservations that have expired end here, before the datagrams that follow.
//! 3. **Inputs**: pass each datagram to one of the functions below. Each has [`HEADROOM`] free
//!    bytes before it and [`TAILROOM`] behind it, where the server writes headers and padding.
//! 4. **Outputs**: call [`Server::poll_output`] until it returns `None`. An answer to a command
//!    ([`Server::handle_bind_result`]) can queue further outputs.
//!
//! | input | function |
//! |---|---|
//! | a datagram, or one message of a stream, from a client | [`Server::handle_client_datagram`] |
//! | a datagram from a peer, on a relay socket | [`Server::handle_peer_datagram`] |
//! | application data from a client of another shard | [`Server::handle_shard_datagram`] |
//! | an ICMP error about a datagram to a peer | [`Server::handle_icmp_error`] |
//! | a stream began or ended | [`Server::stream_opened`], [`Server::stream_closed`] |
//! | the result of [`Output::Bind`] | [`Server::handle_bind_result`] |
//! | the addresses of this host changed | [`Server::deny_peers`], [`Server::set_host`] |
//! | a client's report of what it received | [`Server::record_reports`] |
//! | an administrator's command | [`Server::reconfigure`], [`Server::revoke`], [`Server::close_room`], [`Server::end_session`] |
//!
//! There are two kinds of output:
//!
//! - A datagram's destination is *returned* as a [`Verdict`], with a range of the caller's own
//!   buffer to send. The payload is never copied. [`Verdict::Respond`] refers to
//!   [`Server::response`], which the next input overwrites.
//! - Everything rarer is *queued* as an [`Output`]. In particular an Allocate is answered only after
//!   its relay socket exists: [`Output::Bind`], then [`Server::handle_bind_result`], then
//!   [`Output::Response`].

mod address_changes;
mod algorithms;
mod allocate;
mod allocation;
mod allocation_table;
mod alternate_server;
mod attributes;
mod auth;
mod bandwidth;
mod client_key;
mod directory;
mod discovery;
mod dispatch;
mod extra_addresses;
mod family;
mod host;
mod icmp;

mod input;
mod link_quality;
mod nat_mapping;
mod new_peers;
mod nonce;
mod permissions;
mod policy;
mod port_binding;
mod ports;
mod quality;
mod quota;
mod reasons;
mod rebinding;
mod recent_peers;
mod reconfigure;
mod relaying;
mod request;
mod reservation;
mod response;
mod room_key;
mod room_relays;
mod scope;
mod server;
mod sessions;
mod settings;
mod snapshot;
mod stun_binding;
mod traffic;
mod types;

#[cfg(test)]
mod tests;

pub use alternate_server::Alternates;
pub use directory::Directory;
pub use discovery::{Discovery, Endpoint};
pub use host::{AddressState, Host, HostAddress};
pub use icmp::IcmpError;
pub use nat_mapping::NatMapping;
pub use nonce::Nonces;
pub use policy::Policy;
pub use quality::{LinkQuality, Loss, Quality, StreamReport};
pub use quota::{BandwidthUse, Permit, Quotas};
pub use reasons::{DropReason, ErrorReason};
pub use room_relays::{RoomRelay, RoomRelays};
pub use server::Server;
pub use settings::{Config, Settings};
pub use snapshot::{IdMap, Snapshot};
pub use traffic::Traffic;
pub use types::{
    AllocationId, HEADROOM, Outcome, Output, PathChange, Route, Scope, Session, SessionPage,
    ShardId, TAILROOM, Transport, Verdict,
};
