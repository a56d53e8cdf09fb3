//! One thread of the generator: allocates for its clients and frees the allocations. [`super::media`]
//! exchanges media in between.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::{self, Mono};

use super::client::{Client, ClientError, ClientEvent};
use super::connection::MAX_MESSAGE_BYTES;
use super::shared::Shared;

/// Maximum number of clients with a pending request.
const MAX_PENDING: usize = 64;

/// Timeout for the first response of the server.
const FIRST_RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Timeout for freeing all allocations.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

pub(super) type ErrorCounts = BTreeMap<ClientError, u64>;

/// The result of allocating.
#[derive(Clone, Default)]
pub(super) struct AllocationResult {
    /// Pairs with bound channels, earlier ones included; at most the requested number.
    pub pairs: usize,
    pub errors: ErrorCounts,
    /// Whether the server sent any response.
    pub server_responded: bool,
}

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    /// Number of threads, and the index of this one: clients are numbered across threads.
    index: (usize, usize),
    poll: Poll,
    pub(super) buffer: Vec<u8>,
    pub(super) clients: Vec<Client>,
    /// Clients with a pending request.
    pending: Vec<usize>,
    /// Ready pairs.
    pub(super) pairs: Vec<usize>,
    server_responded: bool,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, index: (usize, usize)) -> io::Result<Worker> {
        Ok(Worker {
            shared,
            index,
            poll: Poll::new()?,
            buffer: vec![0; MAX_MESSAGE_BYTES],
            clients: Vec::new(),
            pending: Vec::new(),
            pairs: Vec::new(),
            server_responded: false,
        })
    }

    /// Allocates until there are this many pairs, or until no more are possible.
    pub(super) fn allocate(
        &mut self,
        pairs: usize,
        timeout: Duration,
    ) -> io::Result<AllocationResult> {
        let mut allocated = AllocationResult::default();
        let start = clock::now().mono;
        let missing = pairs.saturating_sub(self.pairs.len());
        let wanted = self.clients.len() + 2 * missing;
        let mut events = Events::with_capacity(256);
        while (self.clients.len() < wanted || !self.pending.is_empty()) && !self.shared.stopped() {
            let now = clock::now().mono;
            let waited = now.since(start);
            if waited > timeout || !self.server_responded && waited > FIRST_RESPONSE_TIMEOUT {
                break;
            }
            while self.clients.len() < wanted && self.pending.len() < MAX_PENDING {
                if !self.open(&mut allocated, now) {
                    // If one socket cannot be opened, neither can the next.
                    self.fail_pending(&mut allocated);
                    return Ok(self.counted(allocated, pairs));
                }
            }
            self.wait(&mut events, Duration::from_millis(20))?;
            for event in &events {
                self.read_client(event.token().0, &mut allocated);
            }
            self.retransmit(&mut allocated);
        }
        self.fail_pending(&mut allocated);
        Ok(self.counted(allocated, pairs))
    }

    fn counted(&self, mut allocated: AllocationResult, wanted: usize) -> AllocationResult {
        allocated.pairs = self.pairs.len().min(wanted);
        allocated.server_responded = self.server_responded;
        allocated
    }

    fn open(&mut self, allocated: &mut AllocationResult, now: Mono) -> bool {
        let index = self.clients.len();
        let (threads, own) = self.index;
        let minted = self.shared.login.of(index * threads + own);
        let registry = self.poll.registry();
        match Client::open(self.shared.target, minted, registry, Token(index), now) {
            Ok(client) => {
                self.clients.push(client);
                self.pending.push(index);
                true
            }
            Err(error) => {
                *allocated.errors.entry(error).or_default() += 1;
                // Drops the other client of an incomplete pair.
                if !index.is_multiple_of(2) {
                    self.drop_client(index - 1);
                    self.clients.pop();
                }
                false
            }
        }
    }

    /// Reads the responses of a client and starts its next step.
    fn read_client(&mut self, index: usize, allocated: &mut AllocationResult) {
        let server = self.shared.target.address;
        let now = clock::now().mono;
        let mut events_of_client = Vec::new();
        let client = &mut self.clients[index];
        let flushed = client.flush();
        let mut messages = Vec::new();
        let received = client.receive(&mut self.buffer, |bytes| messages.push(bytes.to_vec()));
        for bytes in &messages {
            events_of_client.push(client.handle_response(bytes, server, now));
        }
        self.server_responded |= !messages.is_empty();
        for event in events_of_client {
            self.handle_event(index, event, allocated, now);
        }
        if let Err(error) = flushed.and(received) {
            self.fail(index, error, allocated);
        }
    }

    fn handle_event(
        &mut self,
        index: usize,
        event: ClientEvent,
        allocated: &mut AllocationResult,
        now: Mono,
    ) {
        match event {
            ClientEvent::Nothing => {}
            ClientEvent::Stale => {
                let (target, token) = (self.shared.target, Token(index));
                let registry = self.poll.registry();
                if let Err(error) = self.clients[index].reopen(target, registry, token, now) {
                    self.fail(index, error, allocated);
                }
            }
            ClientEvent::Failed(error) => self.fail(index, error, allocated),
            ClientEvent::Released => self.pending.retain(|one| *one != index),
            ClientEvent::Allocated => {
                self.pending.retain(|one| *one != index);
                self.bind_pair(index, allocated, now);
            }
            ClientEvent::Ready => {
                self.pending.retain(|one| *one != index);
                self.shared.ready.fetch_add(1, Ordering::Relaxed);
                let pair = [index, index ^ 1];
                let both = pair.iter().all(|one| {
                    let open = self
                        .clients
                        .get(*one)
                        .is_some_and(|one| !one.is_abandoned());
                    open && !self.pending.contains(one)
                });
                if both {
                    self.pairs.push(index / 2);
                }
            }
        }
    }

    /// Binds the channels of a pair when both clients have an allocation.
    fn bind_pair(&mut self, index: usize, allocated: &mut AllocationResult, now: Mono) {
        let relayed = |one: usize| {
            let client = self.clients.get(one);
            client.filter(|one| !one.is_abandoned())?.relayed
        };
        let (Some(own), Some(other)) = (relayed(index), relayed(index ^ 1)) else {
            return;
        };
        self.pending.extend([index, index ^ 1]);
        for (one, peer) in [(index, other), (index ^ 1, own)] {
            if let Err(error) = self.clients[one].bind(peer, now) {
                self.fail(one, error, allocated);
            }
        }
    }

    fn retransmit(&mut self, allocated: &mut AllocationResult) {
        let now = clock::now().mono;
        for index in self.pending.clone() {
            if let Err(error) = self.clients[index].retransmit(now) {
                self.fail(index, error, allocated);
            }
        }
    }

    /// Drops a client and the other client of its pair.
    fn fail(&mut self, index: usize, error: ClientError, allocated: &mut AllocationResult) {
        if self.clients[index].is_abandoned() {
            self.drop_client(index);
            return;
        }
        *allocated.errors.entry(error).or_default() += 1;
        self.drop_client(index);
        self.drop_client(index ^ 1);
        self.pairs.retain(|pair| *pair != index / 2);
    }

    fn drop_client(&mut self, index: usize) {
        self.pending.retain(|one| *one != index);
        if let Some(client) = self.clients.get_mut(index) {
            client.abandon();
        }
    }

    /// Fails all clients with a pending request.
    fn fail_pending(&mut self, allocated: &mut AllocationResult) {
        for index in std::mem::take(&mut self.pending) {
            self.fail(index, ClientError::Timeout, allocated);
        }
        if !self.clients.len().is_multiple_of(2) {
            self.clients.pop();
        }
    }

    /// Frees all allocations.
    pub(super) fn release(&mut self) -> io::Result<()> {
        let start = clock::now().mono;
        let mut discarded = AllocationResult::default();
        let mut events = Events::with_capacity(256);
        let mut next = 0;
        while next < self.clients.len() || !self.pending.is_empty() {
            if clock::now().mono.since(start) > RELEASE_TIMEOUT {
                break;
            }
            while next < self.clients.len() && self.pending.len() < MAX_PENDING {
                if self.clients[next].release(clock::now().mono) {
                    self.pending.push(next);
                }
                next += 1;
            }
            self.wait(&mut events, Duration::from_millis(20))?;
            for event in &events {
                self.read_client(event.token().0, &mut discarded);
            }
            self.retransmit(&mut discarded);
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, events: &mut Events, time: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(time)) {
            // The buffer may still hold the events of the previous poll.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }
}

/// Adds `more` to the counts.
pub(super) fn merge(all: &mut ErrorCounts, more: &ErrorCounts) {
    for (error, count) in more {
        *all.entry(*error).or_default() += count;
    }
}
