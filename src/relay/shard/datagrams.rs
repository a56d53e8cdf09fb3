//! A shard's turn, as far as its UDP sockets go.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::clock::Now;
use crate::turn::{DropReason, HEADROOM, Route, Transport, Verdict};

use super::{Shard, Source};
use crate::relay::counters::Path;
use crate::relay::send_queue::Place;
use crate::relay::udp::{BATCH, ERRORS, Origin};

impl Shard {
    /// Takes one batch from a socket. Only a batch that filled all slots that it might can have left
    /// more behind: the poller is edge-triggered and speaks up for whatever arrives later.
    pub(super) fn serve(&mut self, now: Now, source: Source) {
        if self.used == BATCH {
            self.flush();
        }
        let errors_left = self.tell_errors(now, source);
        let first = self.used;
        let (socket, most) = match source {
            Source::Listener(index) => {
                let listener = &self.listeners[index];
                (&listener.socket, listener.slots)
            }
            Source::Relay(index) => match self.relays.get(index) {
                Some(relay) => (&relay.socket, BATCH),
                None => return,
            },
        };
        let slots = first..BATCH.min(first + most);
        let received = match self.slots.receive(socket.as_fd(), slots.clone()) {
            Ok(received) => received,
            // An error of an earlier send, reported here: there may be datagrams behind it.
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => {
                self.ready.push_back(source);
                return;
            }
            Err(_) => 0,
        };
        self.used = first + received;
        let taken = (first..self.used).map(|slot| self.take(now, source, slot));
        let datagrams = taken.sum();
        self.carry_out(now);
        let more = errors_left || received == slots.len();
        self.served(source, more, received, datagrams);
    }

    /// Tells the client what the network says of its datagrams, and gives whether more may wait
    /// there. To be asked before a socket is read or written, which errors of earlier datagrams
    /// interrupt.
    fn tell_errors(&mut self, now: Now, source: Source) -> bool {
        let Source::Relay(index) = source else {
            return false;
        };
        let Some(relay) = self.relays.get_mut(index).filter(|relay| relay.errors) else {
            return false;
        };
        let mut heard = [None; ERRORS];
        let mut places = heard.iter_mut();
        let count = self.errors.receive(relay.socket.as_fd(), |error| {
            if let Some(place) = places.next() {
                *place = Some(error);
            }
        });
        relay.errors = count == ERRORS;
        let (owner, more) = (relay.owner, relay.errors);
        for error in heard.into_iter().flatten() {
            let told = match owner {
                Some(id) => self.server.handle_icmp_error(now, id, &error),
                None => Err(DropReason::NoAllocation),
            };
            match told {
                Ok(route) => {
                    self.counters.icmp();
                    let range = self.departures.keep_answer(self.server.response());
                    self.send_to_client(now, &route, Place::Answers, range);
                }
                Err(reason) => self.counters.dropped(reason),
            }
        }
        more
    }

    /// Puts a socket back in the queue where `more` may wait, and settles how many slots it may fill
    /// the next time: those that would have held a batch of datagrams this time.
    fn served(&mut self, source: Source, more: bool, slots: usize, datagrams: usize) {
        let queued = match source {
            Source::Listener(index) => {
                let listener = &mut self.listeners[index];
                listener.slots = (BATCH * slots).checked_div(datagrams).unwrap_or(BATCH);
                listener.slots = listener.slots.clamp(1, BATCH);
                Some(&mut listener.queued)
            }
            Source::Relay(index) => self.relays.get_mut(index).map(|relay| &mut relay.queued),
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
    /// neighbours may not have been read, or may not have left.
    fn take(&mut self, now: Now, source: Source, slot: usize) -> usize {
        let Some(origin) = self.slots.origin(slot) else {
            return 0;
        };
        if origin.len <= origin.size {
            self.on_datagram(now, source, &origin, slot, origin.len);
            return 1;
        }
        let end = HEADROOM + origin.len;
        let mut datagrams = 0;
        for start in (HEADROOM..end).step_by(origin.size) {
            let len = origin.size.min(end - start);
            if !self.slots.room.fits(len) {
                self.depart();
            }
            let piece = self.slots.room.cut(slot, start..start + len);
            self.on_datagram(now, source, &origin, piece, len);
            datagrams += 1;
        }
        datagrams
    }

    fn on_datagram(&mut self, now: Now, source: Source, origin: &Origin, place: usize, len: usize) {
        self.mark = origin.mark;
        match source {
            Source::Listener(index) => self.on_client(now, index, origin, place, len),
            Source::Relay(index) => self.on_peer(now, index, origin, place, len),
        }
    }

    fn on_client(&mut self, now: Now, index: usize, origin: &Origin, place: usize, len: usize) {
        let listener = &self.listeners[index];
        let asked = origin.to.unwrap_or(listener.address.ip());
        let route = Route {
            transport: Transport::Udp,
            client: origin.from,
            server: SocketAddr::new(asked, listener.address.port()),
            via: index as u32,
        };
        self.client_message(now, &route, place, len);
    }

    fn on_peer(&mut self, now: Now, index: usize, origin: &Origin, place: usize, len: usize) {
        let Some(relay) = self.relays.get(index) else {
            return;
        };
        let range = HEADROOM..HEADROOM + len;
        let buffer = self.slots.room.at_mut(place);
        let Some(id) = relay.owner else {
            return self.counters.dropped(DropReason::NoAllocation);
        };
        match self
            .server
            .handle_peer_datagram(now, id, origin.from, buffer, range)
        {
            Verdict::ToClient { route, range } => {
                self.count(&route, Path::FromPeer, &range);
                self.send_to_client(now, &route, Place::Slot(place), range);
            }
            Verdict::Dropped(reason) => self.counters.dropped(reason),
            _ => {}
        }
    }
}
