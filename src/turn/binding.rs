//! From an Allocate that was granted to a socket that is bound: ports, pairs, second tries.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::{Rng, RngExt};

use crate::clock::Now;
use crate::config::PortRange;
use crate::stun::Method;

use super::allocation::{Ports, Relay};
use super::reply::Reply;
use super::reservation::Reservation;
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
            self.output
                .extend(result.ok().map(|socket| Output::Unbind { socket }));
            return;
        };
        match (allocation.relay, result) {
            (
                Relay::Binding {
                    address,
                    tries,
                    ports: Ports::Pair,
                },
                Ok(socket),
            ) => {
                let mut next = address;
                next.set_port(address.port() | 1);
                allocation.relay = Relay::BindingNext {
                    socket,
                    address,
                    tries,
                };
                let bind = Output::Bind {
                    id,
                    address: next,
                    owner: None,
                };
                self.output.push_back(bind);
            }
            (
                Relay::Binding {
                    address,
                    tries,
                    ports,
                },
                Ok(socket),
            ) => {
                self.settle(now, id, socket, address, (tries, ports));
            }
            (
                Relay::BindingNext {
                    socket,
                    address,
                    tries,
                },
                Ok(next),
            ) => match self.reserve(now, id, next, address) {
                Ok(()) => self.settle(now, id, socket, address, (tries, Ports::Pair)),
                Err(refusal) => {
                    let sockets = [socket, next];
                    self.output
                        .extend(sockets.map(|socket| Output::Unbind { socket }));
                    self.give_up(id, refusal);
                }
            },
            (
                Relay::Binding {
                    address,
                    tries,
                    ports,
                },
                Err(error),
            ) => {
                self.bind_failed(id, address, (tries, ports), &error);
            }
            (
                Relay::BindingNext {
                    socket,
                    address,
                    tries,
                },
                Err(error),
            ) => {
                self.output.push_back(Output::Unbind { socket });
                self.bind_failed(id, address, (tries, Ports::Pair), &error);
            }
            (Relay::Bound { .. }, result) => {
                self.output
                    .extend(result.ok().map(|socket| Output::Unbind { socket }));
            }
        }
    }

    /// A port of the range by the shard's own random generator (RFC 8656 section 7.2: not to be
    /// guessed), free as far as this shard knows; `None` where the range has none such.
    pub(super) fn relay_address(&mut self, ip: IpAddr, ports: Ports) -> Option<SocketAddr> {
        let PortRange { first, last } = self.settings.ports;
        let (first, last) = match ports {
            Ports::Any => (first, last),
            Ports::Even => (first.checked_add(first & 1)?, last & !1),
            Ports::Pair => (first.checked_add(first & 1)?, last.checked_sub(1)? & !1),
        };
        if first > last {
            return None;
        }
        let mut address = SocketAddr::new(ip, first);
        for _ in 0..BIND_TRIES {
            let port = self.random.random_range(first..=last);
            address.set_port(if ports == Ports::Any { port } else { port & !1 });
            let relayed = External::advertise(&self.settings.external, address);
            if !self.table.is_relayed(relayed) && !self.settings.policy.is_listener(address) {
                break;
            }
        }
        Some(address)
    }

    /// Gives an allocation the socket that is bound, and answers its client.
    pub(super) fn settle(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        address: SocketAddr,
        (tries, ports): (u8, Ports),
    ) {
        let relayed = External::advertise(&self.settings.external, address);
        if self.table.set_relayed(id, socket, relayed) {
            self.promise(now, id);
        } else {
            self.output.push_back(Output::Unbind { socket });
            self.retry(id, address, tries, ports);
        }
    }

    /// Keeps the port above for a later Allocate of the same user.
    fn reserve(
        &mut self,
        now: Now,
        id: AllocationId,
        socket: u32,
        even: SocketAddr,
    ) -> Result<(), Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::NoPort)?;
        let permit = self.settings.quotas.take(&allocation.user)?;
        let mut token = [0; 8];
        self.random.fill_bytes(&mut token);
        allocation.token = Some(token);
        let mut address = even;
        address.set_port(even.port() | 1);
        let reservation = Reservation {
            socket,
            address,
            permit,
        };
        self.reservations.add(token, reservation, now.mono);
        Ok(())
    }

    fn bind_failed(
        &mut self,
        id: AllocationId,
        address: SocketAddr,
        (tries, ports): (u8, Ports),
        error: &io::Error,
    ) {
        match error.kind() {
            io::ErrorKind::AddrInUse => self.retry(id, address, tries, ports),
            _ => self.give_up(id, Refusal::NoPort),
        }
    }

    fn retry(&mut self, id: AllocationId, failed: SocketAddr, tries: u8, ports: Ports) {
        let address = self.relay_address(failed.ip(), ports);
        match (self.table.get(id), tries.checked_sub(1), address) {
            (Some(allocation), Some(tries), Some(address)) => {
                allocation.relay = Relay::Binding {
                    address,
                    tries,
                    ports,
                };
                let owner = Some(id);
                self.output.push_back(Output::Bind { id, address, owner });
            }
            _ => self.give_up(id, Refusal::NoPort),
        }
    }

    /// Answers the Allocate whose socket now exists.
    fn promise(&mut self, now: Now, id: AllocationId) {
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
        reply.error(&mut bytes, refusal, Some(&allocation.key));
        self.output.push_back(Output::Answer {
            route: allocation.route,
            bytes,
            outcome: Outcome::Refused(Method::ALLOCATE, refusal),
        });
    }
}
