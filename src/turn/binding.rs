//! From an Allocate that was granted to sockets that are bound: ports, pairs, both families, second
//! tries.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;

use crate::clock::Now;
use crate::stun::Method;

use super::allocation::{Candidate, Ports, Setup};
use super::family::Family;
use super::reply::Reply;
use super::reservation::{Reservation, token_of};
use super::{AllocationId, External, Outcome, Output, Refusal, Server};

/// Ports that are tried for one allocation before it is refused with 508.
pub(super) const BIND_TRIES: u8 = 16;

/// How long the edge may take to bind a socket before the allocation is given up.
pub(super) const BIND_PATIENCE: Duration = Duration::from_secs(10);

impl Server {
    /// Reports what became of [`Output::Bind`]: the edge's number for the socket, or why not.
    pub fn bound(&mut self, now: Now, id: AllocationId, result: io::Result<u32>) {
        let Some(setup) = self.table.get(id).and_then(|a| a.setup.take()) else {
            // It was freed meanwhile.
            return self.unbind(result.ok());
        };
        match (setup.even, result) {
            (None, Ok(socket)) if setup.candidate.ports == Ports::Pair => {
                let even = Some(socket);
                self.order(
                    id,
                    next_port(setup.candidate.address),
                    Setup { even, ..setup },
                );
            }
            (None, Ok(socket)) => self.settle(now, id, socket, setup),
            (Some(even), Ok(next)) => self.bound_pair(now, id, (even, next), setup),
            (even, Err(error)) => {
                self.unbind(even);
                match error.kind() {
                    io::ErrorKind::AddrInUse => self.retry(now, id, setup),
                    _ => self.miss(now, id, setup),
                }
            }
        }
    }

    /// Selects a port on an address, whose own port is ignored, and requests its binding; `then` is the
    /// address for a second relayed address.
    pub(super) fn begin(
        &mut self,
        now: Now,
        id: AllocationId,
        (address, ports): (SocketAddr, Ports),
        then: Option<SocketAddr>,
    ) {
        let candidate = Candidate {
            address,
            ports,
            tries: 1 + BIND_TRIES,
        };
        let setup = Setup {
            candidate,
            even: None,
            then,
        };
        self.retry(now, id, setup);
    }

    fn order(&mut self, id: AllocationId, address: SocketAddr, setup: Setup) {
        if let Some(allocation) = self.table.get(id) {
            allocation.setup = Some(setup);
        }
        // What arrives at the odd port of a pair is nobody's while it is only reserved.
        let owner = setup.even.is_none().then_some(id);
        self.output.push_back(Output::Bind { id, address, owner });
    }

    /// The even port is the allocation's, the next one is kept for the same user.
    fn bound_pair(&mut self, now: Now, id: AllocationId, sockets: (u32, u32), setup: Setup) {
        let (socket, next) = sockets;
        if !self.give(now, id, socket, setup) {
            return self.unbind([next]);
        }
        match self.reserve(now, id, next, next_port(setup.candidate.address)) {
            Ok(()) => self.promise(now, id),
            Err(refusal) => {
                self.unbind([next]);
                self.give_up(id, refusal);
            }
        }
    }

    /// Gives an allocation the socket that is bound, and goes on to the next, or answers.
    pub(super) fn settle(&mut self, now: Now, id: AllocationId, socket: u32, setup: Setup) {
        if self.give(now, id, socket, setup) {
            match setup.then {
                Some(address) => self.begin(now, id, (address, setup.candidate.ports), None),
                None => self.promise(now, id),
            }
        }
    }

    /// False where the advertised address is taken already, and another one is on its way.
    fn give(&mut self, now: Now, id: AllocationId, socket: u32, setup: Setup) -> bool {
        let bound = setup.candidate.address;
        let relayed = External::advertise(&self.settings.host.external, bound);
        let given = self.table.set_relayed(id, socket, relayed, bound.ip());
        self.has_relayed_on(bound.ip());
        if !given {
            self.unbind([socket]);
            self.retry(now, id, setup);
        }
        given
    }

    fn reserve(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::NoPort)?;
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

    fn retry(&mut self, now: Now, id: AllocationId, setup: Setup) {
        let Setup {
            candidate, then, ..
        } = setup;
        let Candidate { ports, tries, .. } = candidate;
        let address = self.with_port(candidate.address, ports);
        match (tries.checked_sub(1), address) {
            (Some(tries), Some(address)) => {
                let candidate = Candidate {
                    address,
                    ports,
                    tries,
                };
                let setup = Setup {
                    candidate,
                    even: None,
                    then,
                };
                self.order(id, address, setup);
            }
            _ => self.miss(now, id, setup),
        }
    }

    /// There is no such address to be had. Of two, the other one is still worth something.
    fn miss(&mut self, now: Now, id: AllocationId, setup: Setup) {
        let Candidate { address, ports, .. } = setup.candidate;
        let missed = (Family::of(address.ip()), Refusal::NoPort);
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let has_other = allocation.bound().next().is_some();
        if setup.then.is_some() || has_other {
            allocation.missed = Some(missed);
            allocation.second_permit = None;
        }
        match setup.then {
            Some(address) => self.begin(now, id, (address, ports), None),
            None if has_other => self.promise(now, id),
            None => self.give_up(id, Refusal::NoPort),
        }
    }

    pub(super) fn unbind(&mut self, sockets: impl IntoIterator<Item = u32>) {
        let orders = sockets.into_iter().map(|socket| Output::Unbind { socket });
        self.output.extend(orders);
    }

    /// Answers the Allocate whose socket now exists.
    pub(super) fn promise(&mut self, now: Now, id: AllocationId) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let route = allocation.route;
        let expires = now.mono + Duration::from_secs(u64::from(allocation.granted));
        let mut bytes = Vec::with_capacity(128);
        Reply::allocated(allocation, &mut bytes);
        self.table.set_expiry(id, None, expires);
        self.output.push_back(Output::Answer {
            route,
            bytes,
            outcome: Outcome::Granted(Method::ALLOCATE),
        });
    }

    fn give_up(&mut self, id: AllocationId, refusal: Refusal) {
        let Some(allocation) = self.table.remove(id) else {
            return;
        };
        self.unbind(allocation.sockets());
        let mut bytes = Vec::with_capacity(128);
        let reply = Reply::new(Method::ALLOCATE, allocation.transaction);
        let alternates = &self.settings.alternates;
        let alternate = alternates.instead_of(refusal, allocation.route.client);
        reply.error(&mut bytes, refusal, alternate, Some(&allocation.key));
        self.output.push_back(Output::Answer {
            route: allocation.route,
            bytes,
            outcome: Outcome::Refused(Method::ALLOCATE, refusal),
        });
    }
}

/// The odd port above an even one.
fn next_port(even: SocketAddr) -> SocketAddr {
    let mut next = even;
    next.set_port(even.port() | 1);
    next
}
