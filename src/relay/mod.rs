//! The relay's edge: sockets around [`crate::turn`].
//!
//! Packets belong to shards, each a thread of its own, over UDP and over TCP alike; tasks do no more
//! than accept streams. Nothing in here decides who may do what.

mod acceptor;
mod address_watch;
#[cfg(not(target_os = "linux"))]
mod addresses;
mod coalesce;
mod counters;
mod external_ip;
pub mod framer;
mod handle;
mod handover;
pub mod host;
mod inter_shard;
mod log_limits;
mod mailbox;
mod nat_discovery;
#[cfg(target_os = "linux")]
mod netlink;
mod public_address;
mod relay_sockets;
mod send_queue;
mod settings;
mod shard;
pub mod sockets;
mod stream;
mod streams;
mod tls;
mod udp;

use std::io;
use std::mem;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use futures_util::future::SelectAll;
use ipnet::IpNet;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};
use rustls::ServerConfig;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock;
use crate::config::{self, RelayMode};
use crate::credential::{Credentials, Revocations};
use crate::ingress::{self, AdmissionLimits, Limits, ListenerMode, LiveLimits, RejectCounters};
use crate::turn::{Config, Directory, Host, Nonces, Policy, Server, ShardId};

pub use crate::turn::Session;
pub use address_watch::HostState;
pub use counters::RelayCollector;
pub use external_ip::{ExternalError, ExternalIps, Resolve};
pub use handle::{FreedCount, Handle, HostUpdates};
pub use handover::{Inherited, RelayHandover, State, inode};
pub use udp::{
    DescriptorQueue, MAX_DESCRIPTORS_PER_MESSAGE, receive_descriptors, send_descriptors,
};

#[cfg(not(target_os = "linux"))]
use addresses::{Watch, list};
#[cfg(target_os = "linux")]
use netlink::{Watch, list};

use acceptor::Acceptor;
use address_watch::{AddressWatcher, ListenAddresses, SystemAddresses};
use counters::Counters;
use handover::ShardHandover;
use inter_shard::ShardQueues;
use mailbox::{Command, Mailbox};
use shard::Shard;

/// Pairs of relay ports below which a shard would refuse clients whom others have room for.
const MIN_PORT_PAIRS_PER_SHARD: usize = 64;

/// What a relay is started with.
pub struct Options<'a> {
    pub turn: &'a config::Turn,
    /// The entries of `turn.external_ip`, with all required addresses known.
    pub names: ExternalIps,
    pub credentials: Credentials,
    pub nonces: Nonces,
    pub revocations: Arc<Revocations>,
    /// Where else this process listens: never to be reached through the relay.
    pub other_listeners: Vec<SocketAddr>,
    /// The STUN servers for `turn.external_ip = "auto"`.
    pub stun_urls: &'a [String],
    /// What is spoken where `turn.tls_listen` says; needed where that names an address.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may name clients, where `turn.proxy_protocol` is on.
    pub trusted_proxies: &'a [IpNet],
    /// Allocations at once.
    pub max_allocations: usize,
    pub seed: [u8; 32],
}

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The whole sentence, as [`sockets::cannot_listen`] gives it.
    #[error("{0}")]
    Listen(String),
    #[error("this host's own addresses can't be listed, and the relay must know them: {0}")]
    OwnAddresses(io::Error),
    #[error("the relay could not start")]
    Start(#[from] io::Error),
}

/// The listening sockets, bound before anything else is started.
pub struct Bound {
    /// For each shard, a socket on every address.
    pub udp: Vec<Vec<UdpSocket>>,
    pub tcp: Vec<TcpListener>,
    /// Where there is UDP alone, and STUN alone: the last of the sockets.
    alternate: Vec<SocketAddr>,
    pub tls: Vec<TcpListener>,
}

/// A running relay.
pub struct Relay {
    pub handle: Handle,
    /// Resolves when a shard has ended, with why where it was not told to.
    pub ended: Ended,
    counters: Vec<Arc<Counters>>,
    /// Duplicates of the sockets, for their drop counters.
    listeners: Arc<[(SocketAddr, UdpSocket)]>,
    rejected: Arc<RejectCounters>,
    shards: Arc<[Mailbox]>,
    threads: Vec<thread::JoinHandle<()>>,
}

/// The first shard that ends.
pub type Ended = SelectAll<oneshot::Receiver<io::Result<()>>>;

/// How many shards a relay has: what `turn.shards` says, else one for each core that the process
/// may run on, with enough ports for each.
pub fn shard_count(turn: &config::Turn) -> usize {
    let most = usize::from(Directory::max_shards(turn.relay_ports));
    match turn.shards {
        0 => {
            let cores = thread::available_parallelism().map_or(1, usize::from);
            cores.min(most / MIN_PORT_PAIRS_PER_SHARD).max(1)
        }
        shards => usize::from(shards).min(most),
    }
}

/// Binds `turn.listen`, UDP and TCP, with as many UDP sockets on each address as there are shards; and
/// the addresses for TLS. What is inherited is taken.
pub fn bind(
    listen: &[SocketAddr],
    tls: &[SocketAddr],
    shards: usize,
    inherited: &mut Inherited,
) -> Result<Bound, RelayError> {
    let mut bound = Bound {
        udp: (0..shards).map(|_| Vec::new()).collect(),
        tcp: Vec::new(),
        alternate: Vec::new(),
        tls: sockets::tcp_listeners(tls, "turn.tls_listen", inherited)
            .map_err(RelayError::Listen)?,
    };
    let own = host::own_addresses().map_err(RelayError::OwnAddresses)?;
    for address in sockets::listen_on(listen, &own) {
        match sockets::turn_sockets(address, shards, inherited) {
            Ok((udp, tcp)) => {
                for (shard, socket) in bound.udp.iter_mut().zip(udp) {
                    shard.push(socket);
                }
                bound.tcp.push(tcp);
            }
            Err(error) if sockets::is_family_missing(address, &error) => {
                tracing::warn!(%address, "this host has no IPv6: not listening there");
            }
            Err(error) => {
                let sentence = sockets::cannot_listen(address, "turn.listen", &error);
                return Err(RelayError::Listen(sentence));
            }
        }
    }
    if bound.tcp.is_empty() && !listen.is_empty() {
        let sentence = "no address of turn.listen can be listened on".to_owned();
        return Err(RelayError::Listen(sentence));
    }
    Ok(bound)
}

impl Bound {
    /// Where clients are served, over UDP and TCP alike.
    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tcp.iter().map(TcpListener::local_addr).collect()
    }

    /// Duplicates every listening UDP socket.
    fn listeners(&self) -> io::Result<Arc<[(SocketAddr, UdpSocket)]>> {
        let sockets = self.udp.iter().flatten();
        let sockets = sockets.map(|socket| Ok((socket.local_addr()?, socket.try_clone()?)));
        sockets.collect()
    }

    /// Where they are over TLS.
    pub fn tls_addresses(&self) -> io::Result<Vec<SocketAddr>> {
        self.tls.iter().map(TcpListener::local_addr).collect()
    }
}

impl Relay {
    /// Starts the shards and the tasks that accept streams, and goes on with what is inherited. To
    /// be called inside a tokio runtime.
    pub fn start(
        bound: Bound,
        inherited: &mut Inherited,
        mut options: Options<'_>,
        stop: &CancellationToken,
    ) -> Result<Relay, RelayError> {
        let listeners = bound.addresses()?;
        options.other_listeners.extend(bound.tls_addresses()?);
        let listening = ListenAddresses {
            turn: [&listeners[..], &bound.alternate].concat(),
            other: mem::take(&mut options.other_listeners),
        };
        let names = mem::take(&mut options.names);
        let external = names.external().unwrap_or_default();
        let addresses = list().map_err(RelayError::OwnAddresses)?;
        let host = Arc::new(listening.host(addresses, external));
        if options.turn.mode == RelayMode::Ports {
            warn_about_private_addresses(&host, &listeners);
        }
        address_watch::log_relayed_addresses(None, &host);
        let revocations = options.revocations.clone();
        let limits = Limits::turn(options.turn, options.trusted_proxies);
        let admission = Arc::new(AdmissionLimits::new(limits));
        let tls = options.tls.clone();
        let seeds = ChaCha12Rng::from_seed(options.seed);
        let turn = options.turn;
        let discovery = bound.discovery(turn, host.nat_mappings())?;
        let shards = bound.udp.len() as ShardId;
        for address in &bound.alternate {
            tracing::info!(what = "stun-udp", %address, "listening");
        }
        let wanted = (turn.external_ip.clone(), options.stun_urls.to_vec());
        let config = settings::config(options, host.clone(), shards, discovery);
        let quotas = config.quotas.clone();

        let listeners = bound.listeners()?;
        let (mut shards, counters) = make_shards(&config, turn, seeds, bound.udp, &admission.live)?;
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
        let (current, in_force) = watch::channel(HostState { host, names });
        let (wanted, asked_for) = watch::channel(wanted);
        let follower = AddressWatcher {
            source: SystemAddresses,
            listening,
            shards: mailboxes.clone(),
            current,
            wanted: asked_for,
        };
        tokio::spawn(follower.run(stop.clone()));
        let host_updates = HostUpdates::new(in_force, wanted);
        let shards = mailboxes.clone();
        Ok(Relay {
            handle: Handle::new(
                revocations,
                quotas,
                admission.clone(),
                acceptor,
                shards,
                host_updates,
            ),
            counters,
            listeners,
            rejected: admission.rejected.clone(),
            ended,
            shards: mailboxes,
            threads,
        })
    }

    /// What a scrape reads of this relay.
    pub fn collector(&self) -> RelayCollector {
        RelayCollector {
            shards: self.counters.clone(),
            listeners: self.listeners.clone(),
            rejected: self.rejected.clone(),
        }
    }

    /// Ends the shards, and gives what another relay needs to go on.
    pub fn hand_over(self) -> RelayHandover {
        let ask = |shard: &Mailbox| {
            let (answer, handed) = oneshot::channel();
            shard.send(Command::HandOver(answer));
            handed
        };
        let asked: Vec<_> = self.shards.iter().map(ask).collect();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("the relay had panicked");
            }
        }
        let handed = asked.into_iter().filter_map(|mut handed| {
            let handed = handed.try_recv().ok()?;
            handed
                .inspect_err(|error| tracing::error!(%error, "a shard could not be handed over"))
                .ok()
        });
        let handed: Vec<(ShardHandover, Policy)> = handed.collect();
        let policy = handed.first().map(|(_, policy)| policy.clone());
        let bandwidth_use = self.handle.bandwidth_use(clock::now().mono);
        let handed = handed.into_iter().map(|(handed, _)| handed);
        RelayHandover::new(policy.unwrap_or_default(), bandwidth_use, handed.collect())
    }

    /// Ends the shards and waits for them.
    pub fn stop(self) {
        for shard in self.shards.iter() {
            shard.send(Command::Stop);
        }
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("the relay had panicked");
            }
        }
    }
}

/// Starts the accept loops of these listeners.
fn accept_streams(
    listeners: Vec<TcpListener>,
    mode: &ListenerMode,
    acceptor: &Arc<Acceptor>,
    stop: &CancellationToken,
) -> io::Result<()> {
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (mode, acceptor, tasks) = (mode.clone(), acceptor.clone(), TaskTracker::new());
        tokio::spawn(ingress::run(listener, mode, acceptor, tasks, stop.clone()));
    }
    Ok(())
}

/// Shards that have no thread yet, and how to reach them.
type Shards = Vec<(Shard, Mailbox)>;

/// A shard for each set of sockets, every one with its own randomness and counters.
fn make_shards(
    config: &Config,
    turn: &config::Turn,
    mut seeds: ChaCha12Rng,
    sockets: Vec<Vec<UdpSocket>>,
    limits: &Arc<LiveLimits>,
) -> io::Result<(Shards, Vec<Arc<Counters>>)> {
    let counters: Vec<Arc<Counters>> = sockets.iter().map(|_| Arc::default()).collect();
    let queues = ShardQueues::new(sockets.len());
    let shards = (0..).zip(sockets).zip(&counters);
    let shards = shards.map(|((id, sockets), counters)| {
        let server = Server::new(config.clone(), id, seeds.random());
        let (counters, queues) = (counters.clone(), queues.clone());
        Shard::new(server, sockets, counters, queues, turn, limits.clone())
    });
    Ok((shards.collect::<io::Result<_>>()?, counters))
}

/// Has shards that have yet to begin go on where those of an earlier process ended. Their number may
/// be another: a relayed address belongs to the shard that its port says.
fn restore(shards: &mut Shards, config: &Config, state: State, inherited: &mut Inherited) {
    config.quotas.merge_bandwidth_use(&state.bandwidth_use);
    let (waiting, mut restored) = (state.allocations(), 0);
    for known in &state.shards {
        for (shard, _) in shards.iter_mut() {
            restored += shard.restore(known, inherited);
        }
    }
    if state.policy != config.policy() {
        for (shard, _) in shards.iter_mut() {
            shard.reapply_policy(&state.policy);
        }
    }
    tracing::info!(
        allocations = restored,
        lost = waiting - restored,
        "going on where an earlier parlor ended"
    );
}

/// Gives each shard its thread.
fn spawn_threads(
    shards: Shards,
    mailboxes: &Arc<[Mailbox]>,
) -> io::Result<(Vec<thread::JoinHandle<()>>, Ended)> {
    let (mut threads, mut ends) = (Vec::new(), Vec::new());
    for (id, (shard, _)) in shards.into_iter().enumerate() {
        let mailboxes = mailboxes.clone();
        let (sender, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("relay-{id}"));
        threads.push(thread.spawn(move || {
            // The receiver is gone when the house is being torn down: nobody left to tell.
            let _ = sender.send(shard.run(mailboxes));
        })?);
        ends.push(ended);
    }
    Ok((threads, futures_util::future::select_all(ends)))
}

/// A relayed address that nobody outside can reach is the usual reason why a call stays silent.
fn warn_about_private_addresses(host: &Host, listeners: &[SocketAddr]) {
    let loopback_only = listeners.iter().all(|listener| listener.ip().is_loopback());
    let offered = host.offered().map(|(_, outside)| outside);
    let external = host.nat_mappings().iter().map(|external| external.public);
    let any_public = offered.chain(external).any(host::is_public);
    if !loopback_only && !any_public {
        tracing::warn!(
            "every address that the relay can advertise is private: clients outside this network \
             will not be heard. Behind 1:1 NAT, set turn.external_ip to the public address"
        );
    }
}
