//! The commands that a node has not got an answer to, in order.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::bus::redis::records;
use crate::clock::Mono;
use crate::room::{NodeId, RemoteFrame, Request};

/// Bytes of messages that wait; further ones are dropped.
const MAX_QUEUED_BYTES: usize = 64 << 20;
/// A message that is not sent within this time is dropped.
const MAX_MESSAGE_AGE: Duration = Duration::from_secs(5);
/// A batch that is larger is closed.
const MAX_BATCH_BYTES: usize = 256 << 10;

/// A command that is sent until Redis answers it.
#[derive(Debug)]
pub(super) struct Command {
    pub work: Work,
    queued: Mono,
}

#[derive(Debug)]
pub(super) enum Work {
    /// A change of the roster. Each has the next number, and is carried out once.
    Roster {
        number: u64,
        room: Arc<str>,
        request: Request,
    },
    /// The node has restated all its rooms.
    Restated { number: u64 },
    /// A message for one node, or for all others.
    Tell {
        number: u64,
        node: Option<NodeId>,
        bytes: Vec<u8>,
    },
    /// An entry for another node's inbox. The receiver drops numbers that it has seen.
    Messages {
        node: NodeId,
        number: u64,
        frames: usize,
        batch: Vec<u8>,
    },
}

/// Commands that wait or are in flight, and messages that are not in a command yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    commands: VecDeque<Command>,
    /// The first commands are in flight.
    sent: usize,
    /// The number of the last command that changes the roster.
    number: u64,
    open: Vec<Batch>,
    /// The number of the last messages to each node.
    numbers: HashMap<NodeId, u64>,
    /// Bytes of messages.
    bytes: usize,
    /// Frames that were queued.
    frames: u64,
    /// Frames that were dropped.
    dropped: u64,
    /// Messages of [`Queue::push_tell`] that were dropped.
    messages_dropped: u64,
}

#[derive(Debug)]
struct Batch {
    node: NodeId,
    queued: Mono,
    frames: usize,
    bytes: Vec<u8>,
}

impl Queue {
    /// The number before those of the waiting commands: the last one that Redis may have seen.
    pub(super) fn last_number(&self) -> u64 {
        let is_numbered = |command: &&Command| !matches!(command.work, Work::Messages { .. });
        self.number - self.commands.iter().filter(is_numbered).count() as u64
    }

    pub(super) fn frames(&self) -> u64 {
        self.frames
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn messages_dropped(&self) -> u64 {
        self.messages_dropped
    }

    pub(super) fn is_empty(&self) -> bool {
        self.commands.is_empty() && self.open.is_empty()
    }

    /// Requests to restate that Redis has not answered.
    pub(super) fn restates(&self) -> usize {
        let is_restate = |command: &&Command| matches!(&command.work, Work::Roster { request, .. } if matches!(request, Request::Restate { .. }));
        self.commands.iter().filter(is_restate).count()
    }

    pub(super) fn push_roster(&mut self, room: Arc<str>, request: Request, now: Mono) {
        self.close_batches();
        self.number += 1;
        let number = self.number;
        self.push(
            Work::Roster {
                number,
                room,
                request,
            },
            now,
        );
    }

    pub(super) fn push_restated(&mut self, now: Mono) {
        self.close_batches();
        self.number += 1;
        let number = self.number;
        self.push(Work::Restated { number }, now);
    }

    /// Queues a message behind everything before it. Returns whether there is space for it.
    pub(super) fn push_tell(&mut self, node: Option<NodeId>, bytes: Vec<u8>, now: Mono) -> bool {
        if self.bytes + bytes.len() > MAX_QUEUED_BYTES {
            return false;
        }
        self.close_batches();
        self.bytes += bytes.len();
        self.number += 1;
        let number = self.number;
        self.push(
            Work::Tell {
                number,
                node,
                bytes,
            },
            now,
        );
        true
    }

    pub(super) fn push_frame(&mut self, room: &str, node: NodeId, sent: &RemoteFrame, now: Mono) {
        if self.bytes + sent.frame.len() > MAX_QUEUED_BYTES {
            self.dropped += 1;
            return;
        }
        let is_for_node = |batch: &Batch| batch.node == node && batch.bytes.len() < MAX_BATCH_BYTES;
        let index = match self.open.iter().position(is_for_node) {
            Some(index) => index,
            None => {
                self.open.push(Batch {
                    node,
                    queued: now,
                    frames: 0,
                    bytes: Vec::new(),
                });
                self.open.len() - 1
            }
        };
        let batch = &mut self.open[index];
        let before = batch.bytes.len();
        records::write(&mut batch.bytes, room, sent);
        batch.frames += 1;
        self.frames += 1;
        self.bytes += batch.bytes.len() - before;
    }

    /// Makes commands of the messages, so that they stay before the commands that follow.
    fn close_batches(&mut self) {
        for batch in std::mem::take(&mut self.open) {
            let number = self.numbers.entry(batch.node.clone()).or_default();
            *number += 1;
            let work = Work::Messages {
                node: batch.node,
                number: *number,
                frames: batch.frames,
                batch: batch.bytes,
            };
            self.push(work, batch.queued);
        }
    }

    fn push(&mut self, work: Work, queued: Mono) {
        self.commands.push_back(Command { work, queued });
    }

    /// Returns the next command to send.
    pub(super) fn send(&mut self) -> Option<&Work> {
        self.close_batches();
        let command = self.commands.get(self.sent)?;
        self.sent += 1;
        Some(&command.work)
    }

    /// Removes the command that was answered: the first one.
    pub(super) fn answered(&mut self) -> Option<Work> {
        let command = self.commands.pop_front()?;
        self.sent = self.sent.saturating_sub(1);
        if let Work::Messages { batch: bytes, .. } | Work::Tell { bytes, .. } = &command.work {
            self.bytes -= bytes.len();
        }
        Some(command.work)
    }

    /// Sends all commands again, in order.
    pub(super) fn unsend(&mut self) {
        self.sent = 0;
    }

    /// Drops messages that waited too long.
    pub(super) fn expire(&mut self, now: Mono) {
        self.close_batches();
        let (mut bytes, mut dropped, mut index, sent) = (0, 0, 0, self.sent);
        self.commands.retain(|command| {
            index += 1;
            match &command.work {
                Work::Messages { frames, batch, .. }
                    if index > sent && now.since(command.queued) > MAX_MESSAGE_AGE =>
                {
                    bytes += batch.len();
                    dropped += *frames as u64;
                    false
                }
                _ => true,
            }
        });
        self.bytes -= bytes;
        self.dropped += dropped;
    }

    /// Drops all commands, because they are about a roster that does not exist any more.
    pub(super) fn clear(&mut self) {
        self.close_batches();
        while let Some(work) = self.answered() {
            match work {
                Work::Messages { frames, .. } => self.dropped += frames as u64,
                Work::Tell { .. } => self.messages_dropped += 1,
                Work::Roster { .. } | Work::Restated { .. } => {}
            }
        }
        self.sent = 0;
    }

    /// Forgets a node that is gone.
    pub(super) fn forget(&mut self, node: &NodeId) {
        self.numbers.remove(node);
    }

    /// The number of the last messages to each node.
    pub(super) fn numbers(&self) -> &HashMap<NodeId, u64> {
        &self.numbers
    }

    /// Continues after these numbers.
    pub(super) fn resume(&mut self, number: u64, numbers: HashMap<NodeId, u64>) {
        self.number = number;
        self.numbers = numbers;
    }

    /// Begins anew, as another incarnation of the node.
    pub(super) fn restart_numbers(&mut self) {
        self.numbers.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::room::{ConnectionId, Departure};

    const NOW: Mono = Mono(0);

    fn frame(bytes: usize) -> RemoteFrame {
        RemoteFrame {
            user: "alice".into(),
            from: ConnectionId::new(1).unwrap(),
            to: None,
            is_extended: false,
            frame: Bytes::from(vec![0; bytes]),
        }
    }

    fn leave() -> Request {
        Request::Leave {
            user: "alice".into(),
            connection: ConnectionId::new(1).unwrap(),
            reason: Departure::Lost,
        }
    }

    fn push(queue: &mut Queue, node: &str, bytes: usize, now: Mono) {
        queue.push_frame("lobby", node.into(), &frame(bytes), now);
    }

    #[test]
    fn frames_for_one_node_share_a_command_that_stays_before_later_commands() {
        let mut queue = Queue::default();
        push(&mut queue, "n1", 10, NOW);
        push(&mut queue, "n2", 10, NOW);
        push(&mut queue, "n1", 10, NOW);
        queue.push_roster("lobby".into(), leave(), NOW);
        push(&mut queue, "n1", 10, NOW);
        let mut sent = Vec::new();
        while let Some(work) = queue.send() {
            sent.push(match work {
                Work::Messages {
                    node,
                    number,
                    frames,
                    ..
                } => format!("{node} {number}: {frames}"),
                Work::Roster { number, .. }
                | Work::Restated { number }
                | Work::Tell { number, .. } => {
                    format!("roster {number}")
                }
            });
        }
        assert_eq!(sent, ["n1 1: 2", "n2 1: 1", "roster 1", "n1 2: 1"]);
        queue.unsend();
        assert!(matches!(
            queue.send(),
            Some(Work::Messages { number: 1, .. })
        ));
    }

    #[test]
    fn messages_are_dropped_after_five_seconds_and_changes_of_the_roster_never() {
        let mut queue = Queue::default();
        push(&mut queue, "n1", 10, NOW);
        queue.push_roster("lobby".into(), leave(), NOW);
        queue.expire(NOW + MAX_MESSAGE_AGE);
        assert_eq!((queue.commands.len(), queue.dropped()), (2, 0));
        queue.expire(NOW + MAX_MESSAGE_AGE + Duration::from_millis(1));
        assert_eq!(
            (queue.commands.len(), queue.dropped(), queue.bytes),
            (1, 1, 0)
        );
    }

    #[test]
    fn messages_of_more_than_64_mib_are_dropped() {
        let mut queue = Queue::default();
        let bytes = 1 << 20;
        for _ in 0..70 {
            push(&mut queue, "n1", bytes, NOW);
        }
        let waiting = MAX_QUEUED_BYTES / bytes - 1;
        assert_eq!(queue.dropped(), 70 - waiting as u64);
        for _ in 0..waiting {
            queue.send();
            queue.answered();
        }
        assert!(queue.is_empty() && queue.bytes == 0);
    }
}
