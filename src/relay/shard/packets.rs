//! Relays the messages of clients, and packets between shards.

use std::io;
use std::ops::Range;

use crate::clock::Now;
use crate::stun::Method;
use crate::turn::{ErrorReason, HEADROOM, Outcome, Output, PathChange, Route, ShardId, Verdict};

use super::Shard;
use crate::relay::counters::Path;
use crate::relay::inter_shard::{Handoff, ShardPacket};
use crate::relay::log_limits;
use crate::relay::send_queue::{PayloadLocation, QueuedTransmit};
use crate::relay::stream_table::SendOutcome;
use crate::relay::udp::BATCH;

/// Maximum number of packets from other shards that are handled in a tick.
const PACKETS_PER_TICK: usize = 4 * BATCH;

impl Shard {
    /// Handles a message of a client, which is in a slot at [`HEADROOM`].
    pub(super) fn handle_client_message(
        &mut self,
        now: Now,
        route: &Route,
        slot: usize,
        len: usize,
    ) {
        let range = HEADROOM..HEADROOM + len;
        let buffer = self.receiver.buffer.slot_mut(slot);
        match self
            .server
            .handle_client_datagram(now, route, buffer, range)
        {
            Verdict::ToClient { route: to, range } => {
                self.count(route, Path::Hairpin, &range);
                self.send_to_client(now, &to, PayloadLocation::Slot(slot), range);
            }
            Verdict::ToPeer {
                socket,
                peer,
                dont_fragment,
                range,
            } => {
                self.count(route, Path::ToPeer, &range);
                let queued = QueuedTransmit {
                    location: PayloadLocation::Slot(slot),
                    range,
                    destination: peer,
                    src_ip: None,
                    dont_fragment,
                    tos: self.tos,
                };
                self.send_queue.push_to_peer(socket as usize, queued);
            }
            Verdict::Respond(outcome) => {
                self.record_outcome(now, route, outcome);
                let range = self.send_queue.push_response(self.server.response());
                self.send_to_client(now, route, PayloadLocation::Responses, range);
            }
            Verdict::ToShard {
                shard,
                from,
                to,
                range,
            } => {
                self.relayed += 1;
                let sender = route.transport;
                self.send_to_shard(shard, Handoff::Relayed { sender, from, to }, slot, range);
            }
            Verdict::Redirect { shard } => {
                self.counters.redirected();
                let whole = HEADROOM..HEADROOM + len;
                self.send_to_shard(shard, Handoff::ClientMessage(*route), slot, whole);
            }
            // The response follows as an output, after a socket command.
            Verdict::Queued => {}
            Verdict::Dropped(reason) => {
                self.counters.dropped(reason);
                self.log_limiter.dropped(reason);
            }
        }
    }

    /// Hands a packet over to another shard. If its queue is full, the packet is lost, like in a full socket buffer.
    fn send_to_shard(
        &mut self,
        shard: ShardId,
        handoff: Handoff,
        slot: usize,
        range: Range<usize>,
    ) {
        let bytes = &self.receiver.buffer.slot(slot)[range];
        if !self.links.send(shard, handoff, self.tos, bytes) {
            self.counters.shard_overflow();
        }
    }

    /// Handles packets that other shards have handed over.
    pub(super) fn read_shard_packets(&mut self, now: Now) {
        for _ in 0..PACKETS_PER_TICK {
            let Some(packet) = self.links.next() else {
                return;
            };
            self.handle_shard_packet(now, &packet);
            self.links.recycle(packet);
        }
        // There may be more packets: the next poll must not wait.
        self.inbox.rearm();
    }

    fn handle_shard_packet(&mut self, now: Now, packet: &ShardPacket) {
        if let Handoff::StreamMessage(stream) = packet.handoff {
            if self.streams.send(stream, packet.bytes(), now.mono) == SendOutcome::Overflow {
                self.counters.stream_overflow();
            }
            return;
        }
        self.tos = packet.tos;
        let slot = self.copy_to_slot(packet.bytes());
        let len = packet.bytes().len();
        let (sender, from, to) = match packet.handoff {
            Handoff::ClientMessage(route) if self.is_gone(&route) => return,
            Handoff::ClientMessage(route) => {
                return self.handle_client_message(now, &route, slot, len);
            }
            Handoff::Relayed { sender, from, to } => (sender, from, to),
            Handoff::StreamMessage(_) => return,
        };
        let buffer = self.receiver.buffer.slot_mut(slot);
        let range = HEADROOM..HEADROOM + len;
        match self
            .server
            .handle_shard_datagram(now, from, to, buffer, range)
        {
            Verdict::ToClient { route, range } => {
                self.relayed += 1;
                self.counters.relayed(sender, Path::CrossShard, range.len());
                self.send_to_client(now, &route, PayloadLocation::Slot(slot), range);
            }
            Verdict::Dropped(reason) => self.counters.dropped(reason),
            _ => {}
        }
    }

    /// Whether a route is that of a stream that ended while its message was in the queue. An allocation that is
    /// created now would never learn of the end.
    fn is_gone(&self, route: &Route) -> bool {
        route.transport.is_stream() && !self.streams.contains(route.via)
    }

    /// Copies a message into a slot, which has free bytes for headers around it.
    pub(super) fn copy_to_slot(&mut self, bytes: &[u8]) -> usize {
        if self.used_slots == BATCH {
            self.flush();
        }
        let slot = self.used_slots;
        self.used_slots += 1;
        self.receiver.buffer.slot_mut(slot)[HEADROOM..][..bytes.len()].copy_from_slice(bytes);
        slot
    }

    /// Counts a relayed packet. `client` is the sender, or the receiver of a packet from a peer.
    pub(super) fn count(&mut self, client: &Route, path: Path, range: &Range<usize>) {
        self.relayed += 1;
        self.counters.relayed(client.transport, path, range.len());
    }

    /// Queues data for a client until the end of the tick.
    pub(super) fn send_to_client(
        &mut self,
        now: Now,
        route: &Route,
        location: PayloadLocation,
        range: Range<usize>,
    ) {
        if route.transport.is_stream() {
            let bytes = self
                .send_queue
                .bytes(&self.receiver.buffer, location, range);
            match self.streams.send(route.via, bytes, now.mono) {
                SendOutcome::Overflow => self.counters.stream_overflow(),
                SendOutcome::Remote(shard) => {
                    let handoff = Handoff::StreamMessage(route.via);
                    if !self.links.send(shard as ShardId, handoff, 0, bytes) {
                        self.counters.shard_overflow();
                    }
                }
                SendOutcome::Queued | SendOutcome::Closed => {}
            }
            return;
        }
        let index = route.via as usize;
        // On a wildcard address, the kernel would select a source address by its routes.
        let wildcard = self.listeners[index].address.ip().is_unspecified();
        let queued = QueuedTransmit {
            location,
            range,
            destination: route.client,
            src_ip: wildcard.then_some(route.server.ip()),
            dont_fragment: false,
            tos: match location {
                PayloadLocation::Slot(_) => self.tos,
                PayloadLocation::Responses => 0,
            },
        };
        self.send_queue.push_to_client(index, queued);
    }

    /// Executes the outputs of the server.
    pub(super) fn process_outputs(&mut self, now: Now) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Bind { id, address, owner } => {
                    let bound = self
                        .relay_sockets
                        .bind(self.poll.registry(), owner, address);
                    if let Err(error) = &bound
                        && error.kind() != io::ErrorKind::AddrInUse
                    {
                        self.log_limiter.bind_failed(now, address, error);
                    }
                    self.server.handle_bind_result(now, id, bound);
                }
                Output::Adopt { socket, owner } => {
                    self.relay_sockets.set_owner(socket as usize, owner);
                }
                Output::Response {
                    route,
                    bytes,
                    outcome,
                } => {
                    self.record_outcome(now, &route, outcome);
                    if outcome == Outcome::Granted(Method::ALLOCATE) {
                        self.log_grant(&route);
                    }
                    let range = self.send_queue.push_response(&bytes);
                    self.send_to_client(now, &route, PayloadLocation::Responses, range);
                }
                Output::Ended(session) => log_limits::ended(&session),
                Output::AddressLost { ip, allocations } => {
                    tracing::info!(address = %ip, allocations, "allocations ended: address gone");
                }
                Output::Unbind { socket } => self.unbind(socket as usize),
                Output::PathChanged(change) => self.report_path(*change),
            }
        }
    }

    /// Counts a path that has died, and reports the change to the rest of the process.
    fn report_path(&mut self, change: PathChange) {
        let PathChange {
            user, room, client, ..
        } = &change;
        if change.is_lost {
            self.counters.path_lost();
            tracing::debug!(%user, room, %client, "path to client lost");
        } else {
            tracing::debug!(%user, room, %client, "path to client restored");
        }
        // Without subscribers, nobody has to learn of it.
        let _ = self.path_changes.send(change);
    }

    /// Counts the outcome of a request, and logs a refusal.
    fn record_outcome(&mut self, now: Now, route: &Route, outcome: Outcome) {
        match outcome {
            Outcome::Granted(method) => {
                self.counters.granted();
                if method == Method::ALLOCATE && route.transport.is_stream() {
                    self.streams.has_allocation(route.via);
                }
            }
            Outcome::Refused(method, refusal) => {
                self.counters.refused(refusal);
                if refusal != ErrorReason::Challenge {
                    let (connection, client) = (self.connection(route), route.client);
                    tracing::debug!(connection, %client, method = method.0, reason = %refusal, "TURN request rejected");
                    self.log_limiter.refused(now, connection, client, refusal);
                }
            }
        }
    }

    fn log_grant(&mut self, route: &Route) {
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Some(session) = self.server.session(route)
        {
            log_limits::granted(&session, self.connection(route));
        }
    }

    /// Returns the number of a client's connection in the log; `None` over UDP.
    fn connection(&self, route: &Route) -> Option<u64> {
        if !route.transport.is_stream() {
            return None;
        }
        self.streams.connection(route.via)
    }

    fn unbind(&mut self, index: usize) {
        // Packets that are queued for this socket are sent first.
        self.flush();
        self.relay_sockets.unbind(index);
    }
}
