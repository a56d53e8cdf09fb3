//! Follows the addresses of this host and their public addresses, and updates the shards.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{self, join_all};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::turn::{Host, HostAddress};

use super::address_list::{Watch, list};
use super::current_addresses::{CurrentAddresses, ListenAddresses, log_relayed_addresses};
use super::external_ip::{ExternalError, ExternalIpSettings, ExternalIps, Resolve};
use super::mailbox::{Command, Mailbox};

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

/// The source of this host's addresses.
pub(super) trait AddressSource: Send {
    /// Every address of every interface.
    fn list(&mut self) -> io::Result<Vec<HostAddress>>;

    /// The source of change notifications.
    fn watch(&mut self) -> io::Result<Watch>;
}

/// The addresses of this host, from the operating system.
pub(super) struct SystemAddresses;

impl AddressSource for SystemAddresses {
    fn list(&mut self) -> io::Result<Vec<HostAddress>> {
        list()
    }

    fn watch(&mut self) -> io::Result<Watch> {
        Watch::open()
    }
}

/// Follows the addresses of this host.
pub(super) struct AddressWatcher<S = SystemAddresses> {
    pub source: S,
    pub listening: ListenAddresses,
    pub shards: Arc<[Mailbox]>,
    pub current: watch::Sender<CurrentAddresses>,
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
    pub(super) async fn run(self, stop: CancellationToken) {
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
            let changes = self.current.borrow().external_ips.can_change();
            tokio::select! {
                changed = changed(&mut watch) => {
                    if let Err(error) = changed {
                        log_polling(&error);
                        watch = None;
                    }
                    due.list = Instant::now();
                }
                () = sleep_until(due.list) => {
                    self.reopen(&mut watch);
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
                    let wanted = self.wanted.borrow_and_update().clone();
                    self.current.send_modify(|current| {
                        current.external_ips.set(&wanted.entries, &wanted.stun_urls);
                    });
                    self.refresh().await;
                    // The answer to the old query is obsolete.
                    resolving = Some(self.resolve(Resolve::Unknown));
                    // The STUN server may have changed.
                    due.auto = Instant::now();
                }
                (external_ips, outcome) = resolved(&mut resolving) => {
                    resolving = None;
                    if let Err(error) = &outcome {
                        due.retry();
                        log_first_failure(error, failing);
                    }
                    failing = outcome.is_err();
                    self.current.send_modify(|current| current.external_ips = external_ips);
                    self.refresh().await;
                }
            }
        }
    }

    /// Subscribes to change notifications again if they have failed.
    fn reopen(&mut self, watch: &mut Option<Watch>) {
        if watch.is_none()
            && let Ok(opened) = self.source.watch()
        {
            tracing::info!("address change notifications restored");
            *watch = Some(opened);
        }
    }

    /// Lists the addresses, and applies changes. Returns whether addresses have changed.
    async fn refresh(&mut self) -> bool {
        let CurrentAddresses {
            host: old,
            external_ips,
        } = self.current.borrow().clone();
        let addresses = match self.source.list() {
            Ok(addresses) => addresses,
            Err(error) => {
                tracing::warn!(%error, "this host's addresses could not be listed");
                return false;
            }
        };
        // Keep the previous addresses until every entry is known.
        let nat_mappings = external_ips.nat_mappings();
        let nat_mappings = nat_mappings.unwrap_or_else(|| old.nat_mappings().to_vec());
        let new = self.listening.host(addresses, nat_mappings);
        if new == *old {
            return false;
        }
        let changed = new.own_addresses() != old.own_addresses();
        self.apply(&old, Arc::new(new)).await;
        changed
    }

    /// Puts new addresses into force. Every shard denies a new address as a peer before any shard offers it:
    /// otherwise a client of one shard could reach this host through another.
    async fn apply(&mut self, old: &Host, new: Arc<Host>) {
        let known = old.own_addresses();
        let own = new.own_addresses().into_iter();
        let added: Vec<_> = own.filter(|ip| !known.contains(ip)).collect();
        if !added.is_empty() && timeout(DENY_TIMEOUT, self.deny(&added)).await.is_err() {
            tracing::warn!("a relay shard does not respond: offering new addresses anyway");
        }
        for shard in self.shards.iter() {
            shard.send(Command::SetHost(new.clone()));
        }
        log_relayed_addresses(Some(old), &new);
        self.current.send_modify(|current| current.host = new);
    }

    /// Resolves when every shard denies these peers. The commands are sent at once.
    fn deny(&self, addresses: &[IpAddr]) -> impl Future<Output = ()> + use<S> {
        let mut replies = Vec::new();
        for shard in self.shards.iter() {
            let (done, denied) = oneshot::channel();
            let addresses = addresses.to_vec();
            shard.send(Command::Deny { addresses, done });
            replies.push(denied);
        }
        async move {
            join_all(replies).await;
        }
    }

    fn resolve(&self, what: Resolve) -> JoinHandle<Answer> {
        let mut external_ips = self.current.borrow().external_ips.clone();
        tokio::task::spawn_blocking(move || {
            let outcome = external_ips.resolve(what);
            (external_ips, outcome)
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
    if following {
        LIST_INTERVAL
    } else {
        BLIND_LIST_INTERVAL
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
        "no address change notifications: addresses are listed every 10 s"
    );
}

/// Logs an error of a name server or STUN server, unless the previous query failed as well.
fn log_first_failure(error: &ExternalError, already_failing: bool) {
    if !already_failing {
        tracing::warn!(%error, "turn.external_ip could not be resolved: advertising the known addresses");
    }
}

#[cfg(test)]
mod tests;
