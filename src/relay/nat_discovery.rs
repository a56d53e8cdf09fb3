//! The sockets that NAT behaviour discovery needs besides those of `turn.listen` (RFC 5780
//! section 6).

use std::io;
use std::net::SocketAddr;

use crate::config;
use crate::turn::{Discovery, Endpoint, NatMapping};

use super::handover::Inherited;
use super::{Bound, RelayError, sockets};

impl Bound {
    /// Binds `turn.alternate_port` on the addresses that are two of a family, where it is set.
    ///
    /// # Errors
    /// A sentence that says what to do.
    pub fn with_alternate_port(
        mut self,
        turn: &config::Turn,
        inherited: &mut Inherited,
    ) -> Result<Bound, RelayError> {
        for address in config::discovery_pairs(turn).into_iter().flatten() {
            let address = SocketAddr::new(address.ip(), turn.alternate_port);
            let bound = sockets::udp_sockets(address, self.udp.len(), inherited);
            let bound = bound.map_err(|error| {
                let key = "turn.alternate_port";
                RelayError::Listen(sockets::cannot_listen(address, key, &error))
            })?;
            for (shard, socket) in self.udp.iter_mut().zip(bound) {
                shard.push(socket);
            }
            self.alternate.push(address);
        }
        Ok(self)
    }

    /// Which socket is where, for the servers of all shards.
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
                    "turn.alternate_port needs two addresses public as well, and {} and {} are \
                     both {} there: name each in turn.external_ip, as public/private",
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
