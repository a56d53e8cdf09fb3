//! From an Allocate that was granted to sockets that are bound: ports, pairs, both families, second
//! attempts_left.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;

use crate::clock::Now;
use crate::stun::Method;

use super::allocation::{Candidate, PendingBind, PortParity};
use super::family::Family;
use super::reservation::{Reservation, token_of};
use super::response::ResponseBuilder;
use super::{AllocationId, ErrorReason, NatMapping, Outcome, Output, Server};

/// PortParity that are tried for one allocation before it is refused with 508.
pub(super) const MAX_BIND_ATTEMPTS: u8 = 16;

/// How long the edge may take to bind a socket before the allocation is given up.
pub(super) const BIND_TIMEOUT: Duration = Duration::from_secs(10);

impl Server {
    /// Reports what became of [`Output::Bind`]: the edge's number for the socket, or why not.
    pub fn handle_bind_result(&mut self, now: Now, id: AllocationId, result: io::Result<u32>) {
        let Some(pending_bind) = self.table.get(id).and_then(|a| a.pending_bind.take()) else {
            // It was freed meanwhile.
            return self.unbind(result.ok());
        };
        match (pending_bind.even, result) {
            (None, Ok(socket)) if pending_bind.candidate.ports == PortParity::Pair => {
                let even = Some(socket);
                self.request_bind(
                    id,
                    next_port(pending_bind.candidate.address),
                    PendingBind {
                        even,
                        ..pending_bind
                    },
                );
            }
            (None, Ok(socket)) => self.on_bound(now, id, socket, pending_bind),
            (Some(even), Ok(next)) => self.on_pair_bound(now, id, (even, next), pending_bind),
            (even, Err(error)) => {
                self.unbind(even);
                match error.kind() {
                    io::ErrorKind::AddrInUse => self.try_next_port(now, id, pending_bind),
                    _ => self.skip_family(now, id, pending_bind),
                }
            }
        }
    }

    /// Selects a port on an address, whose own port is ignored, and requests its binding; `next_family` is the
    /// address for a second relayed address.
    pub(super) fn start_bind(
        &mut self,
        now: Now,
        id: AllocationId,
        (address, ports): (SocketAddr, PortParity),
        next_family: Option<SocketAddr>,
    ) {
        let candidate = Candidate {
            address,
            ports,
            attempts_left: 1 + MAX_BIND_ATTEMPTS,
        };
        let pending_bind = PendingBind {
            candidate,
            even: None,
            next_family,
        };
        self.try_next_port(now, id, pending_bind);
    }

    fn request_bind(&mut self, id: AllocationId, address: SocketAddr, pending_bind: PendingBind) {
        if let Some(allocation) = self.table.get(id) {
            allocation.pending_bind = Some(pending_bind);
        }
        // What arrives at the odd port of a pair is nobody's while it is only reserved.
        let owner = pending_bind.even.is_none().then_some(id);
        self.output.push_back(Output::Bind { id, address, owner });
    }

    /// The even port is the allocation's, the next one is kept for the same user.
    fn on_pair_bound(
        &mut self,
        now: Now,
        id: AllocationId,
        sockets: (u32, u32),
        pending_bind: PendingBind,
    ) {
        let (socket, next) = sockets;
        if !self.assign(now, id, socket, pending_bind) {
            return self.unbind([next]);
        }
        match self.reserve(now, id, next, next_port(pending_bind.candidate.address)) {
            Ok(()) => self.respond_success(now, id),
            Err(reason) => {
                self.unbind([next]);
                self.fail(id, reason);
            }
        }
    }

    /// Gives an allocation the socket that is bound, and goes on to the next, or responses.
    pub(super) fn on_bound(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        pending_bind: PendingBind,
    ) {
        if self.assign(now, id, socket, pending_bind) {
            match pending_bind.next_family {
                Some(address) => {
                    self.start_bind(now, id, (address, pending_bind.candidate.ports), None)
                }
                None => self.respond_success(now, id),
            }
        }
    }

    /// False where the advertised address is taken already, and another one is on its way.
    fn assign(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        pending_bind: PendingBind,
    ) -> bool {
        let bound = pending_bind.candidate.address;
        let relayed = NatMapping::public_address(&self.settings.host.nat_mappings, bound);
        let given = self.table.set_relayed(id, socket, relayed, bound.ip());
        self.note_relayed_on(bound.ip());
        if !given {
            self.unbind([socket]);
            self.try_next_port(now, id, pending_bind);
        }
        given
    }

    fn reserve(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        address: SocketAddr,
    ) -> Result<(), ErrorReason> {
        let allocation = self.table.get(id).ok_or(ErrorReason::NoPort)?;
        let permit =
            self.settings
                .quotas
                .take(&allocation.user, allocation.route.client.ip(), now.mono)?;
        let mut random = [0; 8];
        self.random.fill_bytes(&mut random);
        let token = token_of(self.shard, random, &self.settings.directory);
        allocation.token = Some(token);
        let reservation = Reservation {
            socket,
            address,
            permit,
        };
        self.reservations.add(token, reservation, now.mono);
        Ok(())
    }

    fn try_next_port(&mut self, now: Now, id: AllocationId, pending_bind: PendingBind) {
        let PendingBind {
            candidate,
            next_family,
            ..
        } = pending_bind;
        let Candidate {
            ports,
            attempts_left,
            ..
        } = candidate;
        let address = self.with_port(candidate.address, ports);
        match (attempts_left.checked_sub(1), address) {
            (Some(attempts_left), Some(address)) => {
                let candidate = Candidate {
                    address,
                    ports,
                    attempts_left,
                };
                let pending_bind = PendingBind {
                    candidate,
                    even: None,
                    next_family,
                };
                self.request_bind(id, address, pending_bind);
            }
            _ => self.skip_family(now, id, pending_bind),
        }
    }

    /// There is no such address to be had. Of two, the other one is still worth something.
    fn skip_family(&mut self, now: Now, id: AllocationId, pending_bind: PendingBind) {
        let Candidate { address, ports, .. } = pending_bind.candidate;
        let unavailable = (Family::of(address.ip()), ErrorReason::NoPort);
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let has_other = allocation.relayed_addresses().next().is_some();
        if pending_bind.next_family.is_some() || has_other {
            allocation.unavailable = Some(unavailable);
            allocation.second_permit = None;
        }
        match pending_bind.next_family {
            Some(address) => self.start_bind(now, id, (address, ports), None),
            None if has_other => self.respond_success(now, id),
            None => self.fail(id, ErrorReason::NoPort),
        }
    }

    pub(super) fn unbind(&mut self, sockets: impl IntoIterator<Item = u32>) {
        let orders = sockets.into_iter().map(|socket| Output::Unbind { socket });
        self.output.extend(orders);
    }

    /// Responses the Allocate whose socket now exists.
    pub(super) fn respond_success(&mut self, now: Now, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let route = allocation.route;
        let expires = now.mono + Duration::from_secs(u64::from(allocation.granted));
        let mut bytes = Vec::with_capacity(128);
        ResponseBuilder::allocated(allocation, &mut bytes);
        self.table.set_expiry(id, None, expires);
        self.output.push_back(Output::Response {
            route,
            bytes,
            outcome: Outcome::Granted(Method::ALLOCATE),
        });
    }

    fn fail(&mut self, id: AllocationId, reason: ErrorReason) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        self.unbind(allocation.sockets());
        let mut bytes = Vec::with_capacity(128);
        let builder = ResponseBuilder::new(Method::ALLOCATE, allocation.transaction);
        let alternates = &self.settings.alternates;
        let alternate = alternates.for_error(reason, allocation.route.client);
        builder.error(&mut bytes, reason, alternate, Some(&allocation.key));
        self.output.push_back(Output::Response {
            route: allocation.route,
            bytes,
            outcome: Outcome::Refused(Method::ALLOCATE, reason),
        });
    }
}

/// The odd port above an even one.
fn next_port(even: SocketAddr) -> SocketAddr {
    let mut next = even;
    next.set_port(even.port() | 1);
    next
}
