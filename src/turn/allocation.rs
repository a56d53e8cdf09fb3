//! One allocation: its relayed addresses, permissions and channels (RFC 8656 section 6).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::clock::Mono;
use crate::rate::{Gcra, Limit};
use crate::stun::TransactionId;

use super::algorithms::Key;
use super::family::Family;
use super::reservation::Token;
use super::{AllocationId, DropReason, ErrorReason, Permit, Route};

/// RFC 8656 section 9: a permission lasts five minutes.
pub(super) const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// RFC 8656 section 12: a channel lasts ten minutes.
pub(super) const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// Bytes that a packet costs at least: an empty one is not free.
pub(super) const MIN_PACKET_COST: usize = 8;

/// In the order in which it is written down: what each packet needs comes first, so that it shares
/// few lines of the cache, among many allocations too.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Allocation {
    pub channels: SmallVec<[Channel; 1]>,
    pub permissions: SmallVec<[Permission; 1]>,
    pub to_peers: Gcra,
    pub to_client: Gcra,
    /// Application data that was passed on, from the client and to it.
    pub bytes_up: u64,
    pub bytes_down: u64,
    pub permit: Permit,
    /// The relayed transport addresses, by [`Family`].
    pub relays: [Option<RelayedAddress>; 2],
    pub route: Route,
    pub username: Box<str>,
    /// The account and the room in `username`: see [`crate::credential::Identity`].
    pub user: Box<str>,
    pub room: Option<Box<str>>,
    pub key: Key,
    /// The transaction that made it: a retransmission gets the same response.
    pub transaction: TransactionId,
    /// Seconds promised in that response.
    pub granted: u32,
    /// When it was made, in Unix seconds.
    pub since: u64,
    /// When the first of its addresses ends; before the response, when it is given up.
    pub expires: Mono,
    /// What is still to be bound before the client is answered.
    pub pending_bind: Option<PendingBind>,
    /// The family that was asked for besides and could not be given, and why.
    pub unavailable: Option<(Family, ErrorReason)>,
    /// What the client may claim the next port with.
    pub token: Option<Token>,
    /// ICMP errors that the client is icmp_limiter of.
    pub icmp_limiter: Gcra,
    /// For the second of two relayed addresses.
    pub second_permit: Option<Permit>,
}

/// A relayed transport address, and the edge's number for what stands behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayedAddress {
    pub socket: u32,
    pub relayed: SocketAddr,
    pub expires: Mono,
    /// The local address of `relayed`: they differ behind NAT.
    pub local: IpAddr,
}

/// What the edge has been asked to bind, and what comes after it.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingBind {
    pub candidate: Candidate,
    /// The socket of an even port, while the odd one above it is being bound.
    pub even: Option<u32>,
    /// The address for the other family, if requested, without a port.
    pub next_family: Option<SocketAddr>,
}

/// An address that may become a relayed one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub address: SocketAddr,
    pub ports: PortParity,
    /// How many others are tried, should this one be taken.
    pub attempts_left: u8,
}

/// Which ports will do (RFC 8656 section 7.2, EVEN-PORT).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortParity {
    Any,
    Even,
    /// An even one, with the next kept for a later Allocate.
    Pair,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permission {
    pub ip: IpAddr,
    pub expires: Mono,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    pub number: u16,
    /// Whether the policy lets packets out to this peer; otherwise only the hairpin is open.
    pub direct: bool,
    /// Who had this relayed address the last time that a packet went there: a hint.
    #[serde(skip)]
    pub target: Option<AllocationId>,
    pub peer: SocketAddr,
    pub expires: Mono,
}

impl Channel {
    /// As another process may take it up, where allocations have other places.
    pub fn without_hint(&self) -> Channel {
        Channel {
            target: None,
            ..*self
        }
    }
}

/// Bandwidth in bytes, each way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub allocation: Limit,
    /// For all allocations of one user.
    pub user: Limit,
}

impl Allocation {
    /// The relayed addresses, IPv4 first.
    pub fn relayed_addresses(&self) -> impl Iterator<Item = &RelayedAddress> {
        self.relays.iter().flatten()
    }

    /// The relayed address that peers with this IP are reached from.
    pub fn relay_to(&self, ip: IpAddr) -> Option<&RelayedAddress> {
        self.relays[Family::of(ip) as usize].as_ref()
    }

    pub fn has(&self, family: Family) -> bool {
        self.relays[family as usize].is_some()
    }

    /// The family of the relayed address on this address of the host.
    pub fn family_on(&self, local: IpAddr) -> Option<Family> {
        let mut bound = self.relayed_addresses();
        let bound = bound.find(|bound| bound.local == local)?;
        Some(Family::of(bound.relayed.ip()))
    }

    /// The relay sockets, promised or not.
    pub fn sockets(&self) -> impl Iterator<Item = u32> {
        let even = self.pending_bind.and_then(|pending_bind| pending_bind.even);
        self.relayed_addresses()
            .map(|bound| bound.socket)
            .chain(even)
    }

    /// The family whose time has run out while that of the other has not.
    pub fn expired_family(&self, now: Mono) -> Option<Family> {
        let over = |family: &Family| {
            let bound = self.relays[*family as usize].as_ref();
            bound.is_none_or(|bound| bound.expires <= now)
        };
        let [v4, v6] = Family::BOTH.each_ref().map(over);
        match (self.pending_bind.is_some(), v4, v6) {
            (false, true, false) => Some(Family::V4),
            (false, false, true) => Some(Family::V6),
            _ => None,
        }
    }

    /// Gives up the relayed address of `family`, with all permissions and channels that belong to
    /// it (RFC 8656 section 8.1).
    pub fn remove_family(&mut self, family: Family) -> Option<RelayedAddress> {
        let lost = self.relays[family as usize].take()?;
        self.permissions.retain(|p| Family::of(p.ip) != family);
        self.channels.retain(|c| Family::of(c.peer.ip()) != family);
        self.second_permit = None;
        Some(lost)
    }

    /// Returns whether the allocation has a permission for a peer's IP address.
    pub fn has_permission(&self, ip: IpAddr) -> bool {
        self.permissions.iter().any(|p| p.ip == ip)
    }

    /// Returns the channel with this number.
    pub fn channel(&self, number: u16) -> Option<&Channel> {
        self.channels.iter().find(|c| c.number == number)
    }

    /// Who is to be asked first when a packet goes out by this channel the next time.
    pub fn set_channel_target(&mut self, number: u16, target: AllocationId) {
        let channel = self.channels.iter_mut().find(|c| c.number == number);
        if let Some(channel) = channel {
            channel.target = Some(target);
        }
    }

    /// Returns the channel to this peer.
    pub fn channel_to(&self, peer: SocketAddr) -> Option<&Channel> {
        self.channels.iter().find(|c| c.peer == peer)
    }

    /// Installs or refreshes a permission.
    ///
    /// Call [`super::table::Table::permit_peer`] instead, which schedules the expiry as well.
    pub fn permit_peer(&mut self, ip: IpAddr, expires: Mono) {
        match self.permissions.iter_mut().find(|p| p.ip == ip) {
            Some(permission) => permission.expires = expires,
            None => self.permissions.push(Permission { ip, expires }),
        }
    }

    /// Binds or refreshes a channel. The caller has checked that number and peer belong together.
    ///
    /// Call [`super::table::Table::bind_channel`] instead, which schedules the expiry as well.
    pub fn bind_channel(&mut self, channel: Channel) {
        let number = channel.number;
        match self.channels.iter_mut().find(|c| c.number == number) {
            Some(known) => *known = channel,
            None => self.channels.push(channel),
        }
    }

    /// Removes the permissions and channels that have expired at `now`.
    pub fn remove_expired(&mut self, now: Mono) {
        self.permissions.retain(|p| p.expires > now);
        self.channels.retain(|c| c.expires > now);
    }

    /// Returns when the allocation, a permission or a channel expires next.
    pub fn next_expiry(&self) -> Mono {
        let permissions = self.permissions.iter().map(|p| p.expires);
        let channels = self.channels.iter().map(|c| c.expires);
        let first = permissions.chain(channels).min();
        first.map_or(self.expires, |first| first.min(self.expires))
    }

    /// Takes bandwidth for `bytes` towards a peer.
    pub fn spend_to_peer(
        &mut self,
        limits: Limits,
        now: Mono,
        bytes: usize,
    ) -> Result<(), DropReason> {
        let bytes = bytes.max(MIN_PACKET_COST) as u64;
        if !self.to_peers.take(limits.allocation, now, bytes) {
            return Err(DropReason::AllocationBandwidth);
        }
        let user = &self.permit.bandwidth.to_peers;
        let within = user.take(limits.user, now, bytes);
        within.then_some(()).ok_or(DropReason::UserBandwidth)
    }

    /// Takes bandwidth for `bytes` towards the client.
    pub fn spend_to_client(
        &mut self,
        limits: Limits,
        now: Mono,
        bytes: usize,
    ) -> Result<(), DropReason> {
        let bytes = bytes.max(MIN_PACKET_COST) as u64;
        if !self.to_client.take(limits.allocation, now, bytes) {
            return Err(DropReason::AllocationBandwidth);
        }
        let user = &self.permit.bandwidth.to_client;
        let within = user.take(limits.user, now, bytes);
        within.then_some(()).ok_or(DropReason::UserBandwidth)
    }
}
