//! Allocate and Refresh (RFC 8656 sections 7.2 and 8.2).

use std::net::SocketAddr;
use std::time::Duration;

use smallvec::SmallVec;

use crate::stun::{Attribute, Message};

use super::allocation::{Allocation, Candidate, Ports, Setup};
use super::auth::Proven;
use super::binding::BIND_PATIENCE;
use super::family::Family;
use super::fields::{
    DEFAULT_LIFETIME, MAX_LIFETIME, lifetime, ports, requested_family, reservation_token,
    wants_both_families,
};
use super::policy::is_tunnelled;
use super::requests::{Granted, Request};
use super::reservation::Reservation;
use super::{AllocationId, Output, Permit, Refusal, Route, Server};

/// Endings that are remembered for retransmissions.
pub(super) const ENDINGS_KEPT: usize = 64;

/// The protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

impl Server {
    /// RFC 8656 section 7.2: a second Allocate is a retransmission, or a mismatch.
    pub(super) fn allocate_again(
        &mut self,
        id: AllocationId,
        message: &Message<'_>,
    ) -> Result<Granted, Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        if allocation.transaction != message.transaction() {
            return Err(Refusal::AllocationMismatch);
        }
        Ok(match allocation.setup {
            Some(_) => Granted::Pending,
            None => Granted::Again(id),
        })
    }

    /// A first Allocate, as far as this shard knows: another one may be asked the same at the same
    /// time, while the kernel deals its flows anew.
    pub(super) fn allocate_once(
        &mut self,
        request: Request<'_>,
        proven: &Proven<'_>,
    ) -> Result<Granted, Refusal> {
        if let Err(shard) = self.table.claim(request.route) {
            return Ok(Granted::Elsewhere(shard));
        }
        let result = self.allocate(request, proven);
        if !matches!(result, Ok(Granted::Queued)) {
            self.table.disclaim(request.route);
        }
        result
    }

    /// A first Allocate: whether this user may have one at all, then what exactly is asked for.
    fn allocate(&mut self, request: Request<'_>, proven: &Proven<'_>) -> Result<Granted, Refusal> {
        let message = request.message;
        if proven.name.expires <= request.now.unix {
            return Err(Refusal::Expired);
        }
        let holder = self.holder(request, proven)?;
        match message.get(Attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Refusal::UnsupportedTransport),
            _ => return Err(Refusal::BadRequest),
        }
        let granted = lifetime(message)?.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let ports = ports(message)?;
        match reservation_token(message)? {
            Some(_) if ports != Ports::Any || names_a_family(message) => {
                return Err(Refusal::BadRequest);
            }
            Some(token) => {
                allow_client(request)?;
                let claimed = self.reservations.claim(&token, &holder.account);
                let claimed = claimed.ok_or(Refusal::NoReservation)?;
                self.allocate_reserved(request, proven, holder, granted, claimed);
            }
            None => {
                let wanted = self.wanted(request, ports)?;
                allow_client(request)?;
                let at = |ip| self.shard_with_room(ip, ports);
                // Of two addresses, one is still worth something.
                match at(wanted.address.ip()).or_else(|| at(wanted.then?.ip())) {
                    Some(shard) if shard != self.shard => return Ok(Granted::Elsewhere(shard)),
                    _ => self.allocate_new(request, proven, holder, granted, wanted)?,
                }
            }
        }
        Ok(Granted::Queued)
    }

    /// Returns the identity of the credential, unless the credential is refused.
    fn holder(&self, request: Request<'_>, proven: &Proven<'_>) -> Result<Holder, Refusal> {
        let identity = self.settings.revocations.resolve(proven.name);
        if identity.user.is_none() && !self.settings.unnamed {
            return Err(Refusal::Unnamed);
        }
        if self.settings.revocations.is_revoked(&identity) {
            return Err(Refusal::Revoked);
        }
        Ok(Holder {
            account: identity.account(request.route.client.ip()).into(),
            room: identity.room.map(Box::from),
        })
    }

    /// Which families are asked for, and where each would be.
    fn wanted(&self, request: Request<'_>, ports: Ports) -> Result<Wanted, Refusal> {
        let Request { route, message, .. } = request;
        let one = |address| Wanted {
            address,
            ports,
            then: None,
            missed: None,
        };
        let both = wants_both_families(message)?;
        if both
            && (ports == Ports::Pair || message.get(Attribute::REQUESTED_ADDRESS_FAMILY).is_some())
        {
            return Err(Refusal::BadRequest);
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
            return address.map(one).ok_or(Refusal::AddressFamily);
        }
        let missed = |family| Some((family, Refusal::AddressFamily));
        match Family::BOTH.map(|family| self.relay_address(route, family)) {
            [Some(v4), then @ Some(_)] => Ok(Wanted { then, ..one(v4) }),
            [Some(v4), None] => Ok(Wanted {
                missed: missed(Family::V6),
                ..one(v4)
            }),
            [None, Some(v6)] => Ok(Wanted {
                missed: missed(Family::V4),
                ..one(v6)
            }),
            [None, None] => Err(Refusal::AddressFamily),
        }
    }

    /// Each relayed address counts in the quotas. Where there is room for one of two, that is what
    /// the client gets.
    fn allocate_new(
        &mut self,
        request: Request<'_>,
        proven: &Proven<'_>,
        holder: Holder,
        granted: u32,
        mut wanted: Wanted,
    ) -> Result<(), Refusal> {
        let take = || {
            let quotas = &self.settings.quotas;
            let client = request.route.client.ip();
            quotas.take(&holder.account, client, request.now.mono)
        };
        let permit = take()?;
        let second_permit = wanted.then.and_then(|_| take().ok());
        if let (Some(address), None) = (wanted.then, &second_permit) {
            wanted.then = None;
            wanted.missed = Some((Family::of(address.ip()), Refusal::NoPort));
        }
        let mut allocation = new_allocation(request, proven, holder, granted, permit);
        allocation.second_permit = second_permit;
        allocation.missed = wanted.missed;
        let id = self.table.insert(allocation);
        let first = (wanted.address, wanted.ports);
        self.begin(request.now, id, first, wanted.then);
        Ok(())
    }

    /// The socket of a reserved port exists already.
    fn allocate_reserved(
        &mut self,
        request: Request<'_>,
        proven: &Proven<'_>,
        holder: Holder,
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
            ports: Ports::Any,
            tries: 0,
        };
        let setup = Setup {
            candidate,
            even: None,
            then: None,
        };
        let allocation = new_allocation(request, proven, holder, granted, permit);
        let id = self.table.insert(allocation);
        self.output.push_back(Output::Adopt { socket, owner: id });
        self.settle(request.now, id, socket, setup);
    }

    /// The address to bind a relayed address of `family` to, without a port. If relayed addresses are
    /// virtual, the address that received the request is always valid.
    fn relay_address(&self, route: &Route, family: Family) -> Option<SocketAddr> {
        let (client, asked) = (route.client, route.server.ip());
        let host = &self.settings.host;
        let address = host.relay_address(client, asked, family, self.may_be_asked(asked));
        let number = self.settings.policy.internal && Family::of(asked) == family;
        address.or(number.then(|| SocketAddr::new(asked, 0)))
    }

    /// The answer to the Refresh that ended an allocation may have been lost: its retransmission
    /// gets the same one.
    pub(super) fn refresh_again(&self, request: Request<'_>) -> Result<Granted, Refusal> {
        let ending = (*request.route, request.message.transaction());
        let again = self.ended.contains(&ending);
        again
            .then_some(Granted::Lifetime(0))
            .ok_or(Refusal::AllocationMismatch)
    }

    /// A Refresh with a LIFETIME of 0 ends the allocation.
    pub(super) fn refresh(
        &mut self,
        id: AllocationId,
        request: Request<'_>,
        proven: &Proven<'_>,
    ) -> Result<Granted, Refusal> {
        let Request { now, message, .. } = request;
        let family = match requested_family(message) {
            // Of a family that there is not, nobody has an address.
            Err(Refusal::AddressFamily) => return Err(Refusal::PeerFamily),
            family => family?,
        };
        let wanted = lifetime(message)?;
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        if allocation.setup.is_some() {
            return Ok(Granted::Pending);
        }
        if family.is_some_and(|family| !allocation.has(family)) {
            return self.refresh_again(request).or(Err(Refusal::PeerFamily));
        }
        if wanted == 0 {
            self.end(id, family);
            self.ended.truncate(ENDINGS_KEPT - 1);
            self.ended
                .push_front((*request.route, message.transaction()));
            return Ok(Granted::Lifetime(0));
        }
        if let Err(refusal) = self.holder(request, proven) {
            self.free(id);
            return Err(refusal);
        }
        let granted = wanted.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let expires = now.mono + Duration::from_secs(u64::from(granted));
        self.table.set_expiry(id, family, expires);
        Ok(Granted::Lifetime(granted))
    }
}

/// The owner of an allocation.
struct Holder {
    account: Box<str>,
    room: Option<Box<str>>,
}

/// The relayed addresses that an Allocate is to lead to.
struct Wanted {
    /// Without a port.
    address: SocketAddr,
    ports: Ports,
    /// Where another one is wanted, of the other family.
    then: Option<SocketAddr>,
    /// The family that can't be had, and why.
    missed: Option<(Family, Refusal)>,
}

/// Refuses clients with an address that may not use a relay (RFC 8656 section 21.4).
fn allow_client(request: Request<'_>) -> Result<(), Refusal> {
    if is_tunnelled(request.route.client.ip()) {
        return Err(Refusal::TunnelledClient);
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
    proven: &Proven<'_>,
    holder: Holder,
    granted: u32,
    permit: Permit,
) -> Allocation {
    Allocation {
        route: *request.route,
        username: proven.username.into(),
        user: holder.account,
        room: holder.room,
        key: proven.key.clone(),
        transaction: request.message.transaction(),
        granted,
        since: request.now.unix,
        expires: request.now.mono + BIND_PATIENCE,
        relays: [None, None],
        setup: None,
        missed: None,
        token: None,
        permissions: SmallVec::new(),
        channels: SmallVec::new(),
        to_peers: Default::default(),
        to_client: Default::default(),
        told: Default::default(),
        bytes_up: 0,
        bytes_down: 0,
        permit,
        second_permit: None,
    }
}
