//! A shard without a thread, whose commands a test reads.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::handle::Handle;
use super::mailbox::{Command, Inbox, Mailbox, mailbox};

pub(crate) struct FakeShard {
    inbox: Inbox,
    /// Keeps the waker alive.
    _poll: mio::Poll,
}

impl FakeShard {
    pub(super) fn shard() -> (Mailbox, FakeShard) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (mailbox, inbox) = mailbox(waker);
        (mailbox, FakeShard { inbox, _poll: poll })
    }

    /// The next command, if there is one.
    pub(super) fn next_command(&mut self) -> Option<Command> {
        self.inbox.try_recv()
    }

    /// The reply channel of the next command, which revokes allocations; `None` if there is no command.
    pub(crate) fn next_revocation(&mut self) -> Option<oneshot::Sender<usize>> {
        match self.inbox.try_recv()? {
            Command::Revoke { freed, .. } | Command::CloseRoom { freed, .. } => Some(freed),
            _ => panic!("a command that revokes nothing"),
        }
    }
}

impl Handle {
    /// A handle for one fake shard.
    pub(crate) fn with_fake_shard() -> (Handle, FakeShard) {
        let (mailbox, shard) = FakeShard::shard();
        (Handle::with_shards(Arc::new([mailbox])), shard)
    }
}
