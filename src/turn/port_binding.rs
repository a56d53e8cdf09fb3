//! The binding of relay sockets, from a granted Allocate to its response: ports, port pairs, both
//! address families and further attempts.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;

use crate::clock::Now;
use crate::stun::Method;

use super::allocation::{Candidate, PendingBind, PortParity};
use super::family::Family;
use super::ports::MAX_BIND_ATTEMPTS;
use super::reservation::{Reservation, token_of};
use super::response::ResponseBuilder;
use super::{AllocationId, ErrorReason, NatMapping, Outcome, Output, Server};

/// The time that the caller may take to bind a socket before the allocation ends.
pub(super) const BIND_TIMEOUT: Duration = Duration::from_secs(10);

impl Server {
    /// Handles the result of [`Output::Bind`]: the caller's number for the socket, or an error.
    pub fn handle_bind_result(&mut self, now: Now, id: AllocationId, result: io::Result<u32>) {
        let Some(pending) = self.table.get(id).and_then(|a| a.pending_bind.take()) else {
            // The allocation has ended since.
            return self.unbind(result.ok());
        };
        match (pending.even, result) {
            (None, Ok(socket)) if pending.candidate.parity == PortParity::Pair => {
                let next = next_port(pending.candidate.address);
                let even = Some(socket);
                self.request_bind(id, next, PendingBind { even, ..pending });
            }
            (None, Ok(socket)) => self.on_bound(now, id, socket, pending),
            (Some(even), Ok(next)) => self.on_pair_bound(now, id, (even, next), pending),
            (even, Err(error)) => {
                self.unbind(even);
                match error.kind() {
                    io::ErrorKind::AddrInUse => self.try_next_port(now, id, pending),
                    _ => self.skip_family(now, id, pending),
                }
            }
        }
    }

    /// Selects a port on `address`, whose own port is ignored, and requests its binding.
    /// `next_family` is the address for a second relayed address.
    pub(super) fn start_bind(
        &mut self,
        now: Now,
        id: AllocationId,
        (address, parity): (SocketAddr, PortParity),
        next_family: Option<SocketAddr>,
    ) {
        let candidate = Candidate {
            address,
            parity,
            attempts_left: 1 + MAX_BIND_ATTEMPTS,
        };
        let pending = PendingBind {
            candidate,
            even: None,
            next_family,
        };
        self.try_next_port(now, id, pending);
    }

    fn request_bind(&mut self, id: AllocationId, address: SocketAddr, pending: PendingBind) {
        if let Some(allocation) = self.table.get(id) {
            allocation.pending_bind = Some(pending);
        }
        // The odd port of a pair has no owner while it is only reserved.
        let owner = pending.even.is_none().then_some(id);
        self.output.push_back(Output::Bind { id, address, owner });
    }

    /// Assigns the even port to the allocation, and reserves the next port for the same user.
    fn on_pair_bound(
        &mut self,
        now: Now,
        id: AllocationId,
        (socket, next): (u32, u32),
        pending: PendingBind,
    ) {
        if !self.assign(now, id, socket, pending) {
            return self.unbind([next]);
        }
        match self.reserve(now, id, next, next_port(pending.candidate.address)) {
            Ok(()) => self.respond_success(now, id),
            Err(reason) => {
                self.unbind([next]);
                self.fail(id, reason);
            }
        }
    }

    /// Assigns the bound socket to the allocation, then binds the next family or responds.
    pub(super) fn on_bound(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        pending: PendingBind,
    ) {
        if !self.assign(now, id, socket, pending) {
            return;
        }
        match pending.next_family {
            Some(address) => self.start_bind(now, id, (address, pending.candidate.parity), None),
            None => self.respond_success(now, id),
        }
    }

    /// Assigns a relayed address to the allocation. Returns false if another allocation has the
    /// public address already; another port is tried then.
    fn assign(&mut self, now: Now, id: AllocationId, socket: u32, pending: PendingBind) -> bool {
        let bound = pending.candidate.address;
        let relayed = NatMapping::public_address(self.config.host.nat_mappings(), bound);
        let is_assigned = self.table.set_relayed(id, socket, relayed, bound.ip());
        self.record_relayed_address(bound.ip());
        if !is_assigned {
            self.unbind([socket]);
            self.try_next_port(now, id, pending);
        }
        is_assigned
    }

    fn reserve(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        address: SocketAddr,
    ) -> Result<(), ErrorReason> {
        let allocation = self.table.get(id).ok_or(ErrorReason::NoPort)?;
        let client = allocation.route.client.ip();
        let quotas = &self.config.quotas;
        let permit = quotas.take(&allocation.user, client, now.mono)?;
        let mut random = [0; 8];
        self.random.fill_bytes(&mut random);
        let token = token_of(self.shard, random, &self.config.directory);
        allocation.token = Some(token);
        let reservation = Reservation {
            socket,
            address,
            permit,
        };
        self.reservations.add(token, reservation, now.mono);
        Ok(())
    }

    fn try_next_port(&mut self, now: Now, id: AllocationId, pending: PendingBind) {
        let Candidate {
            mut address,
            parity,
            attempts_left,
        } = pending.candidate;
        let (config, policy) = (&self.config, &self.policy);
        let port = self
            .ports
            .free_port(config, policy, &mut self.random, address.ip(), parity);
        let (Some(port), Some(attempts_left)) = (port, attempts_left.checked_sub(1)) else {
            return self.skip_family(now, id, pending);
        };
        address.set_port(port);
        let pending = PendingBind {
            candidate: Candidate {
                address,
                parity,
                attempts_left,
            },
            even: None,
            next_family: pending.next_family,
        };
        self.request_bind(id, address, pending);
    }

    /// No port can be bound for this family. The allocation succeeds if it has or gets an address
    /// of the other family.
    fn skip_family(&mut self, now: Now, id: AllocationId, pending: PendingBind) {
        let Candidate {
            address, parity, ..
        } = pending.candidate;
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let has_other = allocation.relayed_addresses().next().is_some();
        if pending.next_family.is_some() || has_other {
            allocation.unavailable = Some((Family::of(address.ip()), ErrorReason::NoPort));
            allocation.second_permit = None;
        }
        match pending.next_family {
            Some(address) => self.start_bind(now, id, (address, parity), None),
            None if has_other => self.respond_success(now, id),
            None => self.fail(id, ErrorReason::NoPort),
        }
    }

    /// Queues the success response of the Allocate, and starts the lifetime that it names.
    fn respond_success(&mut self, now: Now, id: AllocationId) {
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

    /// Ends the allocation, and queues the error response of the Allocate.
    fn fail(&mut self, id: AllocationId, reason: ErrorReason) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        self.unbind(allocation.sockets());
        let mut bytes = Vec::with_capacity(128);
        let builder = ResponseBuilder::new(Method::ALLOCATE, allocation.transaction);
        let alternates = &self.config.settings.alternates;
        let alternate = alternates.for_error(reason, allocation.route.client);
        builder.error(&mut bytes, reason, alternate, Some(&allocation.key));
        self.output.push_back(Output::Response {
            route: allocation.route,
            bytes,
            outcome: Outcome::Refused(Method::ALLOCATE, reason),
        });
    }
}

/// Returns the odd port above an even one.
fn next_port(even: SocketAddr) -> SocketAddr {
    let mut next = even;
    next.set_port(even.port() | 1);
    next
}
