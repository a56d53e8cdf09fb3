//! How other threads reach a shard: commands from the house, and the streams that it is given.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use mio::Waker;
use tokio::sync::oneshot;

use crate::turn::{Host, Policy, Route, Scope, Session, SessionPage, Settings};

use super::handover::ShardHandover;
use super::stream::{StreamInfo, StreamIo};

/// Rare, and never dropped. Whoever asked may have gone when the answer is there.
pub enum Command {
    Revoke {
        user: Box<str>,
        scope: Scope,
        freed: oneshot::Sender<usize>,
    },
    CloseRoom {
        room: Box<str>,
        freed: oneshot::Sender<usize>,
    },
    /// End the allocation of a listed session.
    EndSession {
        listed: Box<Session>,
        freed: oneshot::Sender<usize>,
    },
    Sessions {
        from: usize,
        answer: oneshot::Sender<SessionPage>,
    },
    Reconfigure(Box<Settings>),
    /// Deny these peers: new addresses of this host that will be offered next.
    Deny {
        addresses: Vec<IpAddr>,
        done: oneshot::Sender<()>,
    },
    /// Use these addresses of this host.
    SetHost(Arc<Host>),
    Ping(oneshot::Sender<()>),
    /// A stream has come; who finds a `io` serves it. A stream has its place until every shard has
    /// read both this and its end, so there are never more of these than twice the places.
    StreamOpened {
        route: Route,
        info: Arc<StreamInfo>,
        io: Option<Box<dyn StreamIo>>,
    },
    StreamClosed {
        stream: u32,
    },
    Stop,
    /// Stop, and give what another relay needs to go on.
    HandOver(oneshot::Sender<io::Result<(ShardHandover, Policy)>>),
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    /// Whether the shard has been woken and has not looked yet.
    awake: Arc<AtomicBool>,
}

/// The shard's side.
pub struct Inbox {
    commands: mpsc::Receiver<Command>,
    waker: Arc<Waker>,
    awake: Arc<AtomicBool>,
}

pub fn mailbox(waker: Waker) -> (Mailbox, Inbox) {
    let (commands, commands_receiver) = mpsc::channel();
    let awake = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(waker);
    let mailbox = Mailbox {
        commands,
        waker: waker.clone(),
        awake: awake.clone(),
    };
    let inbox = Inbox {
        commands: commands_receiver,
        waker,
        awake,
    };
    (mailbox, inbox)
}

impl Mailbox {
    pub fn send(&self, command: Command) {
        // A shard that is gone has nothing left to revoke.
        let _ = self.commands.send(command);
        self.wake();
    }

    /// Makes the shard look.
    pub fn wake(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            wake(&self.waker);
        }
    }
}

fn wake(waker: &Waker) {
    if let Err(error) = waker.wake() {
        tracing::error!(%error, "a relay shard could not be woken");
    }
}

impl Inbox {
    /// Call before looking: whoever sends after this wakes the shard again.
    pub fn clear_wakeup(&mut self) {
        // A swap, not a store: what is looked at next must not be read before this is seen.
        self.awake.swap(false, Ordering::AcqRel);
    }

    /// Looks again in the next turn, although nobody sends.
    pub fn rearm(&mut self) {
        self.awake.store(true, Ordering::Release);
        wake(&self.waker);
    }

    pub fn try_recv(&mut self) -> Option<Command> {
        self.commands.try_recv().ok()
    }
}
