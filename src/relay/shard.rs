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
use crate::ingress::LiveLimits;
use crate::stun::Method;
use crate::turn::{ErrorReason, HEADROOM, Outcome, Output, Route, Server, ShardId, Verdict};

use super::coalesce::Coalescer;
use super::counters::{Counters, Path};
use super::inter_shard::{Handoff, ShardLinks, ShardPacket, ShardQueues};
use super::log_limits::{self, LogLimiter};
use super::mailbox::{Command, Inbox, Mailbox, mailbox};
use super::relay_sockets::{FIRST_RELAY_TOKEN, RelaySockets, register};
use super::send_queue::{PayloadLocation, QueuedTransmit, SendQueue};
use super::streams::{FIRST_STREAM_TOKEN, SendOutcome, Streams};
use super::udp::{BATCH, ErrorQueue, Receiver, Tos};

use handover::HandoverReply;

/// Packets from other shards taken in one turn.
const PACKETS_PER_TICK: usize = 4 * BATCH;

/// Listeners' tokens count from 0, those of relay sockets from [`FIRST_RELAY_TOKEN`], those of streams
/// from [`FIRST_STREAM_TOKEN`].
const WAKER: Token = Token(usize::MAX);

pub struct Shard {
    poll: Poll,
    server: Server,
    inbox: Inbox,
    counters: Arc<Counters>,
    listeners: Vec<Listener>,
    relay_sockets: RelaySockets,
    streams: Streams,
    /// Sockets that may have more to read.
    ready: VecDeque<Source>,
    receiver: Receiver,
    used: usize,
    error_queue: ErrorQueue,
    send_queue: SendQueue,
    links: ShardLinks,
    log_limiter: LogLimiter,
    coalescer: Coalescer,
    /// Packets that this turn has relayed.
    relayed: usize,
    /// DSCP and ECN of the packet at hand, which go with its data wherever that goes over UDP.
    tos: Tos,
    stopping: bool,
    /// Who wants what is left when it has stopped.
    handover_reply: Option<HandoverReply>,
}

/// A socket that clients send to.
struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
    queued: bool,
    /// Receiver that it may fill in a turn: fewer where many datagrams come in one.
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
        queues: Arc<ShardQueues>,
        turn: &config::Turn,
        limits: Arc<LiveLimits>,
    ) -> io::Result<(Shard, Mailbox)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKER)?;
        let (mailbox, inbox) = mailbox(waker);
        let links = ShardLinks::new(server.shard(), queues);
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
            send_queue: SendQueue::new(listeners.len(), turn.segmentation.decide().used),
            listeners,
            relay_sockets: RelaySockets::new(turn.mode),
            streams: Streams::new(),
            ready: VecDeque::new(),
            receiver: Receiver::new(),
            used: 0,
            error_queue: ErrorQueue::new(),
            links,
            log_limiter: LogLimiter::new(limits),
            coalescer: Coalescer::new(turn.coalesce_delay),
            relayed: 0,
            tos: 0,
            stopping: false,
            handover_reply: None,
        };
        Ok((shard, mailbox))
    }

    /// Works until it is told to stop, beside the shards that `mailboxes` reach, itself included.
    pub fn run(mut self, mailboxes: Arc<[Mailbox]>) -> io::Result<()> {
        self.links.connect(mailboxes);
        let mut events = Events::with_capacity(1024);
        let mut now = clock::now();
        while !self.stopping {
            let timeout = if self.is_busy() {
                Some(std::time::Duration::ZERO)
            } else {
                let deadlines = [
                    self.server.next_deadline(),
                    self.streams.deadline(),
                    self.log_limiter.due(),
                ];
                let deadline = deadlines.into_iter().flatten().min();
                deadline.map(|at| at.since(now.mono))
            };
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            now = clock::now();
            if self.has_new_datagrams(&events)
                && let Some(pause) = self.coalescer.delay(now.mono)
            {
                thread::sleep(pause);
                now = clock::now();
            }
            self.tick(now, &events);
            self.coalescer
                .on_tick(mem::take(&mut self.relayed), now.mono);
        }
        if let Some(handover_reply) = self.handover_reply.take() {
            // Who asked may have gone; then everything is closed.
            let _ = handover_reply.send(self.into_handover());
        }
        Ok(())
    }

    /// Whether datagrams have come, from a socket or another shard, and nothing is left of those
    /// before. Mail, orders and deadlines alone are nothing that more could join.
    fn has_new_datagrams(&self, events: &Events) -> bool {
        let at_a_socket = events.iter().any(|event| event.token() != WAKER);
        !self.is_busy() && (at_a_socket || self.links.has_packets())
    }

    /// Whether there may be something to read, without the poller saying so.
    fn is_busy(&self) -> bool {
        !self.ready.is_empty() || self.streams.is_busy()
    }

    fn tick(&mut self, now: Now, events: &Events) {
        for event in events {
            match event.token() {
                WAKER => {}
                Token(FIRST_STREAM_TOKEN..) => self.streams.on_event(event),
                token => self.mark_ready(token, event.is_error()),
            }
        }
        // Before the datagrams: an expired permission or channel must not relay them.
        self.server.handle_timeout(now);
        self.handle_commands(now);
        self.read_shard_packets(now);
        for _ in 0..self.ready.len() {
            if let Some(source) = self.ready.pop_front() {
                self.read_socket(now, source);
            }
        }
        self.read_streams(now);
        self.log_limiter.log_suppressed(now);
        self.process_outputs(now);
        self.write_streams(now);
        let allocations = self.server.allocations();
        self.counters.set_gauges(allocations, self.streams.len());
        self.flush();
        self.links.wake();
    }

    fn mark_ready(&mut self, token: Token, errors: bool) {
        let (source, queued) = match token {
            Token(index) if index < FIRST_RELAY_TOKEN => match self.listeners.get_mut(index) {
                Some(listener) => (Source::Listener(index), &mut listener.queued),
                None => return,
            },
            Token(index) => match self.relay_sockets.get_mut(index - FIRST_RELAY_TOKEN) {
                Some(relay) => {
                    relay.errors |= errors;
                    (Source::Relay(index - FIRST_RELAY_TOKEN), &mut relay.queued)
                }
                None => return,
            },
        };
        if !mem::replace(queued, true) {
            self.ready.push_back(source);
        }
    }

    fn handle_client_message(&mut self, now: Now, route: &Route, slot: usize, len: usize) {
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
                    to: peer,
                    from: None,
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
                let sender = route.transport;
                let handoff = Handoff::Relayed { sender, from, to };
                self.relayed += 1;
                self.send_to_shard(shard, handoff, slot, range);
            }
            Verdict::Redirect { shard } => {
                self.counters.redirected();
                let whole = HEADROOM..HEADROOM + len;
                self.send_to_shard(shard, Handoff::ClientMessage(*route), slot, whole);
            }
            Verdict::Queued => {}
            Verdict::Dropped(reason) => {
                self.counters.dropped(reason);
                self.log_limiter.dropped(reason);
            }
        }
    }

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

    /// Takes what other shards have handed over.
    fn read_shard_packets(&mut self, now: Now) {
        for _ in 0..PACKETS_PER_TICK {
            let Some(packet) = self.links.next() else {
                return;
            };
            self.handle_shard_packet(now, &packet);
            self.links.recycle(packet);
        }
        // There may be more: come back without waiting.
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

    /// Whether a route is that of a stream that has ended while its message was on the way. An
    /// allocation made for it now would never be told of the end.
    fn is_gone(&self, route: &Route) -> bool {
        route.transport.is_stream() && !self.streams.contains(route.via)
    }

    /// Puts a message into a slot, where it has the room around it that headers need.
    fn copy_to_slot(&mut self, bytes: &[u8]) -> usize {
        if self.used == BATCH {
            self.flush();
        }
        let slot = self.used;
        self.used += 1;
        self.receiver.buffer.slot_mut(slot)[HEADROOM..][..bytes.len()].copy_from_slice(bytes);
        slot
    }

    fn count(&mut self, client: &Route, path: Path, range: &Range<usize>) {
        self.relayed += 1;
        self.counters.relayed(client.transport, path, range.len());
    }

    fn send_to_client(
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
        let wildcard = self.listeners[index].address.ip().is_unspecified();
        let queued = QueuedTransmit {
            location,
            range,
            to: route.client,
            from: wildcard.then_some(route.server.ip()),
            dont_fragment: false,
            tos: match location {
                PayloadLocation::Slot(_) => self.tos,
                PayloadLocation::Responses => 0,
            },
        };
        self.send_queue.push_to_client(index, queued);
    }

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
                    let client = route.client;
                    tracing::debug!(%client, method = method.0, reason = %refusal, "refused");
                }
                self.log_limiter.refused(now, route.client, refusal);
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
    fn process_outputs(&mut self, now: Now) {
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
            }
        }
    }

    fn unbind(&mut self, index: usize) {
        // What waits to leave through this socket leaves first.
        self.flush();
        self.relay_sockets.unbind(index);
    }

    fn handle_commands(&mut self, now: Now) {
        self.inbox.clear_wakeup();
        while let Some(command) = self.inbox.try_recv() {
            self.handle_command(now, command);
        }
    }

    /// Does what the house wants. It may not wait for the answer: that is its own affair.
    fn handle_command(&mut self, now: Now, command: Command) {
        match command {
            Command::Revoke { user, scope, freed } => {
                let count = self.server.revoke(&user, &scope);
                tracing::debug!(user = &*user, count, "allocations revoked");
                let _ = freed.send(count);
            }
            Command::CloseRoom { room, freed } => {
                let count = self.server.close_room(&room);
                tracing::debug!(room = &*room, count, "allocations revoked");
                let _ = freed.send(count);
            }
            Command::EndSession { listed, freed } => {
                let _ = freed.send(self.server.end_session(&listed));
            }
            Command::Sessions { from, answer } => {
                let _ = answer.send(self.server.sessions(from));
            }
            Command::Reconfigure(settings) => self.server.reconfigure(*settings),
            Command::Deny { addresses, done } => {
                self.server.deny_peers(&addresses);
                let _ = done.send(());
            }
            Command::SetHost(host) => self.server.set_host(now, host),
            Command::Ping(answer) => {
                let _ = answer.send(());
            }
            Command::StreamOpened { route, info, io } => {
                self.server.stream_opened(&route);
                let registry = self.poll.registry();
                let opened = self.streams.open(registry, route, info, io, now.mono);
                if let Err(error) = opened {
                    self.end_stream(route.via, &error);
                }
            }
            Command::StreamClosed { stream } => self.forget_stream(stream),
            Command::Stop => self.stopping = true,
            Command::HandOver(handover_reply) => {
                self.handover_reply = Some(handover_reply);
                self.stopping = true;
            }
        }
    }

    /// Sends everything that waits, and frees the slots.
    fn flush(&mut self) {
        self.send_queued();
        self.used = 0;
    }

    /// Sends everything that waits. Receiver that are still to be read stay as they are.
    fn send_queued(&mut self) {
        let (listeners, relay_sockets) = (&self.listeners, &self.relay_sockets);
        let unsent = self.send_queue.send(
            &self.receiver.buffer,
            |index| listeners[index].socket.as_fd(),
            |index| relay_sockets.fd(index),
        );
        self.receiver.buffer.clear_segments();
        if unsent > 0 {
            self.counters.unsent(unsent);
        }
    }
}
