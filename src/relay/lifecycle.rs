//! Starts, hands over and stops a relay.

use std::mem;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use rand::SeedableRng;
use rand::rngs::ChaCha12Rng;
use tokio::sync::{broadcast, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::RelayMode;
use crate::ingress::{self, AdmissionLimits, Limits, ListenerMode, RejectCounters};
use crate::turn::{Host, Policy, ShardId};

use super::acceptor::Acceptor;
use super::address_list::list;
use super::address_watch::{AddressWatcher, SystemAddresses};
use super::counters::{Counters, RelayCollector};
use super::current_addresses::{CurrentAddresses, ListenAddresses, log_relayed_addresses};
use super::error::RelayError;
use super::external_ip::ExternalIpSettings;
use super::handle::{Handle, HostUpdates};
use super::handover::{RelayHandover, ShardHandover};
use super::inherited::Inherited;
use super::listeners::BoundListeners;
use super::local_addresses;
use super::mailbox::{Command, Mailbox};
use super::options::Options;
use super::settings;
use super::threads::{Ended, create_shards, restore, spawn_threads};
use super::udp_listeners::UdpListeners;

/// Changes of paths that wait for a slow subscriber. It misses the oldest ones above this number.
const PATH_CHANGES: usize = 1024;

/// A running relay.
pub struct Relay {
    pub handle: Handle,
    /// Resolves when a shard has ended, with the error if it failed.
    pub ended: Ended,
    counters: Vec<Arc<Counters>>,
    listeners: UdpListeners,
    rejected: Arc<RejectCounters>,
    shards: Arc<[Mailbox]>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Relay {
    /// Starts the shards and the tasks that accept streams, and restores inherited state. Requires a tokio
    /// runtime.
    pub fn start(
        bound: BoundListeners,
        inherited: &mut Inherited,
        mut options: Options<'_>,
        stop: &CancellationToken,
    ) -> Result<Relay, RelayError> {
        let listening = listen_addresses(&bound, &mut options)?;
        let external_ips = mem::take(&mut options.external_ips);
        let addresses = list().map_err(RelayError::OwnAddresses)?;
        let nat_mappings = external_ips.nat_mappings().unwrap_or_default();
        let host = Arc::new(listening.host(addresses, nat_mappings));
        log_addresses(&host, &bound, options.turn.mode)?;

        let (turn, tls) = (options.turn, options.tls.clone());
        let limits = Limits::turn(turn, options.trusted_proxies);
        let admission = Arc::new(AdmissionLimits::new(limits));
        let seeds = ChaCha12Rng::from_seed(options.seed);
        let revocations = options.revocations.clone();
        let wanted = ExternalIpSettings {
            entries: turn.external_ip.clone(),
            stun_urls: options.stun_urls.to_vec(),
        };
        let discovery = bound.discovery(turn, host.nat_mappings())?;
        let shards = bound.udp.len() as ShardId;
        let config = settings::config(options, host.clone(), shards, discovery);

        let listeners = bound.duplicate_udp()?;
        let (path_changes, _) = broadcast::channel(PATH_CHANGES);
        let (mut shards, counters) = create_shards(
            &config,
            turn,
            seeds,
            bound.udp,
            &admission.live,
            &path_changes,
        )?;
        if let Some(state) = inherited.state.take() {
            restore(&mut shards, &config, state, inherited);
        }
        let mailboxes: Arc<[_]> = shards.iter().map(|(_, mailbox)| mailbox.clone()).collect();
        let (threads, ended) = spawn_threads(shards, &mailboxes)?;
        let acceptor = Arc::new(Acceptor::new(mailboxes.clone(), admission.clone()));
        accept_streams(bound.tcp, &ListenerMode::Turn, &acceptor, stop)?;
        if let Some(tls) = tls {
            accept_streams(bound.tls, &ListenerMode::TurnTls(tls), &acceptor, stop)?;
        }

        let current = CurrentAddresses { host, external_ips };
        let host_updates = watch_addresses(listening, &mailboxes, current, wanted, stop);
        Ok(Relay {
            handle: Handle {
                revocations,
                quotas: config.quotas,
                room_relays: config.room_relays,
                admission: admission.clone(),
                acceptor: Some(acceptor),
                shards: mailboxes.clone(),
                host_updates,
                directory: Some(config.directory),
                path_changes: Some(path_changes),
                udp_listeners: listeners.clone(),
                counters: counters.iter().cloned().collect(),
            },
            counters,
            listeners,
            rejected: admission.rejected.clone(),
            ended,
            shards: mailboxes,
            threads,
        })
    }

    /// The metrics of this relay.
    pub fn collector(&self) -> RelayCollector {
        RelayCollector {
            shards: self.counters.clone(),
            listeners: self.listeners.clone(),
            rejected: self.rejected.clone(),
        }
    }

    /// Stops the shards, and returns the state and the sockets for the next process.
    pub fn hand_over(self) -> RelayHandover {
        let mut replies = Vec::new();
        for shard in self.shards.iter() {
            let (reply, handover) = oneshot::channel();
            shard.send(Command::HandOver(reply));
            replies.push(handover);
        }
        join(self.threads);
        let mut handovers: Vec<(ShardHandover, Policy)> = Vec::new();
        for mut reply in replies {
            match reply.try_recv() {
                Ok(Ok(handover)) => handovers.push(handover),
                Ok(Err(error)) => tracing::error!(%error, "a relay shard could not be handed over"),
                // The shard panicked, which is logged already.
                Err(_) => {}
            }
        }
        // All shards have the same policy.
        let policy = handovers.first().map(|(_, policy)| policy.clone());
        let bandwidth_use = self.handle.bandwidth_use(clock::now().mono);
        let shards = handovers.into_iter().map(|(shard, _)| shard);
        RelayHandover::new(policy.unwrap_or_default(), bandwidth_use, shards.collect())
    }

    /// Stops the shards, and waits for their threads.
    pub fn stop(self) {
        for shard in self.shards.iter() {
            shard.send(Command::Stop);
        }
        join(self.threads);
    }
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a relay shard panicked");
        }
    }
}

/// The addresses of all listeners of this process, which are denied as peers.
fn listen_addresses(
    bound: &BoundListeners,
    options: &mut Options<'_>,
) -> Result<ListenAddresses, RelayError> {
    options.other_listeners.extend(bound.tls_addresses()?);
    Ok(ListenAddresses {
        turn: [&bound.addresses()?[..], &bound.alternate].concat(),
        other: mem::take(&mut options.other_listeners),
    })
}

/// Follows the addresses of this host until `stop`, from the `current` ones on.
fn watch_addresses(
    listening: ListenAddresses,
    shards: &Arc<[Mailbox]>,
    current: CurrentAddresses,
    wanted: ExternalIpSettings,
    stop: &CancellationToken,
) -> HostUpdates {
    let (current, addresses) = watch::channel(current);
    let (wanted, wanted_by_watcher) = watch::channel(wanted);
    let watcher = AddressWatcher {
        source: SystemAddresses,
        listening,
        shards: shards.clone(),
        current,
        wanted: wanted_by_watcher,
    };
    tokio::spawn(watcher.run(stop.clone()));
    HostUpdates::new(addresses, wanted)
}

/// Starts the accept loops of these listeners, which run until `stop`.
fn accept_streams(
    listeners: Vec<TcpListener>,
    mode: &ListenerMode,
    acceptor: &Arc<Acceptor>,
    stop: &CancellationToken,
) -> Result<(), RelayError> {
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (mode, acceptor, tasks) = (mode.clone(), acceptor.clone(), TaskTracker::new());
        tokio::spawn(ingress::run(listener, mode, acceptor, tasks, stop.clone()));
    }
    Ok(())
}

fn log_addresses(host: &Host, bound: &BoundListeners, mode: RelayMode) -> Result<(), RelayError> {
    if mode == RelayMode::Ports {
        warn_about_private_addresses(host, &bound.addresses()?);
    }
    log_relayed_addresses(None, host);
    for address in &bound.alternate {
        tracing::info!(what = "stun-udp", %address, "listening");
    }
    Ok(())
}

/// A private relayed address is the most common reason for calls without audio.
fn warn_about_private_addresses(host: &Host, listeners: &[SocketAddr]) {
    let loopback_only = listeners.iter().all(|listener| listener.ip().is_loopback());
    let relayed = host.offered().map(|(_, public)| public);
    let mapped = host.nat_mappings().iter().map(|mapping| mapping.public);
    let any_public = relayed.chain(mapped).any(local_addresses::is_public);
    if !loopback_only && !any_public {
        tracing::warn!(
            "every relayed address is private: clients outside this network cannot use the relay. \
             Behind 1:1 NAT, set turn.external_ip to the public address"
        );
    }
}
