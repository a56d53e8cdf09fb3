//! A shard's end in one process, and its beginning in another.

use std::collections::HashSet;
use std::io;

use tokio::sync::oneshot;

use crate::clock;
use crate::turn::{IdMap, Policy};

use super::Shard;
use crate::relay::handover::{
    Inherited, RelaySocketState, ShardHandover, ShardState, SocketId, inode,
};

/// Who goes on.
pub type HandoverReply = oneshot::Sender<io::Result<(ShardHandover, Policy)>>;

impl Shard {
    /// What is left of a shard that has stopped.
    pub(super) fn into_handover(self) -> io::Result<(ShardHandover, Policy)> {
        let snapshot = self.server.snapshot();
        let listeners = self.listeners.into_iter().map(|listener| listener.socket);
        let listeners: Vec<_> = listeners.collect();
        let sockets: io::Result<Vec<_>> = listeners.iter().map(SocketId::of).collect();
        let needed: HashSet<u32> = snapshot.sockets().map(|(number, _)| number).collect();
        let (mut known, mut relays) = (Vec::new(), Vec::new());
        for (number, address, socket) in self.relay_sockets.into_endpoints() {
            if needed.contains(&number) {
                known.push(RelaySocketState {
                    number,
                    address: address?,
                    inode: socket.as_ref().map(inode).transpose()?,
                });
                relays.extend(socket);
            }
        }
        let state = ShardState {
            listeners: sockets?,
            relays: known,
            snapshot,
        };
        let handed = ShardHandover {
            state,
            listeners,
            relays,
        };
        Ok((handed, self.server.policy().clone()))
    }

    /// Takes up what is this shard's of what one of an earlier process did, and gives how many
    /// allocations that are.
    pub fn restore(&mut self, known: &ShardState, inherited: &mut Inherited) -> usize {
        let mut numbers = IdMap::default();
        for relay in &known.relays {
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
        for (old, socket) in (0..).zip(&known.listeners) {
            let mut ours = self.listeners.iter();
            if let Some(via) = ours.position(|ours| ours.address == socket.address) {
                numbers.via.insert(old, via as u32);
            }
        }
        let restored = self.server.restore(known.snapshot.clone(), &numbers);
        self.process_outputs(clock::now());
        restored
    }

    /// Applies changes since the previous process granted its permissions: permissions that are denied
    /// now are withdrawn, and allocations on missing addresses end as if the addresses had just
    /// disappeared.
    pub fn reapply_policy(&mut self, earlier: &Policy) {
        self.server
            .addresses_lost(clock::now(), earlier.own.iter().copied());
        self.server.reapply_policy();
    }
}
