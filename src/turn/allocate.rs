//! Allocate and Refresh (RFC 8656 sections 7.2 and 8.2).

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::stun::{Attribute, Message};

use super::allocation::{Allocation, Candidate, PendingBind, PortParity};
use super::attributes::{
    DEFAULT_LIFETIME, MAX_LIFETIME, lifetime, ports, requested_family, reservation_token,
    wants_both_families,
};
use super::auth::Authenticated;
use super::binding::BIND_TIMEOUT;
use super::family::Family;
use super::policy::is_tunnelled;
use super::requests::{Granted, Request};
use super::reservation::Reservation;
use super::{AllocationId, ErrorReason, Output, Permit, Route, Server};

/// Endings that are remembered for retransmissions.
pub(super) const MAX_ENDED: usize = 64;

/// The protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

impl Server {
    /// RFC 8656 section 7.2: a second Allocate is a retransmission, or a mismatch.
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

    /// A first Allocate, as far as this shard knows: another one may be asked the same at the same
    /// time, while the kernel deals its flows anew.
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

    /// A first Allocate: whether this user may have one at all, next_family what exactly is asked for.
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
        let granted = lifetime(message)?.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let ports = ports(message)?;
        match reservation_token(message)? {
            Some(_) if ports != PortParity::Any || names_a_family(message) => {
                return Err(ErrorReason::BadRequest);
            }
            Some(token) => {
                allow_client(request)?;
                let claimed = self.reservations.claim(&token, &owner.account);
                let claimed = claimed.ok_or(ErrorReason::NoReservation)?;
                self.allocate_reserved(request, authenticated, owner, granted, claimed);
            }
            None => {
                let requested = self.requested(request, ports)?;
                allow_client(request)?;
                let at = |ip| self.shard_with_free_port(ip, ports);
                // Of two addresses, one is still worth something.
                match at(requested.address.ip()).or_else(|| at(requested.next_family?.ip())) {
                    Some(shard) if shard != self.shard => return Ok(Granted::OtherShard(shard)),
                    _ => self.allocate_new(request, authenticated, owner, granted, requested)?,
                }
            }
        }
        Ok(Granted::Queued)
    }

    /// Returns the identity of the credential, unless the credential is refused.
    fn owner(
        &self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Owner, ErrorReason> {
        let identity = self.settings.revocations.resolve(authenticated.name);
        if identity.user.is_none() && !self.settings.allow_unnamed {
            return Err(ErrorReason::Unnamed);
        }
        if self.settings.revocations.is_revoked(&identity) {
            return Err(ErrorReason::Revoked);
        }
        Ok(Owner {
            account: identity.account(request.route.client.ip()).into(),
            room: identity.room.map(Box::from),
        })
    }

    /// Which families are asked for, and where each would be.
    fn requested(
        &self,
        request: Request<'_>,
        ports: PortParity,
    ) -> Result<RequestedAddresses, ErrorReason> {
        let Request { route, message, .. } = request;
        let one = |address| RequestedAddresses {
            address,
            ports,
            next_family: None,
            unavailable: None,
        };
        let both = wants_both_families(message)?;
        if both
            && (ports == PortParity::Pair
                || message.get(Attribute::REQUESTED_ADDRESS_FAMILY).is_some())
        {
            return Err(ErrorReason::BadRequest);
        }
        if !both {
            let address = match requested_family(message)? {
                Some(family) => self.relay_address(route, family),
                // RFC 8656 section 7.2: without the attribute it is IPv4. A server that has none
                // gives what it has, since a browser does not ask and would be left without a
                // relay.
                None => {
                    let addresses = Family::BOTH.iter().map(|f| self.relay_address(route, *f));
                    addresses.flatten().next()
                }
            };
            return address.map(one).ok_or(ErrorReason::AddressFamily);
        }
        let unavailable = |family| Some((family, ErrorReason::AddressFamily));
        match Family::BOTH.map(|family| self.relay_address(route, family)) {
            [Some(v4), next_family @ Some(_)] => Ok(RequestedAddresses {
                next_family,
                ..one(v4)
            }),
            [Some(v4), None] => Ok(RequestedAddresses {
                unavailable: unavailable(Family::V6),
                ..one(v4)
            }),
            [None, Some(v6)] => Ok(RequestedAddresses {
                unavailable: unavailable(Family::V4),
                ..one(v6)
            }),
            [None, None] => Err(ErrorReason::AddressFamily),
        }
    }

    /// Each relayed address counts in the quotas. Where there is room for one of two, that is what
    /// the client gets.
    fn allocate_new(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
        owner: Owner,
        granted: u32,
        mut requested: RequestedAddresses,
    ) -> Result<(), ErrorReason> {
        let take = || {
            let quotas = &self.settings.quotas;
            let client = request.route.client.ip();
            quotas.take(&owner.account, client, request.now.mono)
        };
        let permit = take()?;
        let second_permit = requested.next_family.and_then(|_| take().ok());
        if let (Some(address), None) = (requested.next_family, &second_permit) {
            requested.next_family = None;
            requested.unavailable = Some((Family::of(address.ip()), ErrorReason::NoPort));
        }
        let mut allocation = new_allocation(request, authenticated, owner, granted, permit);
        allocation.second_permit = second_permit;
        allocation.unavailable = requested.unavailable;
        let id = self.table.insert(allocation);
        let first = (requested.address, requested.ports);
        self.start_bind(request.now, id, first, requested.next_family);
        Ok(())
    }

    /// The socket of a reserved port exists already.
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
        let candidate = Candidate {
            address,
            ports: PortParity::Any,
            attempts_left: 0,
        };
        let pending_bind = PendingBind {
            candidate,
            even: None,
            next_family: None,
        };
        let allocation = new_allocation(request, authenticated, owner, granted, permit);
        let id = self.table.insert(allocation);
        self.output.push_back(Output::Adopt { socket, owner: id });
        self.on_bound(request.now, id, socket, pending_bind);
    }

    /// The address to bind a relayed address of `family` to, without a port. If relayed addresses are
    /// virtual, the address that received the request is always valid.
    fn relay_address(&self, route: &Route, family: Family) -> Option<SocketAddr> {
        let (client, asked) = (route.client, route.server.ip());
        let host = &self.settings.host;
        let address = host.relay_address(client, asked, family, self.may_relay_on(asked));
        let number = self.settings.policy.internal && Family::of(asked) == family;
        address.or(number.then(|| SocketAddr::new(asked, 0)))
    }

    /// The response to the Refresh that ended an allocation may have been lost: its retransmission
    /// gets the same one.
    pub(super) fn retransmit_refresh(&self, request: Request<'_>) -> Result<Granted, ErrorReason> {
        let ending = (*request.route, request.message.transaction());
        let again = self.ended.contains(&ending);
        again
            .then_some(Granted::Lifetime(0))
            .ok_or(ErrorReason::AllocationMismatch)
    }

    /// A Refresh with a LIFETIME of 0 ends the allocation.
    pub(super) fn refresh(
        &mut self,
        id: AllocationId,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Granted, ErrorReason> {
        let Request { now, message, .. } = request;
        let family = match requested_family(message) {
            // Of a family that there is not, nobody has an address.
            Err(ErrorReason::AddressFamily) => return Err(ErrorReason::PeerFamily),
            family => family?,
        };
        let requested = lifetime(message)?;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        if allocation.pending_bind.is_some() {
            return Ok(Granted::Pending);
        }
        if family.is_some_and(|family| !allocation.has(family)) {
            return self
                .retransmit_refresh(request)
                .or(Err(ErrorReason::PeerFamily));
        }
        if requested == 0 {
            self.end(id, family);
            self.ended.truncate(MAX_ENDED - 1);
            self.ended
                .push_front((*request.route, message.transaction()));
            return Ok(Granted::Lifetime(0));
        }
        if let Err(reason) = self.owner(request, authenticated) {
            self.free(id);
            return Err(reason);
        }
        let granted = requested.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let expires = now.mono + Duration::from_secs(u64::from(granted));
        self.table.set_expiry(id, family, expires);
        Ok(Granted::Lifetime(granted))
    }
}

/// The owner of an allocation.
struct Owner {
    account: Box<str>,
    room: Option<Box<str>>,
}

/// The relayed addresses that an Allocate is to lead to.
struct RequestedAddresses {
    /// Without a port.
    address: SocketAddr,
    ports: PortParity,
    /// Where another one is requested, of the other family.
    next_family: Option<SocketAddr>,
    /// The family that can't be had, and why.
    unavailable: Option<(Family, ErrorReason)>,
}

/// Refuses clients with an address that may not use a relay (RFC 8656 section 21.4).
fn allow_client(request: Request<'_>) -> Result<(), ErrorReason> {
    if is_tunnelled(request.route.client.ip()) {
        return Err(ErrorReason::TunnelledClient);
    }
    Ok(())
}

fn names_a_family(message: &Message<'_>) -> bool {
    let names = |attribute| message.get(attribute).is_some();
    names(Attribute::REQUESTED_ADDRESS_FAMILY) || names(Attribute::ADDITIONAL_ADDRESS_FAMILY)
}

/// One that has no relayed address yet.
fn new_allocation(
    request: Request<'_>,
    authenticated: &Authenticated<'_>,
    owner: Owner,
    granted: u32,
    permit: Permit,
) -> Allocation {
    Allocation {
        route: *request.route,
        username: authenticated.username.into(),
        user: owner.account,
        room: owner.room,
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
        to_peers: Default::default(),
        to_client: Default::default(),
        icmp_limiter: Default::default(),
        bytes_up: 0,
        bytes_down: 0,
        permit,
        second_permit: None,
    }
}
