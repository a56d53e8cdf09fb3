//! Allocate and Refresh (RFC 8656 sections 7.2 and 8.2).

use std::net::IpAddr;
use std::time::Duration;

use crate::stun::{Attribute, Message};

use super::allocation::{Allocation, Candidate, Ports, Relay};
use super::auth::Proven;
use super::binding::{BIND_PATIENCE, BIND_TRIES};
use super::fields::{
    DEFAULT_LIFETIME, MAX_LIFETIME, lifetime, ports, requested_family, reservation_token,
};
use super::requests::{Granted, Request};
use super::reservation::Reservation;
use super::{AllocationId, Output, Permit, Refusal, Route, Server};

/// Endings that are remembered for retransmissions.
const ENDINGS_KEPT: usize = 64;

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
        Ok(match allocation.relay {
            Relay::Binding(_) | Relay::BindingNext { .. } => Granted::Pending,
            Relay::Bound { .. } => Granted::Again(id),
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
        if proven.bearer.expires <= request.now.unix {
            return Err(Refusal::Expired);
        }
        if self.settings.refusals.refuses(&proven.bearer) {
            return Err(Refusal::Revoked);
        }
        match message.get(Attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Refusal::UnsupportedTransport),
            _ => return Err(Refusal::BadRequest),
        }
        let granted = lifetime(message)?.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let ports = ports(message)?;
        match reservation_token(message)? {
            Some(_) if ports != Ports::Any || requested_family(message)?.is_some() => {
                Err(Refusal::BadRequest)
            }
            Some(token) => {
                let claimed = self.reservations.claim(&token, proven.bearer.user);
                self.allocate_reserved(
                    request,
                    proven,
                    granted,
                    claimed.ok_or(Refusal::NoReservation)?,
                );
                Ok(Granted::Queued)
            }
            None => {
                let ip = self.relay_ip(request.route, message)?;
                if let Some(shard) = self.shard_with_room(ip, ports) {
                    return Ok(Granted::Elsewhere(shard));
                }
                self.allocate_new(request, proven, granted, ports)?;
                Ok(Granted::Queued)
            }
        }
    }

    fn allocate_new(
        &mut self,
        request: Request<'_>,
        proven: &Proven<'_>,
        granted: u32,
        ports: Ports,
    ) -> Result<(), Refusal> {
        let ip = self.relay_ip(request.route, request.message)?;
        let permit = self
            .settings
            .quotas
            .take(proven.bearer.user, request.now.mono)?;
        let address = self.relay_address(ip, ports).ok_or(Refusal::NoPort)?;
        let candidate = Candidate {
            address,
            ports,
            tries: BIND_TRIES,
        };
        let id = self.insert(request, proven, granted, (candidate, permit));
        let owner = Some(id);
        self.output.push_back(Output::Bind { id, address, owner });
        Ok(())
    }

    /// The socket of a reserved port exists already.
    fn allocate_reserved(
        &mut self,
        request: Request<'_>,
        proven: &Proven<'_>,
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
        let id = self.insert(request, proven, granted, (candidate, permit));
        self.output.push_back(Output::Adopt { socket, owner: id });
        if self.settle(id, socket, candidate) {
            self.promise(request.now, id);
        }
    }

    fn insert(
        &mut self,
        request: Request<'_>,
        proven: &Proven<'_>,
        granted: u32,
        (candidate, permit): (Candidate, Permit),
    ) -> AllocationId {
        self.table.insert(Allocation {
            route: *request.route,
            username: proven.username.into(),
            user: proven.bearer.user.into(),
            room: proven.bearer.room.map(Box::from),
            key: proven.key.clone(),
            transaction: request.message.transaction(),
            granted,
            since: request.now.unix,
            expires: request.now.mono + BIND_PATIENCE,
            relay: Relay::Binding(candidate),
            token: None,
            permissions: Vec::new(),
            channels: Vec::new(),
            to_peers: Default::default(),
            to_client: Default::default(),
            bytes_up: 0,
            bytes_down: 0,
            permit,
        })
    }

    /// The address that was asked, or one of the family that REQUESTED-ADDRESS-FAMILY names.
    fn relay_ip(&self, route: &Route, message: &Message<'_>) -> Result<IpAddr, Refusal> {
        let asked = route.server.ip();
        let v4 = match requested_family(message)? {
            // RFC 8656 section 7.2: without the attribute it is IPv4. A server that has none gives
            // what it has, since a browser does not ask and would be left without a relay.
            None => asked.is_ipv4() || self.settings.other_family.iter().any(IpAddr::is_ipv4),
            Some(v4) => v4,
        };
        if asked.is_ipv4() == v4 {
            return Ok(asked);
        }
        let mut others = self.settings.other_family.iter();
        let other = others.find(|ip| ip.is_ipv4() == v4);
        other.copied().ok_or(Refusal::AddressFamily)
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
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        let Some(relayed) = allocation.relayed() else {
            return Ok(Granted::Pending);
        };
        if requested_family(message)?.is_some_and(|v4| v4 != relayed.is_ipv4()) {
            return Err(Refusal::PeerFamily);
        }
        let wanted = lifetime(message)?;
        if wanted == 0 {
            self.free(id);
            self.ended.truncate(ENDINGS_KEPT - 1);
            self.ended
                .push_front((*request.route, message.transaction()));
            return Ok(Granted::Lifetime(0));
        }
        if self.settings.refusals.refuses(&proven.bearer) {
            self.free(id);
            return Err(Refusal::Revoked);
        }
        let granted = wanted.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let expires = now.mono + Duration::from_secs(u64::from(granted));
        self.table.set_expiry(id, expires);
        Ok(Granted::Lifetime(granted))
    }
}
