//! How other threads reach a shard: bounded mail from streams, and orders from the house.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bytes::BytesMut;
use mio::Waker;
use tokio::sync::{mpsc as async_mpsc, oneshot};

use crate::turn::{Changes, Page, Route, Scope};

use super::stream::Outbound;

/// Chunks of stream data that may wait for the shard; past that, streams wait.
const MAIL: usize = 256;

/// From a stream's task.
pub enum Mail {
    Opened {
        route: Route,
        outbound: Arc<Outbound>,
    },
    /// Whole frames, one after the other.
    Frames {
        stream: u32,
        bytes: BytesMut,
    },
    Closed {
        stream: u32,
    },
}

/// From the house. Rare, and never dropped. Whoever asked may have gone when the answer is there.
pub enum Order {
    Revoke {
        user: Box<str>,
        scope: Scope,
        freed: oneshot::Sender<usize>,
    },
    CloseRoom {
        room: Box<str>,
        freed: oneshot::Sender<usize>,
    },
    Sessions {
        from: usize,
        answer: oneshot::Sender<Page>,
    },
    Reconfigure(Box<Changes>),
    Ping(oneshot::Sender<()>),
    Stop,
}

/// The sending side; cheap to clone.
#[derive(Clone)]
pub struct Mailbox {
    mail: async_mpsc::Sender<Mail>,
    orders: mpsc::Sender<Order>,
    waker: Arc<Waker>,
    /// Whether the shard has been woken and has not looked yet.
    awake: Arc<AtomicBool>,
}

/// The shard's side.
pub struct Inbox {
    mail: async_mpsc::Receiver<Mail>,
    orders: mpsc::Receiver<Order>,
    waker: Arc<Waker>,
    awake: Arc<AtomicBool>,
}

pub fn mailbox(waker: Waker) -> (Mailbox, Inbox) {
    let (mail, mail_inbox) = async_mpsc::channel(MAIL);
    let (orders, orders_inbox) = mpsc::channel();
    let awake = Arc::new(AtomicBool::new(false));
    let waker = Arc::new(waker);
    let mailbox = Mailbox {
        mail,
        orders,
        waker: waker.clone(),
        awake: awake.clone(),
    };
    let inbox = Inbox {
        mail: mail_inbox,
        orders: orders_inbox,
        waker,
        awake,
    };
    (mailbox, inbox)
}

impl Mailbox {
    /// Hands mail over, waiting while the shard has too much of it. False where the shard is gone.
    pub async fn send(&self, mail: Mail) -> bool {
        let sent = self.mail.send(mail).await.is_ok();
        self.wake();
        sent
    }

    pub fn order(&self, order: Order) {
        // A shard that is gone has nothing left to revoke.
        let _ = self.orders.send(order);
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
    pub fn look(&mut self) {
        // A swap, not a store: what is looked at next must not be read before this is seen.
        self.awake.swap(false, Ordering::AcqRel);
    }

    /// Looks again in the next turn, although nobody sends.
    pub fn again(&mut self) {
        self.awake.store(true, Ordering::Release);
        wake(&self.waker);
    }

    pub fn mail(&mut self) -> Option<Mail> {
        self.mail.try_recv().ok()
    }

    pub fn order(&mut self) -> Option<Order> {
        self.orders.try_recv().ok()
    }
}
