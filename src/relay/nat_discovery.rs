//! The additional sockets for NAT behaviour discovery (RFC 5780 section 6).

use std::io;
use std::net::SocketAddr;

use crate::config;
use crate::turn::{Discovery, Endpoint, NatMapping};

use super::error::RelayError;
use super::inherited::Inherited;
use super::listeners::BoundListeners;
use super::sockets;

impl BoundListeners {
    /// Binds `turn.alternate_port`, if set, on each family with two addresses in `turn.listen`.
    ///
    /// # Errors
    ///
    /// [`RelayError::Listen`] if the port cannot be bound.
    pub fn with_alternate_port(
        mut self,
        turn: &config::Turn,
        inherited: &mut Inherited,
    ) -> Result<BoundListeners, RelayError> {
        for address in config::discovery_pairs(turn).into_iter().flatten() {
            let address = SocketAddr::new(address.ip(), turn.alternate_port);
            let bound = sockets::udp_sockets(address, self.udp.len(), inherited);
            let bound = bound.map_err(|error| {
                let key = "turn.alternate_port";
                RelayError::Listen(sockets::cannot_listen(address, key, &error))
            })?;
            self.add_udp(bound);
            self.alternate.push(address);
        }
        Ok(self)
    }

    /// The endpoints for NAT behaviour discovery, for the servers of all shards.
    ///
    /// # Errors
    ///
    /// [`RelayError::Listen`] if two addresses of a family have the same public address.
    pub(super) fn discovery(
        &self,
        turn: &config::Turn,
        external: &[NatMapping],
    ) -> Result<Discovery, RelayError> {
        let mut groups = Vec::new();
        for [one, other] in config::discovery_pairs(turn) {
            let public =
                [one, other].map(|address| NatMapping::public_address(external, address).ip());
            if public[0] == public[1] {
                return Err(RelayError::Listen(format!(
                    "turn.alternate_port needs two public addresses, but both {} and {} have \
                     the public address {}: set turn.external_ip to a public/private pair for each",
                    one.ip(),
                    other.ip(),
                    public[0]
                )));
            }
            let second = |address: SocketAddr| SocketAddr::new(address.ip(), turn.alternate_port);
            let mut endpoints = Vec::new();
            for address in [one, second(one), other, second(other)] {
                endpoints.extend(self.endpoint(address, external)?);
            }
            groups.extend(<[Endpoint; 4]>::try_from(endpoints));
        }
        Ok(Discovery::new(groups))
    }

    fn endpoint(
        &self,
        address: SocketAddr,
        external: &[NatMapping],
    ) -> io::Result<Option<Endpoint>> {
        let sockets = self.udp.first().into_iter().flatten();
        for (via, socket) in (0..).zip(sockets) {
            if socket.local_addr()? == address {
                return Ok(Some(Endpoint {
                    address,
                    public: NatMapping::public_address(external, address),
                    via,
                }));
            }
        }
        Ok(None)
    }
}
