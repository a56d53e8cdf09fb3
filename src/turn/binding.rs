//! From an Allocate that was granted to a socket that is bound: ports, pairs, second tries.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::Rng;

use crate::clock::Now;
use crate::stun::Method;

use super::allocation::{Candidate, Ports, Relay};
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
        let Some(allocation) = self.table.get(id) else {
            // It was freed meanwhile.
            return self.unbind(result.ok());
        };
        match (allocation.relay, result) {
            (Relay::Binding(even), Ok(socket)) if even.ports == Ports::Pair => {
                allocation.relay = Relay::BindingNext { socket, even };
                self.output.push_back(Output::Bind {
                    id,
                    address: next_port(even.address),
                    owner: None,
                });
            }
            (Relay::Binding(candidate), Ok(socket)) => {
                if self.settle(id, socket, candidate) {
                    self.promise(now, id);
                }
            }
            (Relay::BindingNext { socket, even }, Ok(next)) => {
                self.bound_pair(now, id, (socket, next), even);
            }
            (Relay::Binding(candidate), Err(error)) => self.bind_failed(id, candidate, &error),
            (Relay::BindingNext { socket, even }, Err(error)) => {
                self.unbind([socket]);
                self.bind_failed(id, even, &error);
            }
            (Relay::Bound { .. }, result) => self.unbind(result.ok()),
        }
    }

    /// The even port is the allocation's, the next one is kept for the same user.
    fn bound_pair(&mut self, now: Now, id: AllocationId, sockets: (u32, u32), even: Candidate) {
        let (socket, next) = sockets;
        if !self.settle(id, socket, even) {
            return self.unbind([next]);
        }
        match self.reserve(now, id, next, next_port(even.address)) {
            Ok(()) => self.promise(now, id),
            Err(refusal) => {
                self.unbind([socket, next]);
                self.give_up(id, refusal);
            }
        }
    }

    /// Gives an allocation the socket that is bound. False where its advertised address is taken
    /// already, and another one is on its way.
    pub(super) fn settle(&mut self, id: AllocationId, socket: u32, candidate: Candidate) -> bool {
        let relayed = External::advertise(&self.settings.external, candidate.address);
        let settled = self.table.set_relayed(id, socket, relayed);
        if !settled {
            self.unbind([socket]);
            self.retry(id, candidate);
        }
        settled
    }

    fn reserve(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        address: SocketAddr,
    ) -> Result<(), Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::NoPort)?;
        let permit = self.settings.quotas.take(&allocation.user, now.mono)?;
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

    fn bind_failed(&mut self, id: AllocationId, candidate: Candidate, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::AddrInUse => self.retry(id, candidate),
            _ => self.give_up(id, Refusal::NoPort),
        }
    }

    fn retry(&mut self, id: AllocationId, failed: Candidate) {
        let Candidate { ports, tries, .. } = failed;
        let address = self.relay_address(failed.address.ip(), ports);
        match (self.table.get(id), tries.checked_sub(1), address) {
            (Some(allocation), Some(tries), Some(address)) => {
                allocation.relay = Relay::Binding(Candidate {
                    address,
                    ports,
                    tries,
                });
                let owner = Some(id);
                self.output.push_back(Output::Bind { id, address, owner });
            }
            _ => self.give_up(id, Refusal::NoPort),
        }
    }

    fn unbind(&mut self, sockets: impl IntoIterator<Item = u32>) {
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
        self.table.set_expiry(id, expires);
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
    SocketAddr::new(even.ip(), even.port() | 1)
}
