//! A shard's turn, as far as its UDP sockets go.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::clock::Now;
use crate::turn::{DropReason, HEADROOM, Route, Transport, Verdict};

use super::{Shard, Source};
use crate::relay::counters::Path;
use crate::relay::send_queue::PayloadLocation;
use crate::relay::udp::{BATCH, MAX_ERRORS_PER_READ, RecvMeta};

impl Shard {
    /// Takes one batch from a socket. Only a batch that filled all slots that it might can have left
    /// more behind: the poller is edge-triggered and speaks up for whatever arrives later.
    pub(super) fn read_socket(&mut self, now: Now, source: Source) {
        if self.used == BATCH {
            self.flush();
        }
        let errors_left = self.read_errors(now, source);
        let first = self.used;
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
            // An error of an earlier send, reported here: there may be datagrams behind it.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                self.ready.push_back(source);
                return;
            }
            Err(_) => 0,
        };
        self.used = first + received;
        let taken = (first..self.used).map(|slot| self.handle_slot(now, source, slot));
        let datagrams = taken.sum();
        self.process_outputs(now);
        let more = errors_left || received == slots.len();
        self.requeue(source, more, received, datagrams);
    }

    /// Tells the client what the network says of its datagrams, and gives whether more may wait
    /// there. To be asked before a socket is read or written, which errors of earlier datagrams
    /// interrupt.
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
        let mut heard = [None; MAX_ERRORS_PER_READ];
        let mut places = heard.iter_mut();
        let count = self.error_queue.receive(relay.socket.as_fd(), |error| {
            if let Some(place) = places.next() {
                *place = Some(error);
            }
        });
        relay.errors = count == MAX_ERRORS_PER_READ;
        let (owner, more) = (relay.owner, relay.errors);
        for error in heard.into_iter().flatten() {
            let told = match owner {
                Some(id) => self.server.handle_icmp_error(now, id, &error),
                None => Err(DropReason::NoAllocation),
            };
            match told {
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

    /// Puts a socket back in the queue where `more` may wait, and settles how many slots it may fill
    /// the next time: those that would have held a batch of datagrams this time.
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

    /// Handles what is in a slot, and gives how many datagrams that were.
    ///
    /// Where there are several, each becomes a piece: headers are written around a datagram, and its
    /// links may not have been read, or may not have left.
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
            let piece = self.receiver.buffer.copy_segment(slot, start..start + len);
            self.handle_datagram(now, source, &meta, piece, len);
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
        let asked = meta.dst_ip.unwrap_or(listener.address.ip());
        let route = Route {
            transport: Transport::Udp,
            client: meta.addr,
            server: SocketAddr::new(asked, listener.address.port()),
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
