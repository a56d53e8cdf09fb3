//! Commands of other threads to a shard.

use crate::clock::Now;

use super::Shard;
use crate::relay::mailbox::Command;

impl Shard {
    pub(super) fn handle_commands(&mut self, now: Now) {
        self.inbox.clear_wakeup();
        while let Some(command) = self.inbox.try_recv() {
            self.handle_command(now, command);
        }
    }

    /// Executes a command. Nobody may wait for its reply any more, so errors of the reply are ignored.
    fn handle_command(&mut self, now: Now, command: Command) {
        match command {
            Command::Revoke { user, scope, freed } => {
                let count = self.server.revoke(&user, &scope);
                tracing::debug!(user = &*user, count, "allocations revoked");
                let _ = freed.send(count);
            }
            Command::CloseRoom { room, freed } => {
                let count = self.server.close_room(&room);
                tracing::debug!(room = &*room, count, "allocations revoked");
                let _ = freed.send(count);
            }
            Command::EndSession { listed, freed } => {
                let _ = freed.send(self.server.end_session(&listed));
            }
            Command::Sessions { from, answer } => {
                let _ = answer.send(self.server.sessions(now.mono, from));
            }
            Command::Reports { relayed, reports } => {
                self.server.record_reports(now, relayed, &reports);
            }
            Command::Reconfigure(settings) => self.server.reconfigure(*settings),
            Command::Deny { addresses, done } => {
                self.server.deny_peers(&addresses);
                let _ = done.send(());
            }
            Command::SetHost(host) => self.server.set_host(now, host),
            Command::Ping(answer) => {
                let _ = answer.send(());
            }
            Command::StreamOpened { route, info, io } => {
                self.server.stream_opened(&route);
                let registry = self.poll.registry();
                let opened = self.streams.open(registry, route, info, io, now.mono);
                if let Err(error) = opened {
                    self.end_stream(route.via, &error);
                }
            }
            Command::StreamClosed { stream } => self.forget_stream(stream),
            Command::Stop => self.stopping = true,
            Command::HandOver(handover_reply) => {
                self.handover_reply = Some(handover_reply);
                self.stopping = true;
            }
        }
    }
}
