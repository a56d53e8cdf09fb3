//! What the rest of the house may tell the relay, and ask of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ipnet::IpNet;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock::Mono;
use crate::config;
use crate::credential::{Credentials, Revocations};
use crate::ingress::{Accepted, AdmissionLimits, Limits};
use crate::turn::{BandwidthUse, Quotas, Scope, Session};

use super::acceptor::Acceptor;
use super::address_watch::{ExternalIpSettings, HostState, relayed_address_texts};
use super::mailbox::{Command, Mailbox};
use super::settings;

/// For an answer of a shard: it looks at its orders thousands of times in this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Tells every shard who came, left or was removed. Cheap to clone; the default one relays nothing.
#[derive(Clone, Default)]
pub struct Handle {
    revocations: Arc<Revocations>,
    quotas: Arc<Quotas>,
    admission: Arc<AdmissionLimits>,
    acceptor: Option<Arc<Acceptor>>,
    shards: Arc<[Mailbox]>,
    host_updates: HostUpdates,
}

/// The known addresses of this host, and a channel for new names to query.
#[derive(Clone)]
pub struct HostUpdates {
    current: watch::Receiver<HostState>,
    wanted: Arc<watch::Sender<ExternalIpSettings>>,
}

impl HostUpdates {
    pub(super) fn new(
        current: watch::Receiver<HostState>,
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
        let (_, current) = watch::channel(HostState::default());
        HostUpdates::new(current, watch::channel(ExternalIpSettings::default()).0)
    }
}

/// What an order frees. The order stands, whether anybody waits for the count or drops this.
#[derive(Debug, Default)]
pub struct FreedCount(Vec<oneshot::Receiver<usize>>);

impl FreedCount {
    /// How many allocations were freed, once every shard has done so. A shard that does not answer
    /// within a second is not waited for: what it has yet to free is not counted.
    pub async fn count(self) -> usize {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let answers = self.0.into_iter().map(|freed| timeout_at(deadline, freed));
        let counts = join_all(answers).await;
        counts.into_iter().flatten().flatten().sum()
    }
}

impl Handle {
    pub(super) fn new(
        revocations: Arc<Revocations>,
        quotas: Arc<Quotas>,
        admission: Arc<AdmissionLimits>,
        acceptor: Arc<Acceptor>,
        shards: Arc<[Mailbox]>,
        host_updates: HostUpdates,
    ) -> Handle {
        Handle {
            revocations,
            quotas,
            admission,
            acceptor: Some(acceptor),
            shards,
            host_updates,
        }
    }

    /// Adds a room id: names with this id after a `/` are bound to the room.
    pub fn opened(&self, room: &str) {
        self.revocations.add_rooms([room]);
    }

    /// `user` is a member of `room` (again): credentials bound to it may allocate.
    pub fn joined(&self, user: &str, room: &str) {
        self.opened(room);
        self.revocations.restore_membership(user, room);
    }

    /// `user` left `room`: allocations bound to it end, and unbound ones too where the user is a
    /// member of no room any more (`elsewhere` is false).
    pub fn left(&self, user: &str, room: &str, elsewhere: bool) -> FreedCount {
        self.opened(room);
        self.revocations.revoke_membership(user, room);
        let scope = if elsewhere {
            Scope::Room
        } else {
            Scope::RoomAndUnbound
        };
        self.revoke(user, scope(room.into()))
    }

    /// `room` was closed: allocations bound to it end, whoever has them.
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

    /// `user` was disabled and is no more: credentials of theirs may allocate.
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

    /// Who is using the relay, shard by shard. A shard that does not answer within a second is
    /// left out.
    pub async fn sessions(&self) -> Vec<Session> {
        let mut sessions = Vec::new();
        for shard in self.shards.iter() {
            // SessionPage by page: media passes between two of them.
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

    /// Puts new settings into force: credentials, peers, limits. Living allocations stay, but what
    /// the new policy denies is taken from them with their very next packet: its permissions and
    /// channels are withdrawn. `max_allocations` is that of [`super::Options`].
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
        let wanted = (external_ip.to_vec(), stun_urls.to_vec());
        self.host_updates.wanted.send_replace(wanted);
    }

    /// The relayed address of each family for clients on other hosts, IPv4 first, as text.
    pub fn relayed_addresses(&self) -> [String; 2] {
        relayed_address_texts(&self.host_updates.current.borrow().host)
    }

    /// A snapshot of this host's addresses and the known addresses of `turn.external_ip`.
    pub fn host_state(&self) -> HostState {
        self.host_updates.current.borrow().clone()
    }

    /// What users owe for bandwidth.
    pub(super) fn bandwidth_use(&self, now: Mono) -> Vec<BandwidthUse> {
        self.quotas.bandwidth_use(now)
    }

    /// Grants no allocation any more; those that live are refreshed and go on.
    pub fn drain(&self) {
        self.quotas.close();
    }

    /// Those that live.
    pub fn allocations(&self) -> usize {
        self.quotas.held()
    }

    /// Whether every shard answers within a second.
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

    /// Orders the same of every shard, and gives what will be their answers.
    fn ask<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<oneshot::Receiver<T>> {
        let ask = |shard: &Mailbox| {
            let (answer, receiver) = oneshot::channel();
            shard.send(command(answer));
            receiver
        };
        self.shards.iter().map(ask).collect()
    }
}

/// A shard that a test plays.
#[cfg(test)]
pub struct FakeShard {
    inbox: super::mailbox::Inbox,
    /// Keeps the waker alive.
    _poll: mio::Poll,
}

#[cfg(test)]
impl FakeShard {
    pub fn shard() -> (Mailbox, FakeShard) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        let (mailbox, inbox) = super::mailbox::mailbox(waker);
        (mailbox, FakeShard { inbox, _poll: poll })
    }

    /// The next command, if there is one.
    pub fn next_command(&mut self) -> Option<Command> {
        self.inbox.try_recv()
    }

    /// Where the next order wants to know how much it freed; `None` where none has come.
    pub fn next_revocation(&mut self) -> Option<oneshot::Sender<usize>> {
        match self.inbox.try_recv()? {
            Command::Revoke { freed, .. } | Command::CloseRoom { freed, .. } => Some(freed),
            _ => panic!("nothing to free"),
        }
    }
}

#[cfg(test)]
impl Handle {
    /// A handle for one shard that a test plays.
    pub fn with_fake_shard() -> (Handle, FakeShard) {
        let (mailbox, shard) = FakeShard::shard();
        let handle = Handle {
            shards: Arc::new([mailbox]),
            ..Handle::default()
        };
        (handle, shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::turn::SessionPage;

    /// A handle for two shards.
    fn handle() -> (Handle, [FakeShard; 2]) {
        let ((one, first), (other, second)) = (FakeShard::shard(), FakeShard::shard());
        let handle = Handle {
            shards: Arc::new([one, other]),
            ..Handle::default()
        };
        (handle, [first, second])
    }

    fn free(shard: &mut FakeShard, count: usize) {
        let freed = shard.next_revocation().expect("a command");
        freed.send(count).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_count_is_the_sum_over_the_shards() {
        let (handle, [mut first, mut second]) = handle();
        for freed in [
            handle.removed("alice", 1),
            handle.left("alice", "lobby", true),
            handle.closed("lobby"),
        ] {
            free(&mut first, 2);
            free(&mut second, 3);
            assert_eq!(freed.count().await, 5);
        }
        assert_eq!(Handle::default().removed("alice", 1).count().await, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_that_does_not_answer_is_awaited_for_one_second() {
        let (handle, [mut first, _second]) = handle();
        let start = Instant::now();
        let freed = handle.removed("alice", 1);
        free(&mut first, 2);
        assert_eq!(freed.count().await, 2);
        assert_eq!(start.elapsed(), ANSWER_TIMEOUT);
        assert!(!handle.is_alive().await);
        assert_eq!(start.elapsed(), 2 * ANSWER_TIMEOUT);
        assert!(handle.sessions().await.is_empty());
        assert_eq!(start.elapsed(), 4 * ANSWER_TIMEOUT);
    }

    #[test]
    fn new_settings_reach_every_shard() {
        let (handle, shards) = handle();
        let credentials = Credentials::new(&crate::secret::Secret::new("north"), &[]);
        let turn = config::Turn {
            max_channels: 7,
            ..config::Turn::default()
        };
        handle.reconfigure(&turn, &[], credentials, 1000);
        for FakeShard { mut inbox, .. } in shards {
            let command = inbox.try_recv();
            assert!(matches!(command, Some(Command::Reconfigure(new)) if new.max_channels == 7));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_is_executed_although_nobody_waits_for_its_count() {
        let (handle, [mut first, _second]) = handle();
        drop(handle.removed("alice", 1));
        assert!(matches!(
            first.inbox.try_recv(),
            Some(Command::Revoke { .. })
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn sessions_are_requested_page_by_page() {
        let (handle, shards) = handle();
        let asking = tokio::spawn(async move { handle.sessions().await });
        let mut asked = Vec::new();
        for mut shard in shards {
            for (expected, next) in [(0, Some(512)), (512, None)] {
                let (from, answer) = loop {
                    match shard.inbox.try_recv() {
                        Some(Command::Sessions { from, answer }) => break (from, answer),
                        _ => tokio::task::yield_now().await,
                    }
                };
                assert_eq!(from, expected);
                asked.push(from);
                let sessions = Vec::new();
                answer.send(SessionPage { sessions, next }).unwrap();
            }
        }
        assert!(asking.await.unwrap().is_empty());
        assert_eq!(asked, [0, 512, 0, 512]);
    }
}
