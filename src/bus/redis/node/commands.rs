//! The commands of a node, as Redis gets them.

use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, cmd};

use super::queue::Work;
use super::returns::RETURN_TIMEOUT;
use crate::bus::redis::scripts::{Script, Scripts};
use crate::room::{ConnectionId, Departure, NodeId, Request};

/// Entries that an inbox keeps for a node that does not read it.
const MAX_INBOX_ENTRIES: usize = 10_000;

/// The parts of each command that name its node.
#[derive(Debug)]
pub(super) struct Identity {
    pub scripts: Arc<Scripts>,
    pub prefix: String,
    pub id: NodeId,
    pub world: String,
}

impl Identity {
    /// The command for work of the queue.
    pub(super) fn command(&self, work: &Work) -> Cmd {
        match work {
            Work::Messages {
                node,
                number,
                batch,
                ..
            } => self.messages(node, *number, batch),
            Work::Restated { number } => {
                let mut command = self.script(Script::Restated);
                command.arg(*number);
                command
            }
            Work::Tell {
                number,
                node,
                bytes,
            } => {
                let mut command = self.script(Script::Tell);
                command.arg(*number).arg(node.as_deref().unwrap_or(""));
                command.arg(bytes);
                command
            }
            Work::Roster {
                number,
                room,
                request,
            } => self.roster(*number, room, request),
        }
    }

    /// Reads entries after `position`, at most `count`. Waits for one for `block`, or not at all.
    pub(super) fn read(&self, position: &str, count: usize, block: Option<Duration>) -> Cmd {
        let mut read = cmd("XREAD");
        read.arg("COUNT").arg(count);
        if let Some(block) = block {
            read.arg("BLOCK").arg(block.as_millis() as u64);
        }
        read.arg("STREAMS")
            .arg(self.key("i:", &self.id))
            .arg(position);
        read
    }

    pub(super) fn messages(&self, node: &NodeId, number: u64, batch: &[u8]) -> Cmd {
        let mut command = cmd("XADD");
        command
            .arg(self.key("i:", node))
            .arg(&["NOMKSTREAM", "MAXLEN", "~"])
            .arg(MAX_INBOX_ENTRIES)
            .arg("*")
            .arg("t")
            .arg("messages")
            .arg("n")
            .arg(&*self.id)
            .arg("k")
            .arg(number)
            .arg("b")
            .arg(batch);
        command
    }

    pub(super) fn roster(&self, number: u64, room: &str, request: &Request) -> Cmd {
        match request {
            Request::Enter {
                user,
                connection,
                resume,
                description,
            } => {
                let mut command = self.script(Script::Enter);
                command
                    .arg(number)
                    .arg(room)
                    .arg(&**user)
                    .arg(connection.number())
                    .arg(u8::from(*resume))
                    .arg(description.to_text());
                command
            }
            Request::Describe {
                user,
                connection,
                description,
            } => {
                let mut command = self.script(Script::Describe);
                command
                    .arg(number)
                    .arg(room)
                    .arg(&**user)
                    .arg(connection.number())
                    .arg(description.to_text());
                command
            }
            Request::Suspend { user, connection } => {
                let mut command = self.script(Script::Suspend);
                command
                    .arg(number)
                    .arg(room)
                    .arg(&**user)
                    .arg(connection.number())
                    .arg(RETURN_TIMEOUT.as_micros() as u64);
                command
            }
            Request::Leave {
                user,
                connection,
                reason,
            } => self.leave(number, room, user, *connection, &self.id, *reason),
            Request::End {
                user,
                place,
                reason,
            } => self.leave(number, room, user, place.connection, &place.node, *reason),
            Request::Restate {
                number: request,
                members,
            } => {
                let mut command = self.script(Script::Restate);
                command.arg(number).arg(room).arg(*request);
                for member in members {
                    let description = member.description.as_ref().map(|one| one.to_text());
                    command
                        .arg(&*member.user)
                        .arg(member.connection.number())
                        .arg(member.age.unwrap_or(0))
                        .arg(description.unwrap_or_default());
                }
                command
            }
            // Never queued: see `Node::request`.
            Request::Send { .. } | Request::Resync | Request::Admitted { .. } => cmd("PING"),
        }
    }

    fn leave(
        &self,
        number: u64,
        room: &str,
        user: &str,
        connection: ConnectionId,
        node: &NodeId,
        reason: Departure,
    ) -> Cmd {
        let mut command = self.script(Script::Leave);
        command
            .arg(number)
            .arg(room)
            .arg(user)
            .arg(connection.number())
            .arg(&**node)
            .arg(reason.label());
        command
    }

    pub(super) fn script(&self, script: Script) -> Cmd {
        let mut command = self.evalsha(script);
        command.arg(&self.prefix).arg(&self.world).arg(&*self.id);
        command
    }

    pub(super) fn evalsha(&self, script: Script) -> Cmd {
        let mut command = cmd("EVALSHA");
        command.arg(self.scripts.hash(script)).arg(0);
        command
    }

    pub(super) fn key(&self, kind: &str, id: &str) -> String {
        format!("{}{kind}{id}", self.prefix)
    }
}
