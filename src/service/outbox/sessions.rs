//! The queue of a `parlor.v1` client: it outlives the connection.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::{Outbox, Queued, State, frame_cost, wake};
use crate::room::{CloseCode, OutgoingFrame, ResumeSecret, Session};
use crate::service::resume_memory::{Excess, Holder, ResumeMemory};
use crate::service::saved_sessions::SavedQueue;
use crate::service::session_queue::SessionQueue;

/// A session that moves to another connection, and the frames that were queued for it.
pub(in crate::service) struct Moved {
    session: Session,
    frames: VecDeque<Queued>,
    ice_due: Option<u64>,
}

impl Outbox {
    /// The queue of a connection of `user` that speaks `parlor.v1`. Its frames are numbered when they are taken, and kept until
    /// the client acknowledges them, at most `buffer_bytes`.
    pub(in crate::service) fn with_session(
        self,
        session: Session,
        buffer_bytes: usize,
        memory: &Arc<ResumeMemory>,
        user: &str,
    ) -> Arc<Outbox> {
        Arc::new_cyclic(|this: &Weak<Outbox>| {
            let queue = SessionQueue::new(session, buffer_bytes, memory, user, this.clone());
            let state = State {
                session: Some(Box::new(queue)),
                ..State::default()
            };
            Outbox {
                state: Mutex::new(state),
                ..self
            }
        })
    }

    /// Saves the session for the next process. All frames get their numbers now: the connection sends the last ones with
    /// the numbers that the next process knows. `None` if frames are lost, or for a plain connection.
    pub(in crate::service) fn save(&self) -> Option<SavedQueue> {
        let mut state = self.locked();
        if state.close == Some(CloseCode::TooSlow) {
            return None;
        }
        let frames = std::mem::take(&mut state.frames);
        let queue = state.session.as_mut()?;
        for queued in frames {
            let numbered = self.number(&mut queue.session, queued.frame);
            queue.missed.push_back(numbered);
        }
        Some(SavedQueue {
            frames: queue.session.save()?,
            ice_due: queue.renewals.inherited(),
        })
    }

    /// Records that the session is of an earlier process, and has no connection. False if its frames are too many.
    pub(in crate::service) fn restore(&self, ice_due: Option<u64>) -> bool {
        if let Some(queue) = &mut self.locked().session {
            queue.renewals.times.ice_due = ice_due;
        }
        self.detach()
    }

    /// Queues a frame without a number before all others.
    pub(in crate::service) fn push_first(&self, frame: Bytes) {
        let mut state = self.locked();
        if let Some(session) = &mut state.session {
            self.bytes.fetch_add(frame_cost(&frame), Ordering::Relaxed);
            session.first = Some(OutgoingFrame::Plain(frame));
        }
        wake(state);
    }

    /// Wakes the task of the connection.
    pub(in crate::service) fn wake(&self) {
        wake(self.locked());
    }

    /// The number of the last frame that was taken; `None` for a plain connection.
    pub fn last_seq(&self) -> Option<u64> {
        let state = self.locked();
        let queue = state.session.as_ref()?;
        // The missed frames have numbers, but are sent again first.
        Some(queue.session.last() - queue.missed.len() as u64)
    }

    /// Forgets frames that the client has received. Returns the time until it has to acknowledge later ones.
    pub fn acknowledge(&self, seq: u64) -> Option<Duration> {
        let mut state = self.locked();
        let queue = state.session.as_mut()?;
        queue.session.acknowledge(seq);
        // Less than before: the memory cannot be exceeded by it.
        let _ = queue.charge(0);
        queue.acknowledge_within()
    }

    /// Records that a frame of the client has come: it has the current token.
    pub fn confirm(&self) {
        if let Some(queue) = &mut self.locked().session {
            queue.session.confirm();
        }
    }

    /// Records that the connection is lost. Returns whether its session can be resumed.
    pub(in crate::service) fn detach(&self) -> bool {
        let mut state = self.locked();
        if state.close == Some(CloseCode::TooSlow) {
            return false;
        }
        let queued: usize = state.frames.iter().map(|q| frame_cost(&q.frame)).sum();
        // Without the bytes that the connection had taken: they are kept.
        self.bytes.store(queued, Ordering::Relaxed);
        let Some(session) = &mut state.session else {
            return false;
        };
        session.is_away = true;
        session.first = None;
        session.missed = VecDeque::new();
        state.close = None;
        state.reader = None;
        let over = self.limit_away(&mut state);
        let is_kept = state.close.is_none();
        drop(state);
        if let Some(excess) = over {
            excess.reclaim();
        }
        is_kept
    }

    /// Charges the frames that wait for a client without a connection; too many end its session.
    pub(super) fn limit_away(&self, state: &mut State) -> Option<Excess> {
        let queued = self.bytes.load(Ordering::Relaxed);
        let session = state.session.as_mut().filter(|queue| queue.is_away)?;
        if session.is_full(queued) {
            self.overrun(state);
            return None;
        }
        session.charge(queued)
    }

    /// Ends the session of a client without a connection, because its frames cannot be kept.
    fn overrun(&self, state: &mut State) {
        if let Some(session) = &mut state.session {
            session.forget();
        }
        state.frames = VecDeque::new();
        state.close = Some(CloseCode::TooSlow);
        self.bytes.store(0, Ordering::Relaxed);
    }

    /// Whether this is the queue of a session without a connection.
    pub(in crate::service) fn is_away(&self) -> bool {
        let state = self.locked();
        state.session.as_ref().is_some_and(|queue| queue.is_away)
    }

    /// Forgets the kept frames. A session without a connection cannot be resumed then; a connection still sends those
    /// that wait.
    pub(in crate::service) fn release(&self) {
        self.forget();
    }

    /// The secret of the session; `None` for a plain connection.
    pub(in crate::service) fn secret(&self) -> Option<ResumeSecret> {
        let state = self.locked();
        state.session.as_ref().map(|queue| queue.session.secret())
    }

    /// Removes frames from the queue. Those that have a number already become the `replacement`: a client that has not
    /// received them gets no other ones, and numbers no gap.
    pub(in crate::service) fn remove_frames(
        &self,
        is_removed: impl Fn(&[u8]) -> bool,
        replacement: &Bytes,
    ) {
        let mut state = self.locked();
        let State {
            frames, session, ..
        } = &mut *state;
        let Some(queue) = session else { return };
        frames.retain(|queued| {
            let is_removed = is_removed(&queued.frame);
            if is_removed {
                self.uncount(frame_cost(&queued.frame));
            }
            !is_removed
        });
        queue.session.replace(&is_removed, replacement);
        let first = queue.session.last() + 1 - queue.missed.len() as u64;
        let missed = queue.session.missed(first - 1).into_iter().flatten();
        for (missed, kept) in queue.missed.iter_mut().zip(missed) {
            self.bytes.fetch_add(kept.shared().len(), Ordering::Relaxed);
            self.uncount(missed.shared().len());
            *missed = kept;
        }
    }

    /// Whether a token with this secret resumes the session of this queue.
    pub(in crate::service) fn accepts(&self, secret: &ResumeSecret) -> bool {
        let state = self.locked();
        let session = state.session.as_ref();
        session.is_some_and(|queue| queue.session.accepts(secret))
    }

    /// Whether the client has replaced the token with this secret, and is connected.
    pub(in crate::service) fn is_replaced(&self, secret: &ResumeSecret) -> bool {
        let state = self.locked();
        let session = state.session.as_ref();
        session.is_some_and(|queue| !queue.is_away && queue.session.is_replaced(secret))
    }

    /// Takes the session for another connection whose client has received the frames up to `seq`, and closes this
    /// one with `code`. `None` if frames after that are lost.
    pub(in crate::service) fn take_over(&self, seq: u64, code: CloseCode) -> Option<Moved> {
        let mut state = self.locked();
        let queue = state.session.take()?;
        let frames = std::mem::take(&mut state.frames);
        let is_lost = state.close == Some(CloseCode::TooSlow);
        let queued: usize = frames.iter().map(|queued| frame_cost(&queued.frame)).sum();
        state.close.get_or_insert(code);
        wake(state);
        let is_whole = !is_lost && queue.session.missed(seq).is_some() && !queue.is_full(queued);
        let ice_due = queue.renewals.inherited();
        is_whole.then(|| Moved {
            session: queue.session,
            frames,
            ice_due,
        })
    }

    /// Continues a session: sends the frames after `seq` again, after the frame that `resumed` makes of their number.
    pub(in crate::service) fn adopt(
        &self,
        moved: Moved,
        seq: u64,
        secrets: (ResumeSecret, ResumeSecret),
        resumed: impl FnOnce(usize) -> Bytes,
    ) {
        let Moved {
            mut session,
            frames,
            ice_due,
        } = moved;
        session.acknowledge(seq);
        // All get their numbers now, so that the number of missed frames is exact.
        for queued in frames {
            session.keep(queued.frame);
        }
        let (presented, secret) = secrets;
        session.renew(presented, secret);
        let missed = session.missed(seq);
        let missed: VecDeque<OutgoingFrame> = missed.into_iter().flatten().collect();
        let first = OutgoingFrame::Plain(resumed(missed.len()));
        let mut state = self.locked();
        let frames = missed.iter().chain([&first]);
        let cost: usize = frames.map(|frame| frame_cost(frame.shared())).sum();
        self.bytes.fetch_add(cost, Ordering::Relaxed);
        let Some(queue) = &mut state.session else {
            return;
        };
        queue.session = session;
        queue.renewals.times.ice_due = ice_due;
        queue.first = Some(first);
        queue.missed = missed;
        let over = queue.charge(0);
        wake(state);
        if let Some(excess) = over {
            excess.reclaim();
        }
    }
}

impl Holder for Outbox {
    fn forget(&self) {
        let mut state = self.locked();
        match &mut state.session {
            Some(queue) if queue.is_away => self.overrun(&mut state),
            Some(queue) => queue.forget(),
            None => {}
        }
    }
}
