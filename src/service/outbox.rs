//! The frame queue of one connection: bounded in bytes, filled by any task, emptied by its own task.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;

use super::renewals::Renewals;
use super::session_queue::SessionQueue;
use crate::room::{CloseCode, ConnectionId, OutgoingFrame, Session};

/// Bytes that a queued frame counts in addition to its own.
const FRAME_OVERHEAD_BYTES: usize = 64;
/// Capacity that an idle queue keeps, in frames.
const IDLE_CAPACITY_FRAMES: usize = 16;
/// A sender whose frames use less than this fraction of a queue does not count as a flooder.
const FLOODER_DIVISOR: usize = 8;

/// The bytes that a frame counts for.
pub fn frame_cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD_BYTES
}

/// The queue between a room and one connection. Pushing never waits.
#[derive(Debug)]
pub struct Outbox {
    capacity: usize,
    /// Whether the client expects messages that the plain protocol does not have.
    accepts_notices: bool,
    /// Of all frames that were pushed and are not yet [`Outbox::sent`].
    bytes: AtomicUsize,
    /// Bytes of frames that were dropped since the reader last took any.
    dropped: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Queued>,
    close: Option<CloseCode>,
    reader: Option<Waker>,
    /// Of a client that speaks `parlor.v1`.
    session: Option<Box<SessionQueue>>,
}

/// A frame, and the connection that sent it.
#[derive(Debug)]
struct Queued {
    frame: Bytes,
    from: Option<ConnectionId>,
}

/// The state of the queue after [`Outbox::take`].
#[derive(Debug, PartialEq, Eq)]
pub struct QueueState {
    /// Frames remain in the queue.
    pub more: bool,
    /// Close the connection after the taken frames.
    pub close: Option<CloseCode>,
    /// The time until the client has to acknowledge frames of its session, if there are any.
    pub acknowledge_within: Option<Duration>,
    /// Of a client that speaks `parlor.v1`.
    pub renewals: Option<Renewals>,
}

impl Outbox {
    /// `capacity` is in bytes.
    pub fn new(capacity: usize) -> Outbox {
        Outbox {
            capacity,
            accepts_notices: false,
            bytes: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// Records whether the client expects messages that the plain protocol does not have.
    pub fn with_notices(self, accepts_notices: bool) -> Outbox {
        Outbox {
            accepts_notices,
            ..self
        }
    }

    pub(super) fn accepts_notices(&self) -> bool {
        self.accepts_notices
    }

    /// Queues a frame that the connection `from` sent. Returns the number of frames that were dropped
    /// because the reader's queue was full.
    ///
    /// If several senders filled the queue, the newest frames of the sender with the most bytes are
    /// dropped. If one sender filled it alone, or many with few bytes each, the reader is too slow: its
    /// connection is closed, and its queue is discarded. So is one that takes nothing while the bytes of a whole queue
    /// are dropped.
    pub fn push(&self, frame: Bytes, from: Option<ConnectionId>) -> usize {
        let mut state = self.locked();
        if state.close.is_some() {
            return 0;
        }
        let cost = frame_cost(&frame);
        state.frames.push_back(Queued { frame, from });
        let mut dropped = 0;
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > self.capacity {
            dropped = self.enforce_limit(&mut state);
        }
        let over = match state.session {
            None => None,
            Some(_) => self.limit_away(&mut state),
        };
        wake(state);
        if let Some(excess) = over {
            excess.reclaim();
        }
        dropped
    }

    /// Drops frames until the queue is within its limit, or closes it.
    fn enforce_limit(&self, state: &mut State) -> usize {
        let mut shares = shares(&state.frames);
        let mut dropped = 0;
        if shares.len() > 1 {
            while self.bytes.load(Ordering::Relaxed) > self.capacity
                && let Some((flooder, share)) = take_largest(&mut shares)
                && share >= self.capacity / FLOODER_DIVISOR
            {
                dropped += self.drop_newest(state, flooder);
            }
        }
        let is_full = self.bytes.load(Ordering::Relaxed) > self.capacity;
        if is_full || self.dropped.load(Ordering::Relaxed) > self.capacity {
            state.frames = VecDeque::new();
            state.close = Some(CloseCode::TooSlow);
            return 0;
        }
        dropped
    }

    /// Drops the newest frames of `flooder` until an eighth of the queue is free, so that the search for
    /// a flooder does not repeat at every frame.
    fn drop_newest(&self, state: &mut State, flooder: ConnectionId) -> usize {
        let wanted = self.capacity - self.capacity / FLOODER_DIVISOR;
        let before = state.frames.len();
        let mut kept = VecDeque::with_capacity(before);
        while let Some(queued) = state.frames.pop_back() {
            let full = self.bytes.load(Ordering::Relaxed) > wanted;
            if full && queued.from == Some(flooder) {
                let cost = frame_cost(&queued.frame);
                self.uncount(cost);
                self.dropped.fetch_add(cost, Ordering::Relaxed);
            } else {
                kept.push_front(queued);
            }
        }
        state.frames = kept;
        before - state.frames.len()
    }

    /// Closes the connection after the queued frames. The first code is kept.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.locked();
        state.close.get_or_insert(code);
        wake(state);
    }

    /// Takes queued frames, oldest first, until they have `bytes` or more; before a close, all of them.
    /// The task is woken when there are more.
    pub fn take(
        &self,
        context: &Context<'_>,
        bytes: usize,
        mut each: impl FnMut(OutgoingFrame),
    ) -> QueueState {
        let mut state = self.locked();
        let mut wanted = bytes;
        while wanted > 0 || state.close.is_some() {
            let Some(frame) = self.next(&mut state) else {
                break;
            };
            wanted = wanted.saturating_sub(frame_cost(frame.shared()));
            each(frame);
        }
        if state.frames.is_empty() && state.frames.capacity() > IDLE_CAPACITY_FRAMES {
            state.frames.shrink_to(IDLE_CAPACITY_FRAMES);
        }
        match &state.reader {
            Some(reader) if reader.will_wake(context.waker()) => {}
            _ => state.reader = Some(context.waker().clone()),
        }
        let mut rest = QueueState {
            more: !state.frames.is_empty(),
            close: state.close,
            acknowledge_within: None,
            renewals: None,
        };
        if let Some(session) = &mut state.session {
            rest.more |= !session.missed.is_empty();
            let over = session.charge(0);
            rest.acknowledge_within = session.acknowledge_within();
            rest.renewals = Some(session.renewals.current());
            drop(state);
            if let Some(excess) = over {
                excess.reclaim();
            }
        }
        rest
    }

    /// Takes the next frame, with its number if the connection has a session.
    #[inline]
    fn next(&self, state: &mut State) -> Option<OutgoingFrame> {
        let Some(queue) = &mut state.session else {
            let queued = state.frames.pop_front()?;
            return Some(OutgoingFrame::Plain(queued.frame));
        };
        let earlier = queue.first.take().or_else(|| queue.missed.pop_front());
        if earlier.is_some() {
            return earlier;
        }
        let queued = state.frames.pop_front()?;
        Some(self.number(&mut queue.session, queued.frame))
    }

    /// Gives a queued frame its number: from now on, only its shared bytes count.
    #[inline]
    fn number(&self, session: &mut Session, frame: Bytes) -> OutgoingFrame {
        let bytes = frame.len();
        let numbered = session.number(frame);
        self.uncount(bytes - numbered.shared().len());
        numbered
    }

    /// Releases bytes that the kernel has taken, as counted by [`frame_cost`].
    pub fn sent(&self, bytes: usize) {
        self.uncount(bytes);
        if self.dropped.load(Ordering::Relaxed) > 0 {
            self.dropped.store(0, Ordering::Relaxed);
        }
    }

    fn uncount(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes the task after the lock is gone, so that it need not wait for it.
fn wake(state: MutexGuard<'_, State>) {
    let reader = state.reader.clone();
    drop(state);
    if let Some(reader) = reader {
        reader.wake();
    }
}

/// The bytes of each sender in a queue.
fn shares(frames: &VecDeque<Queued>) -> HashMap<ConnectionId, usize> {
    let mut shares = HashMap::new();
    for queued in frames {
        if let Some(from) = queued.from {
            *shares.entry(from).or_default() += frame_cost(&queued.frame);
        }
    }
    shares
}

fn take_largest(shares: &mut HashMap<ConnectionId, usize>) -> Option<(ConnectionId, usize)> {
    let largest = shares.iter().max_by_key(|(_, share)| **share);
    let largest = largest.map(|(from, share)| (*from, *share))?;
    shares.remove(&largest.0);
    Some(largest)
}

#[cfg(test)]
mod removal_tests;
mod renewals;
mod sessions;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Mono;

    fn take(outbox: &Outbox) -> (Vec<Bytes>, Option<CloseCode>) {
        let mut frames = Vec::new();
        let context = Context::from_waker(Waker::noop());
        let rest = outbox.take(&context, usize::MAX, |frame| {
            frames.push(Bytes::from(frame));
        });
        (frames, rest.close)
    }

    #[test]
    fn frames_are_taken_in_order_before_the_close() {
        let outbox = Outbox::new(1000);
        outbox.push(Bytes::from_static(b"one"), None);
        outbox.push(Bytes::from_static(b"two"), None);
        outbox.close(CloseCode::Replaced);
        outbox.close(CloseCode::Stopped);
        outbox.push(Bytes::from_static(b"too late"), None);
        let (frames, close) = take(&outbox);
        assert_eq!(frames, ["one", "two"]);
        assert_eq!(close, Some(CloseCode::Replaced));
    }

    #[test]
    fn a_full_outbox_closes_its_reader_and_discards_its_frames() {
        let outbox = Outbox::new(2 * (FRAME_OVERHEAD_BYTES + 3));
        for _ in 0..3 {
            outbox.push(Bytes::from_static(b"abc"), None);
        }
        assert_eq!(take(&outbox), (Vec::new(), Some(CloseCode::TooSlow)));
    }

    /// Connections of a room.
    fn senders<const N: usize>() -> [ConnectionId; N] {
        use crate::room::{Join, Limits, Room};
        let mut room = Room::new("lobby", Limits::UNLIMITED);
        let mut join =
            |number: usize| room.join(&number.to_string(), false, Mono(0), &mut Vec::new());
        std::array::from_fn(|number| match join(number) {
            Join::Accepted(connection) => connection,
            Join::Rejected(code) => panic!("{code:?}"),
        })
    }

    #[test]
    fn a_queue_filled_by_two_senders_drops_the_newest_frames_of_the_larger_one() {
        let [alice, bob] = senders();
        let outbox = Outbox::new(1000);
        let frame = |first: u8| Bytes::from(vec![first; 100 - FRAME_OVERHEAD_BYTES]);
        assert_eq!(outbox.push(frame(0), Some(bob)), 0);
        for number in 1..9 {
            assert_eq!(outbox.push(frame(number), Some(alice)), 0);
        }
        assert_eq!(outbox.push(frame(9), Some(bob)), 0);
        assert_eq!(outbox.push(frame(10), Some(bob)), 3);
        let (frames, close) = take(&outbox);
        let firsts: Vec<u8> = frames.iter().map(|frame| frame[0]).collect();
        assert_eq!((firsts, close), (vec![0, 1, 2, 3, 4, 5, 9, 10], None));
    }

    #[test]
    fn a_reader_that_takes_nothing_is_closed_when_a_whole_queue_was_dropped() {
        let [alice, bob] = senders();
        let frame = Bytes::from(vec![0; 100 - FRAME_OVERHEAD_BYTES]);
        for takes in [true, false] {
            let outbox = Outbox::new(1000);
            let mut dropped = 0;
            for _ in 0..20 {
                dropped += outbox.push(frame.clone(), Some(alice));
                dropped += outbox.push(frame.clone(), Some(bob));
                if takes {
                    // A part of a frame.
                    outbox.sent(0);
                }
            }
            let (frames, close) = take(&outbox);
            assert_eq!(frames.is_empty(), !takes);
            assert_eq!(close, (!takes).then_some(CloseCode::TooSlow));
            assert!(takes || dropped <= 10 + 2);
        }
    }

    #[test]
    fn a_queue_filled_by_many_small_senders_closes_its_reader() {
        let outbox = Outbox::new(1000);
        for sender in senders::<11>() {
            assert_eq!(
                outbox.push(
                    Bytes::from(vec![0; 100 - FRAME_OVERHEAD_BYTES]),
                    Some(sender)
                ),
                0
            );
        }
        assert_eq!(take(&outbox), (Vec::new(), Some(CloseCode::TooSlow)));
    }

    #[test]
    fn a_part_of_the_queue_is_taken_and_before_a_close_all_of_it() {
        let outbox = Outbox::new(10_000);
        let context = Context::from_waker(Waker::noop());
        let frame = Bytes::from_static(b"abc");
        for _ in 0..6 {
            outbox.push(frame.clone(), None);
        }
        let take = |bytes| {
            let mut count = 0;
            let rest = outbox.take(&context, bytes, |_| count += 1);
            (count, rest.more, rest.close)
        };
        assert_eq!(take(0), (0, true, None));
        assert_eq!(take(frame_cost(&frame) + 1), (2, true, None));
        outbox.close(CloseCode::Replaced);
        assert_eq!(take(0), (4, false, Some(CloseCode::Replaced)));
    }

    #[test]
    fn taken_frames_count_until_they_are_sent() {
        let frame = Bytes::from_static(b"abc");
        let outbox = Outbox::new(frame_cost(&frame));
        outbox.push(frame.clone(), None);
        assert_eq!(take(&outbox).0.len(), 1);
        outbox.sent(frame_cost(&frame));
        outbox.push(frame.clone(), None);
        assert_eq!(take(&outbox), (vec![frame.clone()], None));
        outbox.push(frame, None);
        assert_eq!(take(&outbox).1, Some(CloseCode::TooSlow));
    }
}
