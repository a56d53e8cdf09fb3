//! One allocation: its relayed address, permissions and channels (RFC 8656 sections 3.2 to 3.5).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::Mono;
use crate::rate::{Cell, Limit};
use crate::stun::TransactionId;

use super::algorithms::Key;
use super::reservation::Token;
use super::{Dropped, Permit, Route};

/// RFC 8656 section 9: a permission lasts five minutes.
pub(super) const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// RFC 8656 section 12: a channel lasts ten minutes.
pub(super) const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// Bytes that a packet costs at least: an empty one is not free.
const LEAST: usize = 8;

#[derive(Debug)]
pub(super) struct Allocation {
    pub route: Route,
    pub username: Box<str>,
    /// The user and room that `username` names.
    pub user: Box<str>,
    pub room: Option<Box<str>>,
    pub key: Key,
    /// The transaction that made it: a retransmission gets the same answer.
    pub transaction: TransactionId,
    /// Seconds promised in that answer.
    pub granted: u32,
    /// When it was made, in Unix seconds.
    pub since: u64,
    pub expires: Mono,
    pub relay: Relay,
    /// What the client may claim the next port with.
    pub token: Option<Token>,
    pub permissions: Vec<Permission>,
    pub channels: Vec<Channel>,
    pub to_peers: Cell,
    pub to_client: Cell,
    /// Application data that was passed on, from the client and to it.
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub permit: Permit,
}

/// The relayed transport address.
#[derive(Debug, Clone, Copy)]
pub(super) enum Relay {
    /// The edge has been asked to bind it.
    Binding(Candidate),
    /// The even port is bound, and the edge has been asked for the odd one above it.
    BindingNext {
        socket: u32,
        even: Candidate,
    },
    Bound {
        socket: u32,
        relayed: SocketAddr,
    },
}

/// An address that may become a relayed one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub address: SocketAddr,
    pub ports: Ports,
    /// How many others are tried, should this one be taken.
    pub tries: u8,
}

/// Which ports will do (RFC 8656 section 7.2, EVEN-PORT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    Any,
    Even,
    /// An even one, with the next kept for a later Allocate.
    Pair,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Permission {
    pub ip: IpAddr,
    pub expires: Mono,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Channel {
    pub number: u16,
    /// Whether the policy lets packets out to this peer; otherwise only the hairpin is open.
    pub direct: bool,
    pub peer: SocketAddr,
    pub expires: Mono,
}

/// Bandwidth in bytes, each way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub allocation: Limit,
    /// For all allocations of one user.
    pub user: Limit,
}

impl Allocation {
    pub fn relayed(&self) -> Option<SocketAddr> {
        match self.relay {
            Relay::Bound { relayed, .. } => Some(relayed),
            Relay::Binding(_) | Relay::BindingNext { .. } => None,
        }
    }

    /// The living permission for a peer's address.
    pub fn permission(&self, ip: IpAddr, now: Mono) -> Option<&Permission> {
        self.permissions
            .iter()
            .find(|p| p.ip == ip && p.expires > now)
    }

    /// The living channel with this number.
    pub fn channel(&self, number: u16, now: Mono) -> Option<&Channel> {
        self.channels
            .iter()
            .find(|c| c.number == number && c.expires > now)
    }

    /// The living channel to this peer.
    pub fn channel_to(&self, peer: SocketAddr, now: Mono) -> Option<&Channel> {
        self.channels
            .iter()
            .find(|c| c.peer == peer && c.expires > now)
    }

    /// Installs or refreshes a permission.
    pub fn permit_peer(&mut self, ip: IpAddr, now: Mono) {
        let expires = now + PERMISSION_LIFETIME;
        match self.permissions.iter_mut().find(|p| p.ip == ip) {
            Some(permission) => permission.expires = expires,
            None => self.permissions.push(Permission { ip, expires }),
        }
    }

    /// Binds or refreshes a channel. The caller has checked that number and peer belong together.
    pub fn bind_channel(&mut self, number: u16, peer: SocketAddr, direct: bool, now: Mono) {
        let channel = Channel {
            number,
            direct,
            peer,
            expires: now + CHANNEL_LIFETIME,
        };
        match self.channels.iter_mut().find(|c| c.number == number) {
            Some(known) => *known = channel,
            None => self.channels.push(channel),
        }
    }

    /// Forgets permissions and channels that have run out, so that quotas count living ones.
    pub fn forget_expired(&mut self, now: Mono) {
        self.permissions.retain(|p| p.expires > now);
        self.channels.retain(|c| c.expires > now);
    }

    /// Takes bandwidth for `bytes` towards a peer.
    pub fn spend_to_peer(
        &mut self,
        limits: Limits,
        now: Mono,
        bytes: usize,
    ) -> Result<(), Dropped> {
        let bytes = bytes.max(LEAST) as u64;
        if !self.to_peers.take(limits.allocation, now, bytes) {
            return Err(Dropped::AllocationBandwidth);
        }
        let user = &self.permit.bandwidth.to_peers;
        let within = user.take(limits.user, now, bytes);
        within.then_some(()).ok_or(Dropped::UserBandwidth)
    }

    /// Takes bandwidth for `bytes` towards the client.
    pub fn spend_to_client(
        &mut self,
        limits: Limits,
        now: Mono,
        bytes: usize,
    ) -> Result<(), Dropped> {
        let bytes = bytes.max(LEAST) as u64;
        if !self.to_client.take(limits.allocation, now, bytes) {
            return Err(Dropped::AllocationBandwidth);
        }
        let user = &self.permit.bandwidth.to_client;
        let within = user.take(limits.user, now, bytes);
        within.then_some(()).ok_or(Dropped::UserBandwidth)
    }
}
