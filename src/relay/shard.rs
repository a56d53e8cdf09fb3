//! A shard: a thread with a poller, a [`Server`] and sockets of its own.
//!
//! A tick of its loop waits for events, reads the clock once, handles one batch of each ready socket, and
//! sends all results before it waits again. A socket that stays ready goes to the end of the queue, so no
//! socket starves the others.

mod commands;
mod datagrams;
mod handover;
mod packets;
mod streams;

use std::collections::VecDeque;
use std::io;
use std::mem;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mio::{Events, Poll, Token, Waker};
use tokio::sync::broadcast;

use crate::clock::{self, Mono, Now};
use crate::config;
use crate::ingress::LiveLimits;
use crate::turn::{PathChange, Server};

use super::coalesce::Coalescer;
use super::counters::Counters;
use super::handover::HandoverReply;
use super::inter_shard::{ShardLinks, ShardQueues};
use super::log_limits::LogLimiter;
use super::mailbox::{Inbox, Mailbox, mailbox};
use super::relay_sockets::{FIRST_RELAY_TOKEN, RelaySockets, register};
use super::send_queue::SendQueue;
use super::stream_table::{FIRST_STREAM_TOKEN, Streams};
use super::udp::{BATCH, ErrorQueue, Receiver, Tos};

/// Tokens of listeners start at 0, those of relay sockets at [`FIRST_RELAY_TOKEN`], and those of streams
/// at [`FIRST_STREAM_TOKEN`].
const WAKER: Token = Token(usize::MAX);

/// Maximum number of events that one poll returns.
const MAX_EVENTS_PER_POLL: usize = 1024;

pub(super) struct Shard {
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
    /// The number of filled slots of `receiver`.
    used_slots: usize,
    error_queue: ErrorQueue,
    send_queue: SendQueue,
    links: ShardLinks,
    log_limiter: LogLimiter,
    coalescer: Coalescer,
    /// Reports clients whose path has died, or is back.
    path_changes: broadcast::Sender<PathChange>,
    /// Packets relayed in this tick.
    relayed: usize,
    /// DSCP and ECN of the current packet, which are preserved when its data is sent over UDP.
    tos: Tos,
    stopping: bool,
    /// Receives the state and the sockets after the shard has stopped.
    handover_reply: Option<HandoverReply>,
}

/// A socket that clients send to.
struct Listener {
    socket: UdpSocket,
    address: SocketAddr,
    /// Whether it is in `ready`.
    queued: bool,
    /// Maximum number of slots that it fills in a tick: fewer if a slot receives many datagrams (GRO).
    slots: usize,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    Listener(usize),
    Relay(usize),
}

impl Shard {
    /// Creates a shard that serves `sockets`, and its mailbox.
    pub(super) fn new(
        server: Server,
        sockets: Vec<UdpSocket>,
        counters: Arc<Counters>,
        queues: Arc<ShardQueues>,
        turn: &config::Turn,
        limits: Arc<LiveLimits>,
        path_changes: broadcast::Sender<PathChange>,
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
            used_slots: 0,
            error_queue: ErrorQueue::new(),
            links,
            log_limiter: LogLimiter::new(limits),
            coalescer: Coalescer::new(turn.coalesce_delay),
            path_changes,
            relayed: 0,
            tos: 0,
            stopping: false,
            handover_reply: None,
        };
        Ok((shard, mailbox))
    }

    /// Runs the loop until a command stops it. `mailboxes` are those of all shards.
    pub(super) fn run(mut self, mailboxes: Arc<[Mailbox]>) -> io::Result<()> {
        self.links.connect(mailboxes);
        let mut events = Events::with_capacity(MAX_EVENTS_PER_POLL);
        let mut now = clock::now();
        while !self.stopping {
            let timeout = self.poll_timeout(now.mono);
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            now = clock::now();
            if self.has_new_datagrams(&events)
                && let Some(delay) = self.coalescer.delay(now.mono)
            {
                thread::sleep(delay);
                now = clock::now();
            }
            self.tick(now, &events);
            let relayed = mem::take(&mut self.relayed);
            self.coalescer.on_tick(relayed, now.mono);
        }
        if let Some(reply) = self.handover_reply.take() {
            // If the receiver is gone, all sockets are closed.
            let _ = reply.send(self.into_handover());
        }
        Ok(())
    }

    /// The time until the next deadline; zero if there may be something to read.
    fn poll_timeout(&self, now: Mono) -> Option<Duration> {
        if self.is_busy() {
            return Some(Duration::ZERO);
        }
        let deadlines = [
            self.server.next_deadline(),
            self.streams.deadline(),
            self.log_limiter.due(),
        ];
        let deadline = deadlines.into_iter().flatten().min();
        deadline.map(|at| at.since(now))
    }

    /// Whether datagrams have arrived, from a socket or another shard, and none are left from before. For
    /// commands and deadlines alone, waiting for more datagrams makes no sense.
    fn has_new_datagrams(&self, events: &Events) -> bool {
        let at_a_socket = events.iter().any(|event| event.token() != WAKER);
        !self.is_busy() && (at_a_socket || self.links.has_packets())
    }

    /// Whether there may be something to read that the poller does not report again.
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

    /// Queues a socket that the poller reports. `errors`: whether its error queue may have entries.
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

    /// Sends all queued datagrams, and frees the slots.
    fn flush(&mut self) {
        self.send_queued();
        self.used_slots = 0;
    }

    /// Sends all queued datagrams. Slots that have not been handled yet keep their contents.
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
