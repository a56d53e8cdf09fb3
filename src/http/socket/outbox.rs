//! What waits for one reader: bounded in bytes, filled by anyone, emptied by its own task.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use bytes::Bytes;

use crate::room::CloseCode;

/// What a queued frame costs beside its bytes.
const OVERHEAD: usize = 64;
/// Frames that an idle queue keeps room for.
const SPARE: usize = 16;

/// The bytes that a frame counts for.
pub fn cost(frame: &Bytes) -> usize {
    frame.len() + OVERHEAD
}

/// The queue between a room and one connection. Whoever fills it never waits.
#[derive(Debug)]
pub struct Outbox {
    capacity: usize,
    /// Of all frames that were pushed and are not yet [`Outbox::sent`].
    bytes: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    close: Option<CloseCode>,
    reader: Option<Waker>,
}

impl Outbox {
    /// `capacity` is in bytes.
    pub fn new(capacity: usize) -> Outbox {
        Outbox {
            capacity,
            bytes: AtomicUsize::new(0),
            state: Mutex::default(),
        }
    }

    /// Queues a frame. A reader for whom too much waits is closed instead, and what waits is
    /// forgotten.
    pub fn push(&self, frame: Bytes) {
        let mut state = self.locked();
        if state.close.is_some() {
            return;
        }
        let cost = cost(&frame);
        if self.bytes.fetch_add(cost, Ordering::Relaxed) + cost > self.capacity {
            state.frames = VecDeque::new();
            state.close = Some(CloseCode::TooSlow);
        } else {
            state.frames.push_back(frame);
        }
        wake(state);
    }

    /// Asks for the connection to be closed, after what waits; the first code stays.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.locked();
        state.close.get_or_insert(code);
        wake(state);
    }

    /// Hands over what waits, oldest first, and whether to close after it. The task is woken when
    /// there is more.
    pub fn take(&self, context: &Context<'_>, each: impl FnMut(Bytes)) -> Option<CloseCode> {
        let mut state = self.locked();
        state.frames.drain(..).for_each(each);
        if state.frames.capacity() > SPARE {
            state.frames.shrink_to(SPARE);
        }
        match &state.reader {
            Some(reader) if reader.will_wake(context.waker()) => {}
            _ => state.reader = Some(context.waker().clone()),
        }
        state.close
    }

    /// These bytes, as counted by [`cost`], are with the kernel.
    pub fn sent(&self, bytes: usize) {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbox: &Outbox) -> (Vec<Bytes>, Option<CloseCode>) {
        let mut frames = Vec::new();
        let context = Context::from_waker(Waker::noop());
        let close = outbox.take(&context, |frame| frames.push(frame));
        (frames, close)
    }

    #[test]
    fn what_is_pushed_is_taken_in_order_and_then_the_close() {
        let outbox = Outbox::new(1000);
        outbox.push(Bytes::from_static(b"one"));
        outbox.push(Bytes::from_static(b"two"));
        outbox.close(CloseCode::Replaced);
        outbox.close(CloseCode::Stopped);
        outbox.push(Bytes::from_static(b"too late"));
        let (frames, close) = take(&outbox);
        assert_eq!(frames, ["one", "two"]);
        assert_eq!(close, Some(CloseCode::Replaced));
    }

    #[test]
    fn a_full_outbox_closes_its_reader_and_forgets() {
        let outbox = Outbox::new(2 * (OVERHEAD + 3));
        for _ in 0..3 {
            outbox.push(Bytes::from_static(b"abc"));
        }
        assert_eq!(take(&outbox), (Vec::new(), Some(CloseCode::TooSlow)));
    }

    #[test]
    fn what_is_taken_counts_until_it_is_sent() {
        let frame = Bytes::from_static(b"abc");
        let outbox = Outbox::new(cost(&frame));
        outbox.push(frame.clone());
        assert_eq!(take(&outbox).0.len(), 1);
        outbox.sent(cost(&frame));
        outbox.push(frame.clone());
        assert_eq!(take(&outbox), (vec![frame.clone()], None));
        outbox.push(frame);
        assert_eq!(take(&outbox).1, Some(CloseCode::TooSlow));
    }
}
