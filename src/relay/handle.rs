//! The interface of the relay for the rest of the process.
//!
//! A notification first updates the shared revocations, which every new allocation is checked against,
//! and then sends a command to every shard, which ends existing allocations. So no allocation slips through
//! between the two.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::Mono;
use crate::config;
use crate::credential::{Credentials, Revocations, RevokedGenerations};
use crate::ingress::{Accepted, AdmissionLimits, Limits};
use crate::turn::{
    Alternates, BandwidthUse, Directory, PathChange, Quotas, RoomRelay, RoomRelays, Scope, Session,
    StreamReport,
};

use super::acceptor::Acceptor;
use super::counters::Counters;
use super::current_addresses::{CurrentAddresses, relayed_address_texts};
use super::external_ip::ExternalIpSettings;
use super::mailbox::{Command, Mailbox};
use super::settings;
use super::totals::RelayTotals;
use super::udp_listeners::UdpListeners;

/// Timeout for the reply of a shard. Under full load, a shard still handles commands thousands of times a
/// second.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Controls a relay. Cheap to clone. The default handle has no shards.
#[derive(Clone, Default)]
pub struct Handle {
    pub(super) revocations: Arc<Revocations>,
    pub(super) quotas: Arc<Quotas>,
    /// `None` if this server is the only one.
    pub(super) room_relays: Option<Arc<RoomRelays>>,
    pub(super) admission: Arc<AdmissionLimits>,
    pub(super) acceptor: Option<Arc<Acceptor>>,
    pub(super) shards: Arc<[Mailbox]>,
    pub(super) host_updates: HostUpdates,
    /// The shards of relayed addresses; `None` without shards.
    pub(super) directory: Option<Arc<Directory>>,
    /// `None` without shards.
    pub(super) path_changes: Option<broadcast::Sender<PathChange>>,
    pub(super) udp_listeners: UdpListeners,
    /// Of each shard.
    pub(super) counters: Arc<[Arc<Counters>]>,
}

/// This host's addresses in force, and a channel for new settings of them.
#[derive(Clone)]
pub(super) struct HostUpdates {
    current: watch::Receiver<CurrentAddresses>,
    wanted: Arc<watch::Sender<ExternalIpSettings>>,
}

impl HostUpdates {
    pub(super) fn new(
        current: watch::Receiver<CurrentAddresses>,
        wanted: watch::Sender<ExternalIpSettings>,
    ) -> HostUpdates {
        HostUpdates {
            current,
            wanted: Arc::new(wanted),
        }
    }
}

impl Default for HostUpdates {
    fn default() -> HostUpdates {
        let (_, current) = watch::channel(CurrentAddresses::default());
        HostUpdates::new(current, watch::channel(ExternalIpSettings::default()).0)
    }
}

/// The pending number of allocations that a command ends. Dropping it does not cancel the command.
#[derive(Debug, Default)]
pub struct FreedCount(Vec<oneshot::Receiver<usize>>);

impl FreedCount {
    /// Waits until every shard has executed the command, for at most a second, and returns the number of
    /// ended allocations. A shard that does not reply in time is not counted.
    pub async fn count(self) -> usize {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let answers = self.0.into_iter().map(|freed| timeout_at(deadline, freed));
        let counts = join_all(answers).await;
        counts.into_iter().flatten().flatten().sum()
    }
}

impl Handle {
    /// The datagrams that the kernel dropped because the receive buffer of a listener was full, by its
    /// address.
    pub fn receive_drops(&self) -> BTreeMap<SocketAddr, u64> {
        self.udp_listeners.receive_drops()
    }

    /// The traffic of this relay since the start of the process.
    pub fn totals(&self) -> RelayTotals {
        let mut totals = RelayTotals::default();
        for shard in self.counters.iter() {
            shard.add_to(&mut totals);
        }
        totals.dropped += self.receive_drops().values().sum::<u64>();
        totals
    }

    /// Adds a room. Credentials whose name has this id after a `/` are bound to the room.
    pub fn opened(&self, room: &str) {
        self.revocations.add_rooms([room]);
    }

    /// Allows allocations with credentials that are bound to `room`, after `user` has joined it: those of this
    /// generation of the membership, and of later ones. Ends those of an earlier membership whose end was not
    /// reported.
    pub fn joined(&self, user: &str, room: &str, generation: u64) {
        self.opened(room);
        let earlier = RevokedGenerations::Before(generation);
        let known = self.revocations.restore_membership(user, room, generation);
        if generation > 0 && earlier.is_more_than(known) {
            self.revoke(user, Scope::Room(room.into(), earlier));
        }
    }

    /// Allows allocations of `user` in `room` again, with credentials of this generation or later ones.
    pub fn unbanned(&self, user: &str, room: &str, generation: u64) {
        self.revocations.restore_membership(user, room, generation);
    }

    /// Ends the allocations of `user` that are bound to `room` and of these generations, after the user has left
    /// it. If the user is in no other room (`elsewhere` is false), unbound allocations end as well.
    pub fn left(
        &self,
        user: &str,
        room: &str,
        generations: RevokedGenerations,
        elsewhere: bool,
    ) -> FreedCount {
        self.opened(room);
        self.revocations.revoke_membership(user, room, generations);
        let scope = if elsewhere {
            Scope::Room
        } else {
            Scope::RoomAndUnbound
        };
        self.revoke(user, scope(room.into(), generations))
    }

    /// Ends all allocations that are bound to `room`, after it was closed.
    pub fn closed(&self, room: &str) -> FreedCount {
        self.opened(room);
        self.revocations.revoke_room(room);
        FreedCount(self.ask(|freed| Command::CloseRoom {
            room: room.into(),
            freed,
        }))
    }

    /// Ends all allocations of a `user` who was disabled or deleted. `generation` is the generation of
    /// the user's next tokens.
    pub fn removed(&self, user: &str, generation: u64) -> FreedCount {
        self.revocations.revoke_user(user);
        self.signed_out(user, generation)
    }

    /// Ends the tokens of `user` that are older than this generation, and the user's allocations. A
    /// credential that is still valid can create new allocations.
    pub fn signed_out(&self, user: &str, generation: u64) -> FreedCount {
        self.revocations.end_tokens(user, generation);
        self.revoke(user, Scope::All)
    }

    /// Allows allocations of `user` again, after the user was enabled.
    pub fn enabled(&self, user: &str) {
        self.revocations.restore_user(user);
    }

    /// Ends the allocation of a listed session. The same credential can create another one.
    pub fn end_session(&self, listed: &Session) -> FreedCount {
        FreedCount(self.ask(|freed| Command::EndSession {
            listed: Box::new(listed.clone()),
            freed,
        }))
    }

    /// Serves a TURN stream from an HTTP listener like one from `turn.listen` or `turn.tls_listen`.
    pub fn serve_stream(&self, accepted: Accepted) {
        if let Some(acceptor) = &self.acceptor {
            acceptor.receive(accepted);
        }
    }

    /// The sessions of all shards. A shard that does not reply within a second is left out.
    pub async fn sessions(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for shard in self.shards.iter() {
            // The shard relays media between two pages.
            let mut next = Some(0);
            while let Some(from) = next {
                let (answer, page) = oneshot::channel();
                shard.send(Command::Sessions { from, answer });
                let Ok(Ok(page)) = timeout(ANSWER_TIMEOUT, page).await else {
                    break;
                };
                sessions.extend(page.sessions);
                next = page.next;
            }
        }
        sessions
    }

    /// Reports clients whose path has died in the middle of a call, or is back. `None` without shards.
    pub fn path_changes(&self) -> Option<broadcast::Receiver<PathChange>> {
        Some(self.path_changes.as_ref()?.subscribe())
    }

    /// Records what the client of a session reports to have received from this relay.
    pub fn record_reports(&self, relayed: SocketAddr, reports: Vec<StreamReport>) {
        let Some(directory) = &self.directory else {
            return;
        };
        let shard = directory.shard_of_port(relayed.port());
        if let Some(shard) = self.shards.get(usize::from(shard)) {
            shard.send(Command::Reports { relayed, reports });
        }
    }

    /// Applies new settings: credentials, peers, limits. Existing allocations stay, but lose permissions and
    /// channels that the new policy denies, before their next packet. `max_allocations` is that of
    /// [`Options`](super::Options).
    pub fn reconfigure(
        &self,
        turn: &config::Turn,
        trusted_proxies: &[IpNet],
        credentials: Credentials,
        max_allocations: usize,
    ) {
        self.quotas.limit(
            max_allocations,
            turn.max_allocations_per_user,
            turn.max_allocations_per_address,
        );
        self.admission.live.set(Limits::turn(turn, trusted_proxies));
        let settings = settings::settings(turn, credentials);
        for shard in self.shards.iter() {
            shard.send(Command::Reconfigure(Box::new(settings.clone())));
        }
    }

    /// Sets new values of `turn.external_ip` and `ice.stun_urls`. The addresses take effect after their
    /// query is answered; existing allocations keep theirs.
    pub fn set_external_ip(&self, external_ip: &[String], stun_urls: &[String]) {
        let wanted = ExternalIpSettings {
            entries: external_ip.to_vec(),
            stun_urls: stun_urls.to_vec(),
        };
        self.host_updates.wanted.send_replace(wanted);
    }

    /// The relayed address of each family for clients on other hosts, IPv4 first, as text.
    pub fn relayed_addresses(&self) -> [String; 2] {
        relayed_address_texts(&self.host_updates.current.borrow().host)
    }

    /// Reports changes of this host's addresses.
    pub fn address_changes(&self) -> watch::Receiver<CurrentAddresses> {
        self.host_updates.current.clone()
    }

    /// A snapshot of this host's addresses and the known addresses of `turn.external_ip`.
    pub fn current_addresses(&self) -> CurrentAddresses {
        self.host_updates.current.borrow().clone()
    }

    /// The bandwidth that users have used recently.
    pub(super) fn bandwidth_use(&self, now: Mono) -> Vec<BandwidthUse> {
        self.quotas.bandwidth_use(now)
    }

    /// Records that this server relays a room, or that another one with these addresses does.
    pub fn set_room_relay(&self, room: &str, elsewhere: Option<&[SocketAddr]>) {
        if let Some(room_relays) = &self.room_relays {
            let relay = elsewhere.map_or(RoomRelay::Here, |servers| {
                RoomRelay::Elsewhere(Alternates::new(servers))
            });
            room_relays.set(room, relay);
        }
    }

    /// Forgets which server relays a room.
    pub fn forget_room_relay(&self, room: &str) {
        if let Some(room_relays) = &self.room_relays {
            room_relays.forget(room);
        }
    }

    /// Rejects new allocations, except those for rooms that this server relays. Existing ones can still be
    /// refreshed.
    pub fn drain(&self) {
        self.quotas.close();
    }

    /// The number of existing allocations.
    pub fn allocations(&self) -> usize {
        self.quotas.held()
    }

    /// Whether every shard replies within a second.
    pub async fn is_alive(&self) -> bool {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let answers = self.ask(Command::Ping).into_iter();
        let answers = join_all(answers.map(|alive| timeout_at(deadline, alive))).await;
        answers.iter().all(|answer| matches!(answer, Ok(Ok(()))))
    }

    fn revoke(&self, user: &str, scope: Scope) -> FreedCount {
        FreedCount(self.ask(|freed| Command::Revoke {
            user: user.into(),
            scope: scope.clone(),
            freed,
        }))
    }

    /// Sends a command to every shard, and returns the channels of their replies.
    fn ask<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<oneshot::Receiver<T>> {
        let mut replies = Vec::new();
        for shard in self.shards.iter() {
            let (reply, receiver) = oneshot::channel();
            shard.send(command(reply));
            replies.push(receiver);
        }
        replies
    }

    #[cfg(test)]
    pub(super) fn with_shards(shards: Arc<[Mailbox]>) -> Handle {
        Handle {
            shards,
            ..Handle::default()
        }
    }
}

#[cfg(test)]
mod tests;
