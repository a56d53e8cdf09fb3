//! The commands that other threads send to a shard.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use mio::Waker;
use tokio::sync::oneshot;

use crate::turn::{Host, Route, Scope, Session, SessionPage, Settings, StreamReport};

use super::handover::HandoverReply;
use super::stream::{StreamInfo, StreamIo};

/// A command to a shard.
///
/// The queue of commands is unbounded. That is safe: a revocation must never be dropped, and it follows a
/// committed database change, so the disk limits their rate. Other callers wait for a reply before
/// their next command. The receiver of a reply may be gone when it is sent.
pub(super) enum Command {
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
    /// Record what the client of the allocation with this relayed address reports to have received.
    Reports {
        relayed: SocketAddr,
        reports: Vec<StreamReport>,
    },
    Reconfigure(Box<Settings>),
    /// Deny these peers: addresses of this host that will be offered next.
    Deny {
        addresses: Vec<IpAddr>,
        done: oneshot::Sender<()>,
    },
    /// Use these addresses of this host.
    SetHost(Arc<Host>),
    Ping(oneshot::Sender<()>),
    /// A stream was accepted. The shard that gets the `io` serves it. A stream holds its permit until every shard
    /// has handled both this command and `StreamClosed`, so their number is limited by the permits.
    StreamOpened {
        route: Route,
        info: Arc<StreamInfo>,
        io: Option<Box<dyn StreamIo>>,
    },
    StreamClosed {
        stream: u32,
    },
    Stop,
    /// Stop, and reply with the state and the sockets for the next process.
    HandOver(HandoverReply),
}

/// The sending side. Cheap to clone.
#[derive(Clone)]
pub(super) struct Mailbox {
    commands: mpsc::Sender<Command>,
    waker: Arc<Waker>,
    /// Whether the shard has been woken and has not called `clear_wakeup` yet.
    awake: Arc<AtomicBool>,
}

/// The receiving side of the shard.
pub(super) struct Inbox {
    commands: mpsc::Receiver<Command>,
    waker: Arc<Waker>,
    awake: Arc<AtomicBool>,
}

/// Creates a mailbox whose commands wake `waker`.
pub(super) fn mailbox(waker: Waker) -> (Mailbox, Inbox) {
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
    pub(super) fn send(&self, command: Command) {
        // A stopped shard has no allocations left to revoke.
        let _ = self.commands.send(command);
        self.wake();
    }

    /// Wakes the shard, unless it has been woken already: a wake-up is a system call.
    pub(super) fn wake(&self) {
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
    /// Lets the next command wake the shard again. Call this before reading commands and packets.
    pub(super) fn clear_wakeup(&mut self) {
        // A swap, not a store: with acquire ordering, the queues are not read before the flag is cleared.
        self.awake.swap(false, Ordering::AcqRel);
    }

    /// Wakes the shard for another tick, without a command.
    pub(super) fn rearm(&mut self) {
        self.awake.store(true, Ordering::Release);
        wake(&self.waker);
    }

    pub(super) fn try_recv(&mut self) -> Option<Command> {
        self.commands.try_recv().ok()
    }
}
