//! A shard: one thread with its own poller, its own [`Server`], and batches in and out.
//!
//! A turn of its loop waits for something to do, reads the clock once, takes one batch from each
//! ready socket, and sends everything that came of it before it waits again. A socket that stays
//! ready takes its turn with the others, so no one starves the rest.

mod datagrams;
mod handover;
mod streams;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;

use mio::{Events, Poll, Token, Waker};

use crate::clock::{self, Now};
use crate::config;
use crate::stun::Method;
use crate::turn::{ErrorReason, HEADROOM, Outcome, Output, Route, Server, ShardId, Verdict};

use super::coalesce::Gather;
use super::counters::{Counters, Path};
use super::entrance::Proxies;
use super::inter_shard::{Errand, Exchange, Neighbours, Parcel};
use super::log_limits::{self, Notices};
use super::mailbox::{Inbox, Mailbox, Order, mailbox};
use super::relay_sockets::{FIRST_RELAY, Relays, register};
use super::send_queue::{Departures, Pending, Place};
use super::streams::{FIRST_STREAM, Sent, Streams};
use super::udp::{BATCH, Errors, Mark, Slots};

use handover::Heir;

/// Packets from other shards taken in one turn.
const PARCELS_A_TURN: usize = 4 * BATCH;

/// Listeners' tokens count from 0, those of relay sockets from [`FIRST_RELAY`], those of streams
/// from [`FIRST_STREAM`].
const WAKER: Token = Token(usize::MAX);

pub struct Shard {
    poll: Poll,
    server: Server,
    inbox: Inbox,
    counters: Arc<Counters>,
    listeners: Vec<Listener>,
    relays: Relays,
    streams: Streams,
    /// Sockets that may have more to read.
    ready: VecDeque<Source>,
    slots: Slots,
    used: usize,
    errors: Errors,
    departures: Departures,
    neighbours: Neighbours,
    notices: Notices,
    gather: Gather,
    /// Packets that this turn has relayed.
    relayed: usize,
    /// DSCP and ECN of the packet at hand, which go with its data wherever that goes over UDP.
    mark: Mark,
    stopping: bool,
    /// Who wants what is left when it has stopped.
    heir: Option<Heir>,
}

/// A socket that clients send to.
struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
    queued: bool,
    /// Slots that it may fill in a turn: fewer where many datagrams come in one.
    slots: usize,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Listener(usize),
    Relay(usize),
}

impl Shard {
    /// A shard that serves `sockets`, and how to reach it.
    pub fn new(
        server: Server,
        sockets: Vec<UdpSocket>,
        counters: Arc<Counters>,
        exchange: Arc<Exchange>,
        turn: &config::Turn,
        proxies: Arc<Proxies>,
    ) -> io::Result<(Shard, Mailbox)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (mailbox, inbox) = mailbox(waker);
        let neighbours = Neighbours::new(server.shard(), exchange);
        let mut listeners = Vec::new();
        for (index, socket) in sockets.into_iter().enumerate() {
            register(poll.registry(), &socket, Token(index))?;
            listeners.push(Listener {
                address: socket.local_addr()?,
                socket,
                queued: false,
                slots: BATCH,
            });
        }
        let shard = Shard {
            poll,
            server,
            inbox,
            counters,
            departures: Departures::new(listeners.len(), turn.segmentation.decide().used),
            listeners,
            relays: Relays::new(turn.mode),
            streams: Streams::new(),
            ready: VecDeque::new(),
            slots: Slots::new(),
            used: 0,
            errors: Errors::new(),
            neighbours,
            notices: Notices::new(proxies),
            gather: Gather::new(turn.gather),
            relayed: 0,
            mark: 0,
            stopping: false,
            heir: None,
        };
        Ok((shard, mailbox))
    }

    /// Works until it is told to stop, beside the shards that `mailboxes` reach, itself included.
    pub fn run(mut self, mailboxes: Arc<[Mailbox]>) -> io::Result<()> {
        self.neighbours.meet(mailboxes);
        let mut events = Events::with_capacity(1024);
        let mut now = clock::now();
        while !self.stopping {
            let patience = if self.is_busy() {
                Some(std::time::Duration::ZERO)
            } else {
                let deadlines = [
                    self.server.next_deadline(),
                    self.streams.deadline(),
                    self.notices.due(),
                ];
                let deadline = deadlines.into_iter().flatten().min();
                deadline.map(|at| at.since(now.mono))
            };
            match self.poll.poll(&mut events, patience) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            now = clock::now();
            if self.has_fresh_datagrams(&events)
                && let Some(pause) = self.gather.pause(now.mono)
            {
                thread::sleep(pause);
                now = clock::now();
            }
            self.turn(now, &events);
            self.gather.took(mem::take(&mut self.relayed), now.mono);
        }
        if let Some(heir) = self.heir.take() {
            // Who asked may have gone; then everything is closed.
            let _ = heir.send(self.handed_over());
        }
        Ok(())
    }

    /// Whether datagrams have come, from a socket or another shard, and nothing is left of those
    /// before. Mail, orders and deadlines alone are nothing that more could join.
    fn has_fresh_datagrams(&self, events: &Events) -> bool {
        let at_a_socket = events.iter().any(|event| event.token() != WAKER);
        !self.is_busy() && (at_a_socket || self.neighbours.has_parcels())
    }

    /// Whether there may be something to read, without the poller saying so.
    fn is_busy(&self) -> bool {
        !self.ready.is_empty() || self.streams.is_busy()
    }

    fn turn(&mut self, now: Now, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => {}
                Token(FIRST_STREAM..) => self.streams.note(event),
                token => self.note_ready(token, event.is_error()),
            }
        }
        self.read_orders(now);
        self.read_parcels(now);
        for _ in 0..self.ready.len() {
            if let Some(source) = self.ready.pop_front() {
                self.serve(now, source);
            }
        }
        self.read_streams(now);
        self.server.handle_timeout(now);
        self.notices.tell(now);
        self.carry_out(now);
        self.write_streams(now);
        let allocations = self.server.allocations();
        self.counters.living(allocations, self.streams.len());
        self.flush();
        self.neighbours.wake();
    }

    fn note_ready(&mut self, token: Token, errors: bool) {
        let (source, queued) = match token {
            Token(index) if index < FIRST_RELAY => match self.listeners.get_mut(index) {
                Some(listener) => (Source::Listener(index), &mut listener.queued),
                None => return,
            },
            Token(index) => match self.relays.get_mut(index - FIRST_RELAY) {
                Some(relay) => {
                    relay.errors |= errors;
                    (Source::Relay(index - FIRST_RELAY), &mut relay.queued)
                }
                None => return,
            },
        };
        if !mem::replace(queued, true) {
            self.ready.push_back(source);
        }
    }

    fn client_message(&mut self, now: Now, route: &Route, slot: usize, len: usize) {
        let range = HEADROOM..HEADROOM + len;
        let buffer = self.slots.room.at_mut(slot);
        match self
            .server
            .handle_client_datagram(now, route, buffer, range)
        {
            Verdict::ToClient { route: to, range } => {
                self.count(route, Path::Hairpin, &range);
                self.send_to_client(now, &to, Place::Slot(slot), range);
            }
            Verdict::ToPeer {
                socket,
                peer,
                dont_fragment,
                range,
            } => {
                self.count(route, Path::ToPeer, &range);
                let pending = Pending {
                    place: Place::Slot(slot),
                    range,
                    to: peer,
                    from: None,
                    whole: dont_fragment,
                    mark: self.mark,
                };
                self.departures.push_to_peer(socket as usize, pending);
            }
            Verdict::Respond(outcome) => {
                self.note(now, route, outcome);
                let range = self.departures.keep_answer(self.server.response());
                self.send_to_client(now, route, Place::Answers, range);
            }
            Verdict::ToShard {
                shard,
                from,
                to,
                range,
            } => {
                let sender = route.transport;
                let errand = Errand::Across { sender, from, to };
                self.relayed += 1;
                self.hand_over(shard, errand, slot, range);
            }
            Verdict::Redirect { shard } => {
                self.counters.passed_on();
                let whole = HEADROOM..HEADROOM + len;
                self.hand_over(shard, Errand::Client(*route), slot, whole);
            }
            Verdict::Queued => {}
            Verdict::Dropped(reason) => {
                self.counters.dropped(reason);
                self.notices.dropped(reason);
            }
        }
    }

    fn hand_over(&mut self, shard: ShardId, errand: Errand, slot: usize, range: Range<usize>) {
        let bytes = &self.slots.room.at(slot)[range];
        if !self.neighbours.send(shard, errand, self.mark, bytes) {
            self.counters.shard_overflow();
        }
    }

    /// Takes what other shards have handed over.
    fn read_parcels(&mut self, now: Now) {
        for _ in 0..PARCELS_A_TURN {
            let Some(parcel) = self.neighbours.next() else {
                return;
            };
            self.on_parcel(now, &parcel);
            self.neighbours.give_back(parcel);
        }
        // There may be more: come back without waiting.
        self.inbox.again();
    }

    fn on_parcel(&mut self, now: Now, parcel: &Parcel) {
        if let Errand::Stream(stream) = parcel.errand {
            if self.streams.send(stream, parcel.bytes(), now.mono) == Sent::Lost {
                self.counters.stream_overflow();
            }
            return;
        }
        self.mark = parcel.mark;
        let slot = self.copy_in(parcel.bytes());
        let len = parcel.bytes().len();
        let (sender, from, to) = match parcel.errand {
            Errand::Client(route) if self.is_gone(&route) => return,
            Errand::Client(route) => return self.client_message(now, &route, slot, len),
            Errand::Across { sender, from, to } => (sender, from, to),
            Errand::Stream(_) => return,
        };
        let buffer = self.slots.room.at_mut(slot);
        let range = HEADROOM..HEADROOM + len;
        match self
            .server
            .handle_shard_datagram(now, from, to, buffer, range)
        {
            Verdict::ToClient { route, range } => {
                self.relayed += 1;
                self.counters.relayed(sender, Path::Across, range.len());
                self.send_to_client(now, &route, Place::Slot(slot), range);
            }
            Verdict::Dropped(reason) => self.counters.dropped(reason),
            _ => {}
        }
    }

    /// Whether a route is that of a stream that has ended while its message was on the way. An
    /// allocation made for it now would never be told of the end.
    fn is_gone(&self, route: &Route) -> bool {
        route.transport.is_stream() && !self.streams.knows(route.via)
    }

    /// Puts a message into a slot, where it has the room around it that headers need.
    fn copy_in(&mut self, bytes: &[u8]) -> usize {
        if self.used == BATCH {
            self.flush();
        }
        let slot = self.used;
        self.used += 1;
        self.slots.room.at_mut(slot)[HEADROOM..][..bytes.len()].copy_from_slice(bytes);
        slot
    }

    fn count(&mut self, client: &Route, path: Path, range: &Range<usize>) {
        self.relayed += 1;
        self.counters.relayed(client.transport, path, range.len());
    }

    fn send_to_client(&mut self, now: Now, route: &Route, place: Place, range: Range<usize>) {
        if route.transport.is_stream() {
            let bytes = self.departures.bytes(&self.slots.room, place, range);
            match self.streams.send(route.via, bytes, now.mono) {
                Sent::Lost => self.counters.stream_overflow(),
                Sent::To(shard) => {
                    let errand = Errand::Stream(route.via);
                    if !self.neighbours.send(shard as ShardId, errand, 0, bytes) {
                        self.counters.shard_overflow();
                    }
                }
                Sent::Kept | Sent::Gone => {}
            }
            return;
        }
        let index = route.via as usize;
        let wildcard = self.listeners[index].address.ip().is_unspecified();
        let pending = Pending {
            place,
            range,
            to: route.client,
            from: wildcard.then_some(route.server.ip()),
            whole: false,
            mark: match place {
                Place::Slot(_) => self.mark,
                Place::Answers => 0,
            },
        };
        self.departures.push_to_client(index, pending);
    }

    fn note(&mut self, now: Now, route: &Route, outcome: Outcome) {
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
                    let client = route.client;
                    tracing::debug!(%client, method = method.0, reason = %refusal, "refused");
                }
                self.notices.refused(now, route.client, refusal);
            }
        }
    }

    fn log_grant(&mut self, route: &Route) {
        if tracing::enabled!(tracing::Level::DEBUG)
            && let Some(session) = self.server.session(route)
        {
            log_limits::granted(&session);
        }
    }

    /// Does what the server ordered.
    fn carry_out(&mut self, now: Now) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Bind { id, address, owner } => {
                    let bound = self.relays.bind(self.poll.registry(), owner, address);
                    if let Err(error) = &bound
                        && error.kind() != io::ErrorKind::AddrInUse
                    {
                        self.notices.bind_failed(now, address, error);
                    }
                    self.server.handle_bind_result(now, id, bound);
                }
                Output::Adopt { socket, owner } => {
                    self.relays.adopt(socket as usize, owner);
                }
                Output::Response {
                    route,
                    bytes,
                    outcome,
                } => {
                    self.note(now, &route, outcome);
                    if outcome == Outcome::Granted(Method::ALLOCATE) {
                        self.log_grant(&route);
                    }
                    let range = self.departures.keep_answer(&bytes);
                    self.send_to_client(now, &route, Place::Answers, range);
                }
                Output::Ended(session) => log_limits::ended(&session),
                Output::AddressLost { ip, allocations } => {
                    tracing::info!(address = %ip, allocations, "allocations ended: address gone");
                }
                Output::Unbind { socket } => self.unbind(socket as usize),
            }
        }
    }

    fn unbind(&mut self, index: usize) {
        // What waits to leave through this socket leaves first.
        self.flush();
        self.relays.unbind(index);
    }

    fn read_orders(&mut self, now: Now) {
        self.inbox.look();
        while let Some(order) = self.inbox.order() {
            self.obey(now, order);
        }
    }

    /// Does what the house wants. It may not wait for the answer: that is its own affair.
    fn obey(&mut self, now: Now, order: Order) {
        match order {
            Order::Revoke { user, scope, freed } => {
                let count = self.server.revoke(&user, &scope);
                tracing::debug!(user = &*user, count, "allocations revoked");
                let _ = freed.send(count);
            }
            Order::CloseRoom { room, freed } => {
                let count = self.server.close_room(&room);
                tracing::debug!(room = &*room, count, "allocations revoked");
                let _ = freed.send(count);
            }
            Order::EndSession { listed, freed } => {
                let _ = freed.send(self.server.end_session(&listed));
            }
            Order::Sessions { from, answer } => {
                let _ = answer.send(self.server.sessions(from));
            }
            Order::Reconfigure(changes) => self.server.reconfigure(*changes),
            Order::Deny { addresses, done } => {
                self.server.deny_peers(&addresses);
                let _ = done.send(());
            }
            Order::SetHost(host) => self.server.set_host(now, host),
            Order::Ping(answer) => {
                let _ = answer.send(());
            }
            Order::StreamOpened { route, known, wire } => {
                self.server.stream_opened(&route);
                let registry = self.poll.registry();
                let opened = self.streams.open(registry, route, known, wire, now.mono);
                if let Err(error) = opened {
                    self.end_stream(route.via, &error);
                }
            }
            Order::StreamClosed { stream } => self.forget_stream(stream),
            Order::Stop => self.stopping = true,
            Order::HandOver(heir) => {
                self.heir = Some(heir);
                self.stopping = true;
            }
        }
    }

    /// Sends everything that waits, and frees the slots.
    fn flush(&mut self) {
        self.depart();
        self.used = 0;
    }

    /// Sends everything that waits. Slots that are still to be read stay as they are.
    fn depart(&mut self) {
        let (listeners, relays) = (&self.listeners, &self.relays);
        let unsent = self.departures.send(
            &self.slots.room,
            |index| listeners[index].socket.as_fd(),
            |index| relays.fd(index),
        );
        self.slots.room.forget_pieces();
        if unsent > 0 {
            self.counters.unsent(unsent);
        }
    }
}
