//! Follows the addresses of this host and their public addresses, and updates the shards.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, join_all};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::turn::{Host, HostAddress, NatMapping};

use super::external_ip::{ExternalError, ExternalIps, Resolve};
use super::host::default_source_addresses;
use super::mailbox::{Command, Mailbox};
use super::{Watch, list};

/// Minimum interval between two reads of the list: changes arrive in groups, an address and its routes.
const LIST_PAUSE: Duration = Duration::from_millis(100);

/// How often the list is read without a notification.
const LIST_INTERVAL: Duration = Duration::from_secs(60);

/// How often the list is read if notifications do not work.
const BLIND_LIST_INTERVAL: Duration = Duration::from_secs(10);

/// How often DNS names are resolved.
const NAMES_INTERVAL: Duration = Duration::from_secs(60);

/// How often `auto` is queried, in addition to each change of addresses.
const AUTO_INTERVAL: Duration = Duration::from_secs(300);

/// How long shards may take to deny new addresses before these are offered.
const DENY_TIMEOUT: Duration = Duration::from_secs(1);

/// The values of `turn.external_ip` and `ice.stun_urls`.
pub type ExternalIpSettings = (Vec<String>, Vec<String>);

/// The state in force.
#[derive(Debug, Clone, Default)]
pub struct HostState {
    pub host: Arc<Host>,
    pub names: ExternalIps,
}

/// The listeners of this process, which do not change.
#[derive(Debug, Clone)]
pub struct ListenAddresses {
    pub turn: Vec<SocketAddr>,
    pub other: Vec<SocketAddr>,
}

impl ListenAddresses {
    /// This host with these addresses and their public addresses.
    pub fn host(&self, addresses: Vec<HostAddress>, external: Vec<NatMapping>) -> Host {
        let (turn, other) = (self.turn.clone(), self.other.clone());
        Host::new(
            addresses,
            &default_source_addresses(),
            external,
            turn,
            other,
        )
    }
}

/// The source of this host's addresses.
pub trait AddressSource: Send {
    /// Every address of every interface.
    fn list(&mut self) -> io::Result<Vec<HostAddress>>;

    /// The source of change notifications.
    fn watch(&mut self) -> io::Result<Watch>;
}

/// The operating system.
pub struct SystemAddresses;

impl AddressSource for SystemAddresses {
    fn list(&mut self) -> io::Result<Vec<HostAddress>> {
        list()
    }

    fn watch(&mut self) -> io::Result<Watch> {
        Watch::open()
    }
}

pub struct AddressWatcher<S = SystemAddresses> {
    pub source: S,
    pub listening: ListenAddresses,
    pub shards: Arc<[Mailbox]>,
    pub current: watch::Sender<HostState>,
    pub wanted: watch::Receiver<ExternalIpSettings>,
}

/// The due times of the periodic tasks.
struct DueTimes {
    list: Instant,
    names: Instant,
    auto: Instant,
}

/// A query and its result.
type Answer = (ExternalIps, Result<(), ExternalError>);

impl<S: AddressSource> AddressWatcher<S> {
    /// Follows until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.follow() => {}
        }
    }

    async fn follow(mut self) {
        let mut watch = self.source.watch().inspect_err(log_polling).ok();
        let now = Instant::now();
        let mut due = DueTimes {
            // Changes between the start and the subscription cause no notification.
            list: now,
            names: now + NAMES_INTERVAL,
            auto: now + AUTO_INTERVAL,
        };
        let mut resolving: Option<JoinHandle<Answer>> = None;
        let mut failing = false;
        loop {
            let changes = self.current.borrow().names.can_change();
            tokio::select! {
                changed = changed(&mut watch) => {
                    if let Err(error) = changed {
                        log_polling(&error);
                        watch = None;
                    }
                    due.list = Instant::now();
                }
                () = sleep_until(due.list) => {
                    if watch.is_none()
                        && let Ok(opened) = self.source.watch()
                    {
                        tracing::info!("following this host's addresses again");
                        watch = Some(opened);
                    }
                    if self.refresh().await {
                        due.auto = Instant::now();
                    }
                    due.list = Instant::now() + interval(watch.is_some());
                    sleep(LIST_PAUSE).await;
                }
                () = sleep_until(due.names), if changes && resolving.is_none() => {
                    due.names = Instant::now() + NAMES_INTERVAL;
                    resolving = Some(self.resolve(Resolve::Names));
                }
                () = sleep_until(due.auto), if changes && resolving.is_none() => {
                    due.auto = Instant::now() + AUTO_INTERVAL;
                    resolving = Some(self.resolve(Resolve::Auto));
                }
                Ok(()) = self.wanted.changed() => {
                    let (entries, stun_urls) = self.wanted.borrow_and_update().clone();
                    self.current.send_modify(|current| current.names.set(&entries, &stun_urls));
                    self.refresh().await;
                    // The answer to the old query is obsolete.
                    resolving = Some(self.resolve(Resolve::Unknown));
                    // The STUN server may have changed.
                    due.auto = Instant::now();
                }
                (names, outcome) = resolved(&mut resolving) => {
                    resolving = None;
                    if let Err(error) = &outcome {
                        due.retry();
                        log_first_failure(error, failing);
                    }
                    failing = outcome.is_err();
                    self.current.send_modify(|current| current.names = names);
                    self.refresh().await;
                }
            }
        }
    }

    /// Lists the addresses, and applies changes. Returns whether addresses have changed.
    async fn refresh(&mut self) -> bool {
        let HostState { host: old, names } = self.current.borrow().clone();
        let addresses = match self.source.list() {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "this host's addresses can't be listed");
                return false;
            }
        };
        // Keep the previous addresses until every entry is known.
        let external = names.external();
        let external = external.unwrap_or_else(|| old.nat_mappings().to_vec());
        let new = self.listening.host(addresses, external);
        if new == *old {
            return false;
        }
        let changed = new.own_addresses() != old.own_addresses();
        self.apply(&old, Arc::new(new)).await;
        changed
    }

    /// Denies a new address as a peer at every shard before any shard offers it.
    async fn apply(&mut self, old: &Host, new: Arc<Host>) {
        let known = old.own_addresses();
        let added: Vec<_> = new
            .own_addresses()
            .into_iter()
            .filter(|ip| !known.contains(ip))
            .collect();
        if !added.is_empty() {
            let denied = self.shards.iter().map(|shard| {
                let (done, denied) = oneshot::channel();
                let addresses = added.clone();
                shard.send(Command::Deny { addresses, done });
                denied
            });
            let denied = join_all(denied.collect::<Vec<_>>());
            if timeout(DENY_TIMEOUT, denied).await.is_err() {
                tracing::warn!(
                    "a relay shard does not answer: new addresses are offered all the same"
                );
            }
        }
        for shard in self.shards.iter() {
            shard.send(Command::SetHost(new.clone()));
        }
        log_relayed_addresses(Some(old), &new);
        self.current.send_modify(|current| current.host = new);
    }

    fn resolve(&self, what: Resolve) -> JoinHandle<Answer> {
        let mut names = self.current.borrow().names.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = names.resolve(what);
            (names, outcome)
        })
    }
}

impl DueTimes {
    /// Repeats all queries soon if one had no answer.
    fn retry(&mut self) {
        let soon = Instant::now() + NAMES_INTERVAL;
        self.names = self.names.min(soon);
        self.auto = self.auto.min(soon);
    }
}

/// How often the list is read.
fn interval(following: bool) -> Duration {
    match following {
        true => LIST_INTERVAL,
        false => BLIND_LIST_INTERVAL,
    }
}

async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => future::pending().await,
    }
}

/// Waits for the result of a query; forever if there is no query or its thread has panicked.
async fn resolved(resolving: &mut Option<JoinHandle<Answer>>) -> Answer {
    if let Some(question) = resolving
        && let Ok(answer) = question.await
    {
        return answer;
    }
    *resolving = None;
    future::pending().await
}

fn log_polling(error: &io::Error) {
    tracing::warn!(
        %error,
        "changes of this host's addresses are not told: they are listed every 10 s"
    );
}

/// Logs an unreachable name server once.
fn log_first_failure(error: &ExternalError, told: bool) {
    if !told {
        tracing::warn!(%error, "turn.external_ip can't be asked for: what was known is advertised");
    }
}

/// Logs the relayed addresses for clients on other hosts after a change.
pub fn log_relayed_addresses(old: Option<&Host>, new: &Host) {
    let texts = relayed_address_texts(new);
    if old.is_none_or(|old| relayed_address_texts(old) != texts) {
        let [ipv4, ipv6] = texts;
        tracing::info!(ipv4, ipv6, "relayed addresses");
    }
}

/// The relayed address of each family for clients on other hosts, as text.
pub fn relayed_address_texts(host: &Host) -> [String; 2] {
    [true, false].map(|v4| {
        let mut offered = host.offered();
        match offered.find(|(bound, _)| bound.is_ipv4() == v4) {
            Some((bound, outside)) if bound == outside => outside.to_string(),
            Some((bound, outside)) => format!("{outside} (here {bound})"),
            None => "none".to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::Mutex;

    use super::*;
    use crate::relay::handle::FakeShard;
    use crate::stun::{Attribute, Class, Method, Writer};
    use crate::turn::AddressState;

    /// A host whose addresses a test sets, without change notifications.
    #[derive(Clone, Default)]
    struct FakeHost(Arc<Mutex<Vec<HostAddress>>>);

    impl AddressSource for FakeHost {
        fn list(&mut self) -> io::Result<Vec<HostAddress>> {
            Ok(self.0.lock().unwrap().clone())
        }

        fn watch(&mut self) -> io::Result<Watch> {
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    impl FakeHost {
        fn set(&self, ips: &[&str]) {
            let addresses = ips.iter().map(|ip| HostAddress {
                ip: ip.parse().unwrap(),
                interface: 1,
                state: AddressState::Preferred,
                temporary: false,
            });
            *self.0.lock().unwrap() = addresses.collect();
        }
    }

    /// The updates of a running follower.
    struct RunningWatcher {
        in_force: watch::Receiver<HostState>,
        start: Instant,
        stop: CancellationToken,
        /// Keeps the other end open.
        _wanted: watch::Sender<ExternalIpSettings>,
    }

    impl Drop for RunningWatcher {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    /// A follower of a host, with the `known` entries of a previous process.
    fn start_watcher(
        mut source: FakeHost,
        shards: Vec<Mailbox>,
        (entries, stun_urls): (&[String], &[String]),
        known: &[(&str, &str)],
    ) -> RunningWatcher {
        let known = known.iter();
        let known = known.map(|(name, ip)| ((*name).to_owned(), ip.parse().unwrap()));
        let names = ExternalIps::new(entries, stun_urls, known.collect());
        let listening = ListenAddresses {
            turn: vec!["0.0.0.0:3478".parse().unwrap()],
            other: Vec::new(),
        };
        let host = listening.host(source.list().unwrap(), names.external().unwrap());
        let host = Arc::new(host);
        let (current, in_force) = watch::channel(HostState { host, names });
        let (wanted, asked_for) = watch::channel((entries.to_vec(), stun_urls.to_vec()));
        let follower = AddressWatcher {
            source,
            listening,
            shards: shards.into(),
            current,
            wanted: asked_for,
        };
        let stop = CancellationToken::new();
        tokio::spawn(follower.run(stop.clone()));
        RunningWatcher {
            in_force,
            start: Instant::now(),
            stop,
            _wanted: wanted,
        }
    }

    fn is_called(ip: [u8; 4]) -> impl FnMut(&HostState) -> bool {
        move |current| {
            let external = current.host.nat_mappings();
            external.iter().any(|one| one.public == IpAddr::from(ip))
        }
    }

    /// Answers one question with 192.0.2.77.
    fn stun_server() -> (String, std::thread::JoinHandle<()>) {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let url = format!("stun:{}", server.local_addr().unwrap());
        let answering = std::thread::spawn(move || {
            let mut request = [0; 100];
            let (_, client) = server.recv_from(&mut request).unwrap();
            let transaction = request[8..20].try_into().unwrap();
            let mut answer = Vec::new();
            let mapped = "192.0.2.77:5".parse().unwrap();
            Writer::new(&mut answer, Method::BINDING, Class::Success, transaction)
                .xor_address(Attribute::XOR_MAPPED_ADDRESS, mapped)
                .fingerprint();
            server.send_to(&answer, client).unwrap();
        });
        (url, answering)
    }

    #[tokio::test(start_paused = true)]
    async fn without_change_notifications_the_list_is_read_every_ten_seconds() {
        let host = FakeHost::default();
        host.set(&["198.41.0.4"]);
        let mut watcher = start_watcher(host.clone(), Vec::new(), (&[], &[]), &[]);
        sleep(Duration::from_secs(1)).await;
        host.set(&["198.41.0.5"]);
        let new =
            |current: &HostState| current.host.own_addresses() == [IpAddr::from([198, 41, 0, 5])];
        watcher.in_force.wait_for(new).await.unwrap();
        let seconds = watcher.start.elapsed().as_secs();
        assert!((9..12).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn every_shard_denies_a_new_address_before_any_shard_offers_it() {
        let host = FakeHost::default();
        host.set(&["198.41.0.4"]);
        let (shards, mut fakes): (Vec<_>, Vec<_>) = (0..2).map(|_| FakeShard::shard()).unzip();
        let mut watcher = start_watcher(host.clone(), shards, (&[], &[]), &[]);
        sleep(Duration::from_secs(1)).await;
        host.set(&["198.41.0.4", "198.41.0.5"]);
        // Less than a second after the list is read.
        sleep(BLIND_LIST_INTERVAL - DENY_TIMEOUT / 2).await;
        let new: [IpAddr; 1] = [[198, 41, 0, 5].into()];
        let mut denied = Vec::new();
        for shard in &mut fakes {
            match shard.next_command() {
                Some(Command::Deny { addresses, done }) if addresses == new => denied.push(done),
                _ => panic!("the new address is not denied"),
            }
        }
        // One of them has not answered yet.
        denied.pop().unwrap().send(()).unwrap();
        tokio::task::yield_now().await;
        assert!(fakes.iter_mut().all(|shard| shard.next_command().is_none()));
        denied.pop().unwrap().send(()).unwrap();
        watcher.in_force.changed().await.unwrap();
        for shard in &mut fakes {
            assert!(
                matches!(shard.next_command(), Some(Command::SetHost(host)) if host.own_addresses().len() == 2)
            );
        }
    }

    /// `localhost` is a name that needs no name server.
    #[tokio::test(start_paused = true)]
    async fn a_name_is_resolved_again_every_minute() {
        let entries = ["localhost".to_owned()];
        let known = [("localhost", "192.0.2.1")];
        let mut watcher = start_watcher(FakeHost::default(), Vec::new(), (&entries, &[]), &known);
        let loopback = |current: &HostState| current.host.nat_mappings()[0].public.is_loopback();
        watcher.in_force.wait_for(loopback).await.unwrap();
        let seconds = watcher.start.elapsed().as_secs();
        assert!((60..62).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn auto_is_queried_again_every_five_minutes() {
        let (url, answering) = stun_server();
        let entries = ["auto".to_owned()];
        let known = [("auto", "192.0.2.1")];
        let mut watcher =
            start_watcher(FakeHost::default(), Vec::new(), (&entries, &[url]), &known);
        let new = is_called([192, 0, 2, 77]);
        watcher.in_force.wait_for(new).await.unwrap();
        let seconds = watcher.start.elapsed().as_secs();
        assert!((300..302).contains(&seconds), "{seconds}");
        answering.join().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn auto_is_queried_again_when_addresses_change() {
        let (url, answering) = stun_server();
        let (entries, host) = (["auto".to_owned()], FakeHost::default());
        let known = [("auto", "192.0.2.1")];
        let mut watcher = start_watcher(host.clone(), Vec::new(), (&entries, &[url]), &known);
        sleep(Duration::from_secs(1)).await;
        host.set(&["10.0.0.5"]);
        let new = is_called([192, 0, 2, 77]);
        watcher.in_force.wait_for(new).await.unwrap();
        assert!(watcher.start.elapsed() < Duration::from_secs(15));
        answering.join().unwrap();
    }
}
