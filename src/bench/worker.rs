//! One thread of the generator: lets its clients in, and gives back what they were given. What they
//! do in between is in [`super::media`].

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use mio::{Events, Poll, Token};

use crate::clock::{self, Mono};

use super::client::{Client, Heard, Trouble};
use super::crew::Shared;
use super::wire::LONGEST;

/// Clients that wait for an answer at the same time.
const WINDOW: usize = 64;

/// A server that has said nothing at all for so long is not there.
const SILENCE: Duration = Duration::from_secs(5);

/// How long giving allocations back may take.
const FAREWELL: Duration = Duration::from_secs(2);

pub type Troubles = BTreeMap<Trouble, u64>;

/// What came of allocating.
#[derive(Clone, Default)]
pub struct Grown {
    /// Pairs whose channels are bound, those from before included; no more than were asked for.
    pub pairs: usize,
    pub troubles: Troubles,
    /// Whether the server said anything.
    pub heard: bool,
}

pub struct Worker {
    pub(super) shared: Arc<Shared>,
    /// Of how many threads, and which of them: clients are numbered through.
    seat: (usize, usize),
    poll: Poll,
    pub(super) buffer: Vec<u8>,
    pub(super) clients: Vec<Client>,
    /// Those that wait for an answer.
    asking: Vec<usize>,
    /// Pairs that are ready.
    pub(super) pairs: Vec<usize>,
    heard: bool,
}

impl Worker {
    pub fn new(shared: Arc<Shared>, seat: (usize, usize)) -> io::Result<Worker> {
        Ok(Worker {
            shared,
            seat,
            poll: Poll::new()?,
            buffer: vec![0; LONGEST],
            clients: Vec::new(),
            asking: Vec::new(),
            pairs: Vec::new(),
            heard: false,
        })
    }

    /// Allocates until there are so many pairs, or as many as there can be.
    pub fn grow(&mut self, pairs: usize, patience: Duration) -> io::Result<Grown> {
        let mut grown = Grown::default();
        let start = clock::now().mono;
        let missing = pairs.saturating_sub(self.pairs.len());
        let wanted = self.clients.len() + 2 * missing;
        let mut events = Events::with_capacity(256);
        while (self.clients.len() < wanted || !self.asking.is_empty()) && !self.shared.stopped() {
            let now = clock::now().mono;
            let waited = now.since(start);
            if waited > patience || !self.heard && waited > SILENCE {
                break;
            }
            while self.clients.len() < wanted && self.asking.len() < WINDOW {
                if !self.open(&mut grown, now) {
                    // Whoever can't even open a socket will not open the next one either.
                    self.abandon(&mut grown);
                    return Ok(self.counted(grown, pairs));
                }
            }
            self.wait(&mut events, Duration::from_millis(20))?;
            for event in &events {
                self.answers(event.token().0, &mut grown);
            }
            self.remind(&mut grown);
        }
        self.abandon(&mut grown);
        Ok(self.counted(grown, pairs))
    }

    fn counted(&self, mut grown: Grown, wanted: usize) -> Grown {
        grown.pairs = self.pairs.len().min(wanted);
        grown.heard = self.heard;
        grown
    }

    fn open(&mut self, grown: &mut Grown, now: Mono) -> bool {
        let index = self.clients.len();
        let (threads, own) = self.seat;
        let who = self.shared.login.of(index * threads + own);
        let registry = self.poll.registry();
        match Client::open(self.shared.target, who, registry, Token(index), now) {
            Ok(client) => {
                self.clients.push(client);
                self.asking.push(index);
                true
            }
            Err(trouble) => {
                *grown.troubles.entry(trouble).or_default() += 1;
                // Pairs stay pairs.
                if !index.is_multiple_of(2) {
                    self.drop_client(index - 1);
                    self.clients.pop();
                }
                false
            }
        }
    }

    /// Reads what a client was answered, and goes on with it.
    fn answers(&mut self, index: usize, grown: &mut Grown) {
        let server = self.shared.target.address;
        let now = clock::now().mono;
        let mut heard = Vec::new();
        let client = &mut self.clients[index];
        let flushed = client.flush();
        let mut messages = Vec::new();
        let received = client.receive(&mut self.buffer, |bytes| messages.push(bytes.to_vec()));
        for bytes in &messages {
            heard.push(client.hear(bytes, server, now));
        }
        self.heard |= !messages.is_empty();
        for one in heard {
            self.go_on(index, one, grown, now);
        }
        if let Err(trouble) = flushed.and(received) {
            self.fail(index, trouble, grown);
        }
    }

    fn go_on(&mut self, index: usize, heard: Heard, grown: &mut Grown, now: Mono) {
        match heard {
            Heard::Nothing => {}
            Heard::Stale => {
                let (target, token) = (self.shared.target, Token(index));
                let registry = self.poll.registry();
                if let Err(trouble) = self.clients[index].reopen(target, registry, token, now) {
                    self.fail(index, trouble, grown);
                }
            }
            Heard::Failed(trouble) => self.fail(index, trouble, grown),
            Heard::Released => self.asking.retain(|one| *one != index),
            Heard::Allocated => {
                self.asking.retain(|one| *one != index);
                self.introduce(index, grown, now);
            }
            Heard::Ready => {
                self.asking.retain(|one| *one != index);
                self.shared.ready.fetch_add(1, Ordering::Relaxed);
                let pair = [index, index ^ 1];
                let both = pair.iter().all(|one| {
                    let open = self.clients.get(*one).is_some_and(|one| !one.is_given_up());
                    open && !self.asking.contains(one)
                });
                if both {
                    self.pairs.push(index / 2);
                }
            }
        }
    }

    /// Binds the channels of two who both have an allocation.
    fn introduce(&mut self, index: usize, grown: &mut Grown, now: Mono) {
        let relayed = |one: usize| {
            let client = self.clients.get(one);
            client.filter(|one| !one.is_given_up())?.relayed
        };
        let (Some(own), Some(other)) = (relayed(index), relayed(index ^ 1)) else {
            return;
        };
        self.asking.extend([index, index ^ 1]);
        for (one, peer) in [(index, other), (index ^ 1, own)] {
            if let Err(trouble) = self.clients[one].bind(peer, now) {
                self.fail(one, trouble, grown);
            }
        }
    }

    fn remind(&mut self, grown: &mut Grown) {
        let now = clock::now().mono;
        for index in self.asking.clone() {
            if let Err(trouble) = self.clients[index].remind(now) {
                self.fail(index, trouble, grown);
            }
        }
    }

    /// Takes a client out, and its partner, who has nobody to talk to.
    fn fail(&mut self, index: usize, trouble: Trouble, grown: &mut Grown) {
        if self.clients[index].is_given_up() {
            self.drop_client(index);
            return;
        }
        *grown.troubles.entry(trouble).or_default() += 1;
        self.drop_client(index);
        self.drop_client(index ^ 1);
        self.pairs.retain(|pair| *pair != index / 2);
    }

    fn drop_client(&mut self, index: usize) {
        self.asking.retain(|one| *one != index);
        if let Some(client) = self.clients.get_mut(index) {
            client.give_up();
        }
    }

    /// Whoever has no answer yet gets none any more.
    fn abandon(&mut self, grown: &mut Grown) {
        for index in std::mem::take(&mut self.asking) {
            self.fail(index, Trouble::Timeout, grown);
        }
        if !self.clients.len().is_multiple_of(2) {
            self.clients.pop();
        }
    }

    /// Gives every allocation back.
    pub fn release(&mut self) -> io::Result<()> {
        let start = clock::now().mono;
        let mut nobody = Grown::default();
        let mut events = Events::with_capacity(256);
        let mut next = 0;
        while next < self.clients.len() || !self.asking.is_empty() {
            if clock::now().mono.since(start) > FAREWELL {
                break;
            }
            while next < self.clients.len() && self.asking.len() < WINDOW {
                if self.clients[next].release(clock::now().mono) {
                    self.asking.push(next);
                }
                next += 1;
            }
            self.wait(&mut events, Duration::from_millis(20))?;
            for event in &events {
                self.answers(event.token().0, &mut nobody);
            }
            self.remind(&mut nobody);
        }
        Ok(())
    }

    pub(super) fn wait(&mut self, events: &mut Events, time: Duration) -> io::Result<()> {
        match self.poll.poll(events, Some(time)) {
            // Events may be those of the turn before.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            polled => polled,
        }
    }
}

/// Adds counts to counts.
pub fn merge(all: &mut Troubles, more: &Troubles) {
    for (trouble, count) in more {
        *all.entry(*trouble).or_default() += count;
    }
}
