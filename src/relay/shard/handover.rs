//! The handover of a shard to the next process.

use std::collections::HashSet;
use std::io;

use crate::clock;
use crate::turn::{IdMap, Policy};

use super::Shard;
use crate::relay::handover::{RelaySocketState, ShardHandover, ShardState, SocketId, inode};
use crate::relay::inherited::Inherited;

impl Shard {
    /// Returns the state and the sockets of a stopped shard. Sockets that no allocation of the snapshot needs
    /// are closed: a snapshot has no allocations of TCP clients, whose connections end with the process.
    pub(super) fn into_handover(self) -> io::Result<(ShardHandover, Policy)> {
        let snapshot = self.server.snapshot();
        let listeners = self.listeners.into_iter().map(|listener| listener.socket);
        let listeners: Vec<_> = listeners.collect();
        let sockets: io::Result<Vec<_>> = listeners.iter().map(SocketId::of).collect();
        let needed: HashSet<u32> = snapshot.sockets().map(|(number, _)| number).collect();
        let (mut states, mut relays) = (Vec::new(), Vec::new());
        for (number, address, socket) in self.relay_sockets.into_endpoints() {
            if needed.contains(&number) {
                states.push(RelaySocketState {
                    number,
                    address: address?,
                    inode: socket.as_ref().map(inode).transpose()?,
                });
                relays.extend(socket);
            }
        }
        let state = ShardState {
            listeners: sockets?,
            relays: states,
            snapshot,
        };
        let handed = ShardHandover {
            state,
            listeners,
            relays,
        };
        Ok((handed, self.server.policy().clone()))
    }

    /// Restores the allocations of an earlier shard whose ports belong to this shard, and returns their number.
    ///
    /// The order matters: the server restores only allocations whose sockets have an id in `numbers`, so all
    /// sockets are adopted first.
    pub(crate) fn restore(&mut self, earlier: &ShardState, inherited: &mut Inherited) -> usize {
        let mut numbers = IdMap::default();
        for relay in &earlier.relays {
            if self.server.has_port(relay.address.port()) {
                let socket = inherited.take_relay_socket(relay);
                let registry = self.poll.registry();
                if let Ok(number) = self.relay_sockets.adopt(registry, relay.address, socket) {
                    numbers.sockets.insert(relay.number, number);
                }
            }
        }
        if numbers.sockets.is_empty() {
            return 0;
        }
        for (old, socket) in (0..).zip(&earlier.listeners) {
            let mut listeners = self.listeners.iter();
            if let Some(via) = listeners.position(|listener| listener.address == socket.address) {
                numbers.via.insert(old, via as u32);
            }
        }
        let restored = self.server.restore(earlier.snapshot.clone(), &numbers);
        self.process_outputs(clock::now());
        restored
    }

    /// Applies changes since the previous process granted its permissions: permissions that are denied
    /// now are removed, and allocations on missing addresses end as if the addresses had just
    /// disappeared.
    pub(crate) fn reapply_policy(&mut self, earlier: &Policy) {
        self.server
            .addresses_lost(clock::now(), earlier.own.iter().copied());
        self.server.reapply_policy();
    }
}
