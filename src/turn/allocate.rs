//! Allocate and Refresh (RFC 8656 sections 7.2 and 8.2).

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::rate::Gcra;
use crate::stun::{Attribute, Message};

use super::allocation::{Allocation, Candidate, PendingBind, PortParity};
use super::attributes::{
    DEFAULT_LIFETIME, MAX_LIFETIME, even_port, lifetime, requested_family, reservation_token,
    wants_both_families,
};
use super::auth::Authenticated;
use super::family::Family;
use super::policy::is_tunnelled;
use super::port_binding::BIND_TIMEOUT;
use super::request::{Granted, Request};
use super::reservation::Reservation;
use super::room_key::RoomKey;
use super::traffic::Traffic;
use super::{AllocationId, ErrorReason, Output, Permit, Route, Server, ShardId};

/// Ended allocations that are remembered, for retransmissions of the Refresh that ended them.
pub(super) const MAX_ENDED: usize = 64;

/// The protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

impl Server {
    /// Handles an Allocate of a client that has an allocation: a retransmission, or a mismatch
    /// (RFC 8656 section 7.2).
    pub(super) fn retransmit_allocate(
        &mut self,
        id: AllocationId,
        message: &Message<'_>,
    ) -> Result<Granted, ErrorReason> {
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        if allocation.transaction != message.transaction() {
            return Err(ErrorReason::AllocationMismatch);
        }
        Ok(match allocation.pending_bind {
            Some(_) => Granted::Pending,
            None => Granted::Retransmit(id),
        })
    }

    /// Handles an Allocate of a client without an allocation in this shard. The client is claimed
    /// first: another shard may receive the same request at the same time, while the kernel
    /// distributes its flows anew.
    pub(super) fn first_allocate(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Granted, ErrorReason> {
        if let Err(shard) = self.table.claim(request.route) {
            return Ok(Granted::OtherShard(shard));
        }
        let result = self.allocate(request, authenticated);
        if !matches!(result, Ok(Granted::Queued)) {
            self.table.release_claim(request.route);
        }
        result
    }

    /// Checks whether the user may allocate, then what the request asks for, then allocates.
    fn allocate(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Granted, ErrorReason> {
        let message = request.message;
        if authenticated.name.expires <= request.now.unix {
            return Err(ErrorReason::Expired);
        }
        let owner = self.owner(request, authenticated)?;
        match message.get(Attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(ErrorReason::UnsupportedTransport),
            _ => return Err(ErrorReason::BadRequest),
        }
        let granted = self.granted(lifetime(message)?, request, authenticated);
        let parity = even_port(message)?;
        let Some(token) = reservation_token(message)? else {
            let requested = self.requested_addresses(request, parity)?;
            check_client_address(request)?;
            if let Some(server) = self.room_server(request.route, &owner) {
                return Ok(Granted::OtherServer(server));
            }
            if let Some(shard) = self.other_shard_with_ports(&requested) {
                return Ok(Granted::OtherShard(shard));
            }
            self.allocate_new(request, authenticated, owner, granted, requested)?;
            return Ok(Granted::Queued);
        };
        if parity != PortParity::Any || names_a_family(message) {
            return Err(ErrorReason::BadRequest);
        }
        check_client_address(request)?;
        let reservation = self.reservations.claim(token, &owner.account);
        let reservation = reservation.ok_or(ErrorReason::NoReservation)?;
        self.allocate_reserved(request, authenticated, owner, granted, reservation);
        Ok(Granted::Queued)
    }

    /// Returns the lifetime, in seconds, for a requested one. The credential may limit it, to 0 once it has expired.
    fn granted(
        &self,
        requested: u32,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> u32 {
        let granted = requested.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        if !self.config.settings.end_at_expiry {
            return granted;
        }
        let left = authenticated.name.expires.saturating_sub(request.now.unix);
        granted.min(u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Returns the account and the room of the credential.
    ///
    /// # Errors
    ///
    /// The credential is revoked, or has no user although one is required.
    fn owner(
        &self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Owner, ErrorReason> {
        let revocations = &self.config.revocations;
        let subject = revocations.resolve(authenticated.name);
        if subject.user.is_none() && !self.config.settings.allow_anonymous {
            return Err(ErrorReason::AnonymousNotAllowed);
        }
        if revocations.is_revoked(&subject) {
            return Err(ErrorReason::Revoked);
        }
        Ok(Owner {
            account: subject.account(request.route.client.ip()).into(),
            room: subject.room.map(Box::from),
            room_key: self.config.directory.room_key(subject.room),
        })
    }

    /// Returns the server that relays the owner's room, if it is another one.
    fn room_server(&self, route: &Route, owner: &Owner) -> Option<SocketAddr> {
        let room_relays = self.config.room_relays.as_ref()?;
        let room = owner.room.as_deref()?;
        room_relays.alternate(room, route.client, route.transport)
    }

    /// Returns whether this server relays the owner's room, and so allocates for it even while it drains.
    fn is_room_server(&self, owner: &Owner) -> bool {
        let room_relays = self.config.room_relays.as_ref();
        let room = owner.room.as_deref();
        room_relays
            .zip(room)
            .is_some_and(|(relays, room)| relays.is_here(room))
    }

    /// Returns the local addresses for the relayed addresses that a request asks for.
    fn requested_addresses(
        &self,
        request: Request<'_>,
        parity: PortParity,
    ) -> Result<RequestedAddresses, ErrorReason> {
        let Request { route, message, .. } = request;
        let one = |address| RequestedAddresses {
            address,
            parity,
            next_family: None,
            unavailable: None,
        };
        let family = message.get(Attribute::REQUESTED_ADDRESS_FAMILY);
        if !wants_both_families(message)? {
            let address = if let Some(family) = requested_family(message)? {
                self.relay_address(route, family)
            } else {
                // RFC 8656 section 7.2: without the attribute the family is IPv4. A server without
                // an IPv4 address uses IPv6: browsers do not send the attribute and would have no
                // relay.
                let mut families = Family::BOTH.into_iter();
                families.find_map(|family| self.relay_address(route, family))
            };
            return address.map(one).ok_or(ErrorReason::AddressFamily);
        }
        if parity == PortParity::Pair || family.is_some() {
            return Err(ErrorReason::BadRequest);
        }
        let only = |address, missing| RequestedAddresses {
            unavailable: Some((missing, ErrorReason::AddressFamily)),
            ..one(address)
        };
        match Family::BOTH.map(|family| self.relay_address(route, family)) {
            [Some(v4), Some(v6)] => Ok(RequestedAddresses {
                next_family: Some(v6),
                ..one(v4)
            }),
            [Some(v4), None] => Ok(only(v4, Family::V6)),
            [None, Some(v6)] => Ok(only(v6, Family::V4)),
            [None, None] => Err(ErrorReason::AddressFamily),
        }
    }

    /// Returns another shard, if only that one has a free port for one of the addresses.
    fn other_shard_with_ports(&self, requested: &RequestedAddresses) -> Option<ShardId> {
        let shard_for = |address: SocketAddr| {
            let (config, policy) = (&self.config, &self.policy);
            let parity = requested.parity;
            self.ports
                .shard_with_free_port(config, policy, address.ip(), parity)
        };
        let first = shard_for(requested.address);
        let shard = first.or_else(|| shard_for(requested.next_family?))?;
        (shard != self.shard).then_some(shard)
    }

    /// Creates an allocation, and requests the binding of its relay socket. Each relayed address
    /// counts for the quotas. If the quota allows only one of two, the client gets one.
    fn allocate_new(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
        owner: Owner,
        granted: u32,
        mut requested: RequestedAddresses,
    ) -> Result<(), ErrorReason> {
        let quotas = &self.config.quotas;
        if quotas.is_closed() && !self.is_room_server(&owner) {
            return Err(ErrorReason::Draining);
        }
        let take = || {
            let client = request.route.client.ip();
            quotas.take(&owner.account, client, request.now.mono)
        };
        let permit = take()?;
        let second_permit = requested.next_family.and_then(|_| take().ok());
        if let (Some(address), None) = (requested.next_family, &second_permit) {
            requested.next_family = None;
            requested.unavailable = Some((Family::of(address.ip()), ErrorReason::NoPort));
        }
        let traffic = self.config.settings.traffic;
        let mut allocation =
            new_allocation(request, authenticated, owner, granted, permit, traffic);
        allocation.second_permit = second_permit;
        allocation.unavailable = requested.unavailable;
        let id = self.table.insert(allocation);
        let first = (requested.address, requested.parity);
        self.start_bind(request.now, id, first, requested.next_family);
        Ok(())
    }

    /// Creates an allocation on a reserved port, whose socket exists already.
    fn allocate_reserved(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
        owner: Owner,
        granted: u32,
        reservation: Reservation,
    ) {
        let Reservation {
            socket,
            address,
            permit,
        } = reservation;
        let pending = PendingBind {
            candidate: Candidate {
                address,
                parity: PortParity::Any,
                attempts_left: 0,
            },
            even: None,
            next_family: None,
        };
        let traffic = self.config.settings.traffic;
        let allocation = new_allocation(request, authenticated, owner, granted, permit, traffic);
        let id = self.table.insert(allocation);
        self.output.push_back(Output::Adopt { socket, owner: id });
        self.on_bound(request.now, id, socket, pending);
    }

    /// Returns the local address for a relayed address of `family`, without a port. A virtual
    /// relayed address can always use the address that received the request.
    fn relay_address(&self, route: &Route, family: Family) -> Option<SocketAddr> {
        let (client, requested) = (route.client, route.server.ip());
        let may_relay = self.may_relay_on(requested);
        let host = &self.config.host;
        let address = host.relay_address(client, requested, family, may_relay);
        let is_virtual = self.policy.internal && Family::of(requested) == family;
        address.or(is_virtual.then(|| SocketAddr::new(requested, 0)))
    }

    /// Handles a Refresh of a client without an allocation: a retransmission of the Refresh that
    /// ended it, whose response may have been lost, or a mismatch.
    pub(super) fn retransmit_refresh(&self, request: Request<'_>) -> Result<Granted, ErrorReason> {
        let ended = (*request.route, request.message.transaction());
        if self.ended.contains(&ended) {
            return Ok(Granted::Lifetime(0));
        }
        Err(ErrorReason::AllocationMismatch)
    }

    /// Handles a Refresh. A LIFETIME of 0 ends the allocation, or the relayed address of the family
    /// that the request names.
    pub(super) fn refresh(
        &mut self,
        id: AllocationId,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Granted, ErrorReason> {
        let Request { now, message, .. } = request;
        let family = match requested_family(message) {
            // An unknown family matches no relayed address: 443, not 440.
            Err(ErrorReason::AddressFamily) => return Err(ErrorReason::PeerFamily),
            family => family?,
        };
        let requested = lifetime(message)?;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        if allocation.pending_bind.is_some() {
            return Ok(Granted::Pending);
        }
        if family.is_some_and(|family| !allocation.has(family)) {
            let retransmitted = self.retransmit_refresh(request);
            return retransmitted.or(Err(ErrorReason::PeerFamily));
        }
        if requested == 0 {
            self.end(id, family);
            self.ended.truncate(MAX_ENDED - 1);
            let ended = (*request.route, message.transaction());
            self.ended.push_front(ended);
            return Ok(Granted::Lifetime(0));
        }
        if let Err(reason) = self.owner(request, authenticated) {
            self.free(id);
            return Err(reason);
        }
        let granted = self.granted(requested, request, authenticated);
        if granted == 0 {
            self.free(id);
            return Err(ErrorReason::Expired);
        }
        let expires = now.mono + Duration::from_secs(u64::from(granted));
        self.table.set_expiry(id, family, expires);
        Ok(Granted::Lifetime(granted))
    }
}

/// The owner of an allocation.
struct Owner {
    account: Box<str>,
    room: Option<Box<str>>,
    room_key: RoomKey,
}

/// The local addresses for the relayed addresses of an Allocate, without ports.
struct RequestedAddresses {
    address: SocketAddr,
    parity: PortParity,
    /// The address of the other family, if both are requested.
    next_family: Option<SocketAddr>,
    /// The family that is not available, and the reason.
    unavailable: Option<(Family, ErrorReason)>,
}

/// Rejects clients behind a 6to4 or Teredo tunnel (RFC 8656 section 21.4).
fn check_client_address(request: Request<'_>) -> Result<(), ErrorReason> {
    if is_tunnelled(request.route.client.ip()) {
        return Err(ErrorReason::TunnelledClient);
    }
    Ok(())
}

fn names_a_family(message: &Message<'_>) -> bool {
    let has = |attribute| message.get(attribute).is_some();
    has(Attribute::REQUESTED_ADDRESS_FAMILY) || has(Attribute::ADDITIONAL_ADDRESS_FAMILY)
}

/// Returns an allocation without a relayed address.
fn new_allocation(
    request: Request<'_>,
    authenticated: &Authenticated<'_>,
    owner: Owner,
    granted: u32,
    permit: Permit,
    traffic: Traffic,
) -> Allocation {
    let is_restricted = traffic.is_restricted(owner.room.as_deref());
    Allocation {
        route: *request.route,
        username: authenticated.username.into(),
        user: owner.account,
        room: owner.room,
        room_key: owner.room_key,
        key: authenticated.key.clone(),
        transaction: request.message.transaction(),
        granted,
        since: request.now.unix,
        expires: request.now.mono + BIND_TIMEOUT,
        relays: [None, None],
        pending_bind: None,
        unavailable: None,
        token: None,
        permissions: SmallVec::new(),
        channels: SmallVec::new(),
        to_peers: Gcra::default(),
        to_client: Gcra::default(),
        icmp_limiter: Gcra::default(),
        bytes_up: 0,
        bytes_down: 0,
        monitor: None,
        is_restricted,
        permit,
        second_permit: None,
    }
}
