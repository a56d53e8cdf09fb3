//! A request while the server handles it, and the result of a granted one.

use std::net::SocketAddr;

use crate::clock::Now;
use crate::stun::Message;

use super::{AllocationId, Route, ShardId};

/// A request, its time of arrival and its sender.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub now: Now,
    pub route: &'a Route,
    pub message: &'a Message<'a>,
}

/// The result of a granted request.
pub(super) enum Granted {
    /// A success response without further attributes.
    Plain,
    /// A success response with LIFETIME, in seconds.
    Lifetime(u32),
    /// The Allocate response of this allocation once more.
    Retransmit(AllocationId),
    /// The response follows when the relay socket is bound.
    Queued,
    /// A retransmission while the first request is pending: no response.
    Pending,
    /// Another shard must handle the request.
    OtherShard(ShardId),
    /// The client must allocate at this server, which relays its room.
    OtherServer(SocketAddr),
}
