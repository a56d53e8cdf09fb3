//! The relay's edge: sockets around [`crate::turn`].
//!
//! UDP belongs to shards, each a thread of its own; TURN over TCP belongs to tasks that exchange
//! whole frames with a shard. Nothing in here decides who may do what.

mod counters;
mod departures;
mod external;
mod framer;
mod handle;
pub mod host;
mod mailbox;
mod mmsg;
mod notices;
mod settings;
mod shard;
pub mod sockets;
mod stream;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::thread;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::config;
use crate::credential::{Credentials, Refusals};
use crate::turn::{External, Nonces, Server};

pub use crate::turn::Session;
pub use counters::RelayCollector;
pub use external::{ExternalError, resolve as resolve_external};
pub use handle::{Freed, Handle};
pub use stream::MAX_STREAMS;

use counters::Counters;
use mailbox::Order;
use shard::Shard;
use stream::{Acceptor, Sources};

/// What a relay is started with.
pub struct Options<'a> {
    pub turn: &'a config::Turn,
    pub external: Vec<External>,
    pub credentials: Credentials,
    pub nonces: Nonces,
    pub refusals: Arc<Refusals>,
    /// Where else this process listens: never to be reached through the relay.
    pub other_listeners: Vec<SocketAddr>,
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
    pub udp: Vec<UdpSocket>,
    pub tcp: Vec<TcpListener>,
}

/// A running relay.
pub struct Relay {
    pub handle: Handle,
    /// Resolves when a shard has ended, with why where it was not told to.
    pub ended: oneshot::Receiver<io::Result<()>>,
    counters: Arc<Counters>,
    shards: Arc<[mailbox::Mailbox]>,
    thread: thread::JoinHandle<()>,
}

/// Binds `turn.listen`, UDP and TCP.
pub fn bind(listen: &[SocketAddr]) -> Result<Bound, RelayError> {
    let mut bound = Bound {
        udp: Vec::new(),
        tcp: Vec::new(),
    };
    for &address in listen {
        match sockets::turn_pair(address) {
            Ok((udp, tcp)) => {
                bound.udp.push(udp);
                bound.tcp.push(tcp);
            }
            Err(error) if sockets::family_missing(address, &error) => {
                tracing::warn!(%address, "this host has no IPv6: not listening there");
            }
            Err(error) => {
                let sentence = sockets::cannot_listen(address, "turn.listen", &error);
                return Err(RelayError::Listen(sentence));
            }
        }
    }
    if bound.udp.is_empty() && !listen.is_empty() {
        let sentence = "no address of turn.listen can be listened on".to_owned();
        return Err(RelayError::Listen(sentence));
    }
    Ok(bound)
}

impl Relay {
    /// Starts the shard and the tasks that accept streams. To be called inside a tokio runtime.
    pub fn start(
        bound: Bound,
        options: Options<'_>,
        stop: &CancellationToken,
    ) -> Result<Relay, RelayError> {
        let own = host::own_addresses().map_err(RelayError::OwnAddresses)?;
        let local = |socket: &UdpSocket| socket.local_addr();
        let listeners = bound
            .udp
            .iter()
            .map(local)
            .collect::<io::Result<Vec<_>>>()?;
        warn_of_private_addresses(&options.external, &listeners, &own);
        let refusals = options.refusals.clone();
        let max_streams = options.turn.max_streams_per_address;
        let seed = options.seed;
        let settings = settings::all(options, own, &listeners);
        let quotas = settings.quotas.clone();
        let server = Server::new(settings, 0, seed);

        let counters = Arc::new(Counters::default());
        let (shard, mailbox) = Shard::new(server, bound.udp, counters.clone())?;
        let (ended_sender, ended) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("relay-0".into())
            .spawn(move || {
                // The receiver is gone when the house is being torn down: nobody left to tell.
                let _ = ended_sender.send(shard.run());
            })?;
        let streams = Arc::new(Sources::new(max_streams));
        let acceptor = Acceptor::new(mailbox.clone(), streams.clone());
        for listener in bound.tcp {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(acceptor.clone().accept(listener, stop.clone()));
        }
        let shards: Arc<[_]> = Arc::new([mailbox]);
        Ok(Relay {
            handle: Handle::new(refusals, quotas, streams, shards.clone()),
            counters,
            ended,
            shards,
            thread,
        })
    }

    /// What a scrape reads of this relay.
    pub fn collector(&self) -> RelayCollector {
        RelayCollector(self.counters.clone())
    }

    /// Ends the shards and waits for them.
    pub fn stop(self) {
        for shard in self.shards.iter() {
            shard.order(Order::Stop);
        }
        if self.thread.join().is_err() {
            tracing::error!("the relay had panicked");
        }
    }
}

/// A relayed address that nobody outside can reach is the usual reason why a call stays silent.
fn warn_of_private_addresses(
    external: &[External],
    listeners: &[SocketAddr],
    own: &[std::net::IpAddr],
) {
    let loopback_only = listeners.iter().all(|listener| listener.ip().is_loopback());
    let asked = listeners.iter().flat_map(|listener| {
        let any = listener.ip().is_unspecified();
        let same = own
            .iter()
            .filter(move |ip| any && ip.is_ipv4() == listener.is_ipv4());
        same.copied().chain((!any).then_some(listener.ip()))
    });
    let advertised = asked.map(|ip| External::advertise(external, SocketAddr::new(ip, 0)).ip());
    let advertised: Vec<_> = advertised.collect();
    if !loopback_only && !advertised.iter().any(|ip| host::is_public(*ip)) {
        tracing::warn!(
            "every address that the relay can advertise is private: clients outside this network \
             will not be heard. Behind 1:1 NAT, set turn.external_ip to the public address"
        );
    }
}
