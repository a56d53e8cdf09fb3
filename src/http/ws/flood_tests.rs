//! A room under a flood, in virtual time: readers with slow links, one sender with normal traffic, and
//! others who send as much as the room accepts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Mono;
use crate::config::Signaling;
use crate::rate::Gcra;
use crate::room::{CloseCode, ConnectionId, Effect, Input, Join, Limits, Outcome, Room};
use crate::service::{Outbox, frame_cost, limits};

const TICK: Duration = Duration::from_millis(10);
/// Bytes that a link of 2 Mbit/s transmits in a tick.
const LINK_BYTES: usize = 2_500;
const READERS: usize = 3;

/// The kind of flood.
#[derive(Debug, Clone, Copy)]
enum Flood {
    /// Messages of this size, as fast as possible.
    Unthrottled(usize),
    /// Messages of this size, always within the limits.
    WithinLimits(usize),
}

/// A connection: its outbox, and the bytes that its link has transmitted.
struct Reader {
    outbox: Arc<Outbox>,
    link: VecDeque<Bytes>,
    /// Transmitted bytes of the first frame.
    written_of_first: usize,
    read: Vec<Bytes>,
    closed: Option<CloseCode>,
}

struct Simulation {
    room: Room,
    now: Mono,
    limits: Limits,
    readers: BTreeMap<ConnectionId, Reader>,
    dropped: usize,
}

impl Simulation {
    fn new() -> Simulation {
        let limits = limits(&Signaling::default());
        Simulation {
            room: Room::new("lobby", limits),
            now: Mono(1_000_000_000),
            limits,
            readers: BTreeMap::new(),
            dropped: 0,
        }
    }

    fn join(&mut self, user: &str) -> ConnectionId {
        let joined = self.room.join(user, false, self.now, &mut Vec::new());
        let Join::Accepted(connection) = joined else {
            panic!("{user} was refused");
        };
        let reader = Reader {
            outbox: Arc::new(Outbox::new(Signaling::default().max_queue)),
            link: VecDeque::new(),
            written_of_first: 0,
            read: Vec::new(),
            closed: None,
        };
        self.readers.insert(connection, reader);
        connection
    }

    fn send(&mut self, sender: ConnectionId, text: &str) -> Outcome {
        let mut effects = Vec::new();
        let outcome = self
            .room
            .receive(sender, Input::Text(text), self.now, &mut effects);
        for effect in effects {
            match effect {
                Effect::Deliver {
                    connection,
                    frame,
                    from,
                } => {
                    let reader = &self.readers[&connection];
                    self.dropped += reader.outbox.push(frame, from);
                }
                Effect::Welcome { .. } => panic!("all clients are plain"),
                Effect::Close { connection, code } => {
                    self.readers[&connection].outbox.close(code);
                }
            }
        }
        outcome
    }

    /// Transmits on each link as much as fits into a tick.
    fn tick(&mut self) {
        self.now = self.now + TICK;
        for reader in self.readers.values_mut() {
            reader.tick();
        }
    }
}

impl Reader {
    fn tick(&mut self) {
        let context = Context::from_waker(Waker::noop());
        let mut left = LINK_BYTES;
        while left > 0 && self.closed.is_none() {
            if self.link.is_empty() {
                let link = &mut self.link;
                let rest = self
                    .outbox
                    .take(&context, 64 * 1024, |frame| link.push_back(frame.into()));
                self.closed = rest.close;
            }
            let Some(first) = self.link.front() else {
                return;
            };
            let part = left.min(first.len() - self.written_of_first);
            left -= part;
            self.written_of_first += part;
            if self.written_of_first == first.len() {
                self.outbox.sent(frame_cost(first));
                self.written_of_first = 0;
                self.read.extend(self.link.pop_front());
            }
        }
    }
}

fn message(kind: &str, bytes: usize) -> String {
    let data = "x".repeat(bytes);
    format!(r#"{{"type":"{kind}","from":"me","roomId":"lobby","data":"{data}"}}"#)
}

/// Twenty seconds of two floods. Afterwards all readers are still connected and have received all
/// messages of the normal sender.
fn assert_readers_survive(floods: &[Flood]) {
    let mut simulation = Simulation::new();
    let talker = simulation.join("talker");
    let readers: Vec<_> = (0..READERS)
        .map(|number| simulation.join(&format!("reader-{number}")))
        .collect();
    let names: Vec<String> = (0..floods.len()).map(|n| format!("flooder-{n}")).collect();
    let mut flooders: Vec<_> = names.iter().map(|name| simulation.join(name)).collect();
    let mut spent = vec![(Gcra::default(), Gcra::default()); floods.len()];
    let mut said = 0;
    for tick in 0..2_000 {
        if tick % 50 == 0 {
            let outcome = simulation.send(talker, &message("answer", 1_000 + said));
            assert!(matches!(outcome, Outcome::Relayed { .. }));
            said += 1;
        }
        for (number, flood) in floods.iter().enumerate() {
            let (messages, bytes) = &mut spent[number];
            let (Flood::Unthrottled(size) | Flood::WithinLimits(size)) = *flood;
            let text = message("offer", size);
            let whole = (text.len() + names[number].len() + "lobby".len() + 4 + 64) as u64;
            for _ in 0..100 {
                if matches!(flood, Flood::WithinLimits(_)) {
                    let (limits, now) = (simulation.limits, simulation.now);
                    let mut next = (*messages, *bytes);
                    if !next.0.take(limits.messages, now, 1)
                        || !next.1.take(limits.bytes, now, whole)
                    {
                        break;
                    }
                    (*messages, *bytes) = next;
                }
                match simulation.send(flooders[number], &text) {
                    Outcome::Closed(code) => {
                        assert_eq!(code, CloseCode::TooManyMessages);
                        assert!(matches!(flood, Flood::Unthrottled(_)), "{flood:?}");
                        flooders[number] = simulation.join(&names[number]);
                        break;
                    }
                    outcome => assert!(matches!(outcome, Outcome::Relayed { .. })),
                }
            }
        }
        simulation.tick();
    }
    (0..2_000).for_each(|_| simulation.tick());
    for reader in &readers {
        let reader = &simulation.readers[reader];
        assert_eq!(reader.closed, None, "{floods:?}");
        let answers = reader.read.iter();
        let answers = answers.filter(|frame| frame.starts_with(br#"{"type":"answer""#));
        let lengths: Vec<usize> = answers.map(Bytes::len).collect();
        assert_eq!(lengths.len(), said, "{floods:?}");
        assert!(lengths.is_sorted(), "{floods:?}");
    }
}

#[test]
fn readers_at_2_mbit_survive_any_one_flooder() {
    for size in [0, 200, 20_000, 250_000] {
        assert_readers_survive(&[Flood::Unthrottled(size)]);
        assert_readers_survive(&[Flood::WithinLimits(size)]);
    }
}

#[test]
fn readers_at_2_mbit_survive_any_two_flooders() {
    for size in [0, 20_000, 250_000] {
        assert_readers_survive(&[Flood::WithinLimits(size), Flood::WithinLimits(250_000)]);
        assert_readers_survive(&[Flood::Unthrottled(size), Flood::WithinLimits(100)]);
    }
    assert_readers_survive(&[Flood::Unthrottled(250_000), Flood::Unthrottled(250_000)]);
}
