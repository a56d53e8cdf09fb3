//! One allocation: its relayed addresses, permissions and channels (RFC 8656 section 6).

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::clock::Mono;
use crate::rate::Gcra;
use crate::stun::TransactionId;

use super::algorithms::Key;
use super::family::Family;
use super::quality::LinkMonitor;
use super::reservation::Token;
use super::room_key::RoomKey;
use super::{AllocationId, ErrorReason, Permit, Route};

/// The lifetime of a permission (RFC 8656 section 9).
pub(super) const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// The lifetime of a channel (RFC 8656 section 12).
pub(super) const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// An allocation. The fields are laid out in this order: those that every packet needs come first,
/// so that a packet touches few cache lines even with many allocations.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Allocation {
    pub channels: SmallVec<[Channel; 1]>,
    pub permissions: SmallVec<[Permission; 1]>,
    pub to_peers: Gcra,
    pub to_client: Gcra,
    /// Bytes of application data relayed from the client.
    pub bytes_up: u64,
    /// Bytes of application data relayed to the client.
    pub bytes_down: u64,
    /// Whether the allocation carries only what WebRTC sends.
    pub is_restricted: bool,
    pub permit: Permit,
    /// Follows the media, from the first packet on; `None` if `turn.quality` is off.
    pub monitor: Option<Box<LinkMonitor>>,
    /// The relayed transport addresses, by [`Family`].
    pub relays: [Option<RelayedAddress>; 2],
    pub route: Route,
    pub username: Box<str>,
    /// The account of the owner: see [`crate::credential::CredentialSubject::account`].
    pub user: Box<str>,
    /// The room that the credential is bound to.
    pub room: Option<Box<str>>,
    /// The key of `room`.
    pub room_key: RoomKey,
    pub key: Key,
    /// The transaction of the Allocate. A retransmission gets the same response.
    pub transaction: TransactionId,
    /// The lifetime in the Allocate response, in seconds.
    pub granted: u32,
    /// Creation time in Unix seconds.
    pub since: u64,
    /// When the first of the relayed addresses expires. Before the Allocate response: when binding
    /// times out.
    pub expires: Mono,
    /// The binding in progress; `None` once the client has a response.
    pub pending_bind: Option<PendingBind>,
    /// The requested family that is not available, and the reason.
    pub unavailable: Option<(Family, ErrorReason)>,
    /// The token of the reserved next port.
    pub token: Option<Token>,
    /// Limits the ICMP errors that are reported to the client.
    pub icmp_limiter: Gcra,
    /// The permit of the second relayed address.
    pub second_permit: Option<Permit>,
}

/// A relayed transport address, and the caller's number for its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayedAddress {
    pub socket: u32,
    pub relayed: SocketAddr,
    pub expires: Mono,
    /// The local address of the socket. Behind NAT it differs from `relayed`.
    pub local: IpAddr,
}

/// The binding of a relay socket in progress.
#[derive(Debug, Clone, Copy)]
pub(super) struct PendingBind {
    pub candidate: Candidate,
    /// The socket of the even port, while the next port is being bound.
    pub even: Option<u32>,
    /// The local address for the other family, if requested, without a port.
    pub next_family: Option<SocketAddr>,
}

/// A local address that may become a relayed address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub address: SocketAddr,
    pub parity: PortParity,
    /// How many other ports are tried if this one is in use.
    pub attempts_left: u8,
}

/// The ports that satisfy EVEN-PORT (RFC 8656 section 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortParity {
    Any,
    Even,
    /// An even port, with the next port reserved for a later Allocate.
    Pair,
}

/// A permission for a peer's IP address (RFC 8656 section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Permission {
    pub ip: IpAddr,
    /// The port of the last Send indication that left this relay: it needs no look-up among the user's
    /// peers. 0 if there was none.
    #[serde(skip)]
    pub last_port: u16,
    pub expires: Mono,
}

/// A channel to a peer (RFC 8656 section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Channel {
    pub number: u16,
    /// Whether the policy permits the peer. Otherwise only the hairpin is open.
    pub direct: bool,
    /// The allocation that had the relayed address `peer` at the last packet, if the scope lets this
    /// client reach it. This is a hint: the table checks that it still has the address.
    #[serde(skip)]
    pub target: Option<AllocationId>,
    pub peer: SocketAddr,
    pub expires: Mono,
}

impl Permission {
    fn new(ip: IpAddr, expires: Mono) -> Permission {
        Permission {
            ip,
            last_port: 0,
            expires,
        }
    }

    /// Returns the permission without its last port, which another process does not know.
    pub(super) fn without_last_port(&self) -> Permission {
        Permission::new(self.ip, self.expires)
    }
}

impl Channel {
    /// Returns the channel without its hint, which is not valid in another process.
    pub(super) fn without_hint(&self) -> Channel {
        Channel {
            target: None,
            ..*self
        }
    }
}

impl Allocation {
    /// Returns the relayed addresses, IPv4 first.
    pub(super) fn relayed_addresses(&self) -> impl Iterator<Item = &RelayedAddress> {
        self.relays.iter().flatten()
    }

    /// Returns the relayed address of the same family as the peer's IP address.
    pub(super) fn relay_to(&self, ip: IpAddr) -> Option<&RelayedAddress> {
        self.relays[Family::of(ip) as usize].as_ref()
    }

    /// Returns whether the allocation has a relayed address of `family`.
    pub(super) fn has(&self, family: Family) -> bool {
        self.relays[family as usize].is_some()
    }

    /// Returns the family of the relayed address on this local address.
    pub(super) fn family_on(&self, local: IpAddr) -> Option<Family> {
        let mut addresses = self.relayed_addresses();
        let address = addresses.find(|address| address.local == local)?;
        Some(Family::of(address.relayed.ip()))
    }

    /// Returns the numbers of all relay sockets, including that of a pair in progress.
    pub(super) fn sockets(&self) -> impl Iterator<Item = u32> {
        let even = self.pending_bind.and_then(|pending_bind| pending_bind.even);
        self.relayed_addresses()
            .map(|bound| bound.socket)
            .chain(even)
    }

    /// Returns the family whose relayed address has expired, if that of the other family has not.
    pub(super) fn expired_family(&self, now: Mono) -> Option<Family> {
        let has_expired = |family: &Family| {
            let address = self.relays[*family as usize].as_ref();
            address.is_none_or(|address| address.expires <= now)
        };
        let [v4, v6] = Family::BOTH.each_ref().map(has_expired);
        match (self.pending_bind.is_some(), v4, v6) {
            (false, true, false) => Some(Family::V4),
            (false, false, true) => Some(Family::V6),
            _ => None,
        }
    }

    /// Removes the relayed address of `family`, with its permissions and channels (RFC 8656 section
    /// 8.1).
    pub(super) fn remove_family(&mut self, family: Family) -> Option<RelayedAddress> {
        let removed = self.relays[family as usize].take()?;
        self.permissions.retain(|p| Family::of(p.ip) != family);
        self.channels.retain(|c| Family::of(c.peer.ip()) != family);
        self.second_permit = None;
        Some(removed)
    }

    /// Returns whether the allocation has a permission for a peer's IP address.
    pub(super) fn has_permission(&self, ip: IpAddr) -> bool {
        self.permissions.iter().any(|p| p.ip == ip)
    }

    /// Returns the channel with this number.
    pub(super) fn channel(&self, number: u16) -> Option<&Channel> {
        self.channels.iter().find(|c| c.number == number)
    }

    /// Stores a hint for the next packet of this channel: see [`Channel::target`].
    pub(super) fn set_channel_target(&mut self, number: u16, target: AllocationId) {
        let channel = self.channels.iter_mut().find(|c| c.number == number);
        if let Some(channel) = channel {
            channel.target = Some(target);
        }
    }

    /// Returns the channel to this peer.
    pub(super) fn channel_to(&self, peer: SocketAddr) -> Option<&Channel> {
        self.channels.iter().find(|c| c.peer == peer)
    }

    /// Installs or refreshes a permission.
    ///
    /// Call [`super::allocation_table::AllocationTable::permit_peer`] instead, which schedules the expiry as well.
    pub(super) fn permit_peer(&mut self, ip: IpAddr, expires: Mono) {
        match self.permissions.iter_mut().find(|p| p.ip == ip) {
            Some(permission) => permission.expires = expires,
            None => self.permissions.push(Permission::new(ip, expires)),
        }
    }

    /// Binds or refreshes a channel. The caller has checked that number and peer belong together.
    ///
    /// Call [`super::allocation_table::AllocationTable::bind_channel`] instead, which schedules the expiry as well.
    pub(super) fn bind_channel(&mut self, channel: Channel) {
        let number = channel.number;
        match self.channels.iter_mut().find(|c| c.number == number) {
            Some(known) => *known = channel,
            None => self.channels.push(channel),
        }
    }

    /// Removes the permissions and channels that have expired at `now`.
    pub(super) fn remove_expired(&mut self, now: Mono) {
        self.permissions.retain(|p| p.expires > now);
        self.channels.retain(|c| c.expires > now);
    }

    /// Returns when the allocation, a permission or a channel expires next, or the path to the
    /// client has to be checked.
    pub(super) fn next_deadline(&self) -> Mono {
        let permissions = self.permissions.iter().map(|p| p.expires);
        let channels = self.channels.iter().map(|c| c.expires);
        let check = self
            .monitor
            .as_ref()
            .and_then(|monitor| monitor.next_check());
        let first = permissions.chain(channels).chain(check).min();
        first.map_or(self.expires, |first| first.min(self.expires))
    }
}
