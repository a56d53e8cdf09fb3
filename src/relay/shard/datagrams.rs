//! Handles the UDP sockets of a shard: datagrams and ICMP errors.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::clock::Now;
use crate::turn::{DropReason, HEADROOM, Route, Transport, Verdict};

use super::{Shard, Source};
use crate::relay::counters::Path;
use crate::relay::send_queue::PayloadLocation;
use crate::relay::udp::{BATCH, MAX_ERRORS_PER_READ, RecvMeta};

impl Shard {
    /// Reads one batch from a socket. The poller is edge-triggered: it reports only later arrivals. Therefore
    /// a socket stays queued if the batch filled all its slots, and more may be pending.
    pub(super) fn read_socket(&mut self, now: Now, source: Source) {
        if self.used_slots == BATCH {
            self.flush();
        }
        let errors_left = self.read_errors(now, source);
        let first = self.used_slots;
        let (socket, most) = match source {
            Source::Listener(index) => {
                let listener = &self.listeners[index];
                (&listener.socket, listener.slots)
            }
            Source::Relay(index) => match self.relay_sockets.get(index) {
                Some(relay) => (&relay.socket, BATCH),
                None => return,
            },
        };
        let slots = first..BATCH.min(first + most);
        let received = match self.receiver.receive(socket.as_fd(), slots.clone()) {
            Ok(received) => received,
            // An error of an earlier send. Datagrams may be pending after it.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                self.ready.push_back(source);
                return;
            }
            Err(_) => 0,
        };
        self.used_slots = first + received;
        let handled = (first..self.used_slots).map(|slot| self.handle_slot(now, source, slot));
        let datagrams = handled.sum();
        self.process_outputs(now);
        let more = errors_left || received == slots.len();
        self.requeue(source, more, received, datagrams);
    }

    /// Reads ICMP errors from the error queue of a relay socket, and reports them to the client. Returns
    /// whether more may be pending. This comes before reading and sending, since a pending error makes
    /// these calls fail.
    fn read_errors(&mut self, now: Now, source: Source) -> bool {
        let Source::Relay(index) = source else {
            return false;
        };
        let Some(relay) = self
            .relay_sockets
            .get_mut(index)
            .filter(|relay| relay.errors)
        else {
            return false;
        };
        let mut errors = [None; MAX_ERRORS_PER_READ];
        let mut free = errors.iter_mut();
        let count = self.error_queue.receive(relay.socket.as_fd(), |error| {
            if let Some(entry) = free.next() {
                *entry = Some(error);
            }
        });
        relay.errors = count == MAX_ERRORS_PER_READ;
        let (owner, more) = (relay.owner, relay.errors);
        for error in errors.into_iter().flatten() {
            let reported = match owner {
                Some(id) => self.server.handle_icmp_error(now, id, &error),
                None => Err(DropReason::NoAllocation),
            };
            match reported {
                Ok(route) => {
                    self.counters.icmp();
                    let range = self.send_queue.push_response(self.server.response());
                    self.send_to_client(now, &route, PayloadLocation::Responses, range);
                }
                Err(reason) => self.counters.dropped(reason),
            }
        }
        more
    }

    /// Queues a socket again if `more` may be pending, and sets how many slots it may fill the next time: as many as
    /// would have held a batch of datagrams this time. So with GRO, a socket cannot occupy a tick with
    /// thousands of datagrams.
    fn requeue(&mut self, source: Source, more: bool, slots: usize, datagrams: usize) {
        let queued = match source {
            Source::Listener(index) => {
                let listener = &mut self.listeners[index];
                listener.slots = (BATCH * slots).checked_div(datagrams).unwrap_or(BATCH);
                listener.slots = listener.slots.clamp(1, BATCH);
                Some(&mut listener.queued)
            }
            Source::Relay(index) => self
                .relay_sockets
                .get_mut(index)
                .map(|relay| &mut relay.queued),
        };
        if let Some(queued) = queued {
            *queued = more;
            if more {
                self.ready.push_back(source);
            }
        }
    }

    /// Handles the datagrams in a slot, and returns how many there were.
    ///
    /// Each of several datagrams is copied to a segment. Headers are written around a datagram, and in the slot
    /// its neighbours are there, which may not have been handled or sent yet.
    fn handle_slot(&mut self, now: Now, source: Source, slot: usize) -> usize {
        let Some(meta) = self.receiver.meta(slot) else {
            return 0;
        };
        if meta.len <= meta.stride {
            self.handle_datagram(now, source, &meta, slot, meta.len);
            return 1;
        }
        let end = HEADROOM + meta.len;
        let mut datagrams = 0;
        for start in (HEADROOM..end).step_by(meta.stride) {
            let len = meta.stride.min(end - start);
            if !self.receiver.buffer.has_segment_capacity(len) {
                self.send_queued();
            }
            let segment = self.receiver.buffer.copy_segment(slot, start..start + len);
            self.handle_datagram(now, source, &meta, segment, len);
            datagrams += 1;
        }
        datagrams
    }

    fn handle_datagram(
        &mut self,
        now: Now,
        source: Source,
        meta: &RecvMeta,
        location: usize,
        len: usize,
    ) {
        self.tos = meta.tos;
        match source {
            Source::Listener(index) => self.handle_from_client(now, index, meta, location, len),
            Source::Relay(index) => self.handle_from_peer(now, index, meta, location, len),
        }
    }

    fn handle_from_client(
        &mut self,
        now: Now,
        index: usize,
        meta: &RecvMeta,
        location: usize,
        len: usize,
    ) {
        let listener = &self.listeners[index];
        let local_ip = meta.dst_ip.unwrap_or(listener.address.ip());
        let route = Route {
            transport: Transport::Udp,
            client: meta.addr,
            server: SocketAddr::new(local_ip, listener.address.port()),
            via: index as u32,
        };
        self.handle_client_message(now, &route, location, len);
    }

    fn handle_from_peer(
        &mut self,
        now: Now,
        index: usize,
        meta: &RecvMeta,
        location: usize,
        len: usize,
    ) {
        let Some(relay) = self.relay_sockets.get(index) else {
            return;
        };
        let range = HEADROOM..HEADROOM + len;
        let buffer = self.receiver.buffer.slot_mut(location);
        let Some(id) = relay.owner else {
            return self.counters.dropped(DropReason::NoAllocation);
        };
        match self
            .server
            .handle_peer_datagram(now, id, meta.addr, buffer, range)
        {
            Verdict::ToClient { route, range } => {
                self.count(&route, Path::FromPeer, &range);
                self.send_to_client(now, &route, PayloadLocation::Slot(location), range);
            }
            Verdict::Dropped(reason) => self.counters.dropped(reason),
            _ => {}
        }
    }
}
