//! Creates the shards of a relay, and starts their threads.

use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;

use futures_util::future::{SelectAll, select_all};
use rand::RngExt;
use rand::rngs::ChaCha12Rng;
use tokio::sync::{broadcast, oneshot};

use crate::config;
use crate::ingress::LiveLimits;
use crate::turn::{Config, PathChange, Server};

use super::counters::Counters;
use super::handover::State;
use super::inherited::Inherited;
use super::inter_shard::ShardQueues;
use super::mailbox::Mailbox;
use super::shard::Shard;

/// Resolves with the result of the first shard that ends.
pub type Ended = SelectAll<oneshot::Receiver<io::Result<()>>>;

/// Shards without threads yet, each with its mailbox.
pub(super) type Shards = Vec<(Shard, Mailbox)>;

/// Creates a shard for each set of sockets, with random numbers and counters of its own.
pub(super) fn create_shards(
    config: &Config,
    turn: &config::Turn,
    mut seeds: ChaCha12Rng,
    sockets: Vec<Vec<UdpSocket>>,
    limits: &Arc<LiveLimits>,
    path_changes: &broadcast::Sender<PathChange>,
) -> io::Result<(Shards, Vec<Arc<Counters>>)> {
    let counters: Vec<Arc<Counters>> = sockets.iter().map(|_| Arc::default()).collect();
    let queues = ShardQueues::new(sockets.len());
    let shards = (0..).zip(sockets).zip(&counters);
    let shards = shards.map(|((id, sockets), counters)| {
        let server = Server::new(config.clone(), id, seeds.random());
        let (counters, queues) = (counters.clone(), queues.clone());
        let (limits, path_changes) = (limits.clone(), path_changes.clone());
        Shard::new(
            server,
            sockets,
            counters,
            queues,
            turn,
            limits,
            path_changes,
        )
    });
    Ok((shards.collect::<io::Result<_>>()?, counters))
}

/// Restores the state of an earlier process into new shards.
///
/// The number of shards may have changed. The port of a relayed address determines its shard, so every
/// new shard is offered the state of every earlier one.
pub(super) fn restore(
    shards: &mut Shards,
    config: &Config,
    state: State,
    inherited: &mut Inherited,
) {
    config.quotas.merge_bandwidth_use(&state.bandwidth_use);
    let (handed_over, mut restored) = (state.allocations(), 0);
    for earlier in &state.shards {
        for (shard, _) in shards.iter_mut() {
            restored += shard.restore(earlier, inherited);
        }
    }
    if state.policy != config.policy() {
        for (shard, _) in shards.iter_mut() {
            shard.reapply_policy(&state.policy);
        }
    }
    tracing::info!(
        allocations = restored,
        lost = handed_over - restored,
        "restored relay state from the previous process"
    );
}

/// Starts a thread for each shard.
pub(super) fn spawn_threads(
    shards: Shards,
    mailboxes: &Arc<[Mailbox]>,
) -> io::Result<(Vec<thread::JoinHandle<()>>, Ended)> {
    let (mut threads, mut ends) = (Vec::new(), Vec::new());
    for (id, (shard, _)) in shards.into_iter().enumerate() {
        let mailboxes = mailboxes.clone();
        let (sender, ended) = oneshot::channel();
        let thread = thread::Builder::new().name(format!("relay-{id}"));
        threads.push(thread.spawn(move || {
            // While the server shuts down, nobody waits for the result.
            let _ = sender.send(shard.run(mailboxes));
        })?);
        ends.push(ended);
    }
    Ok((threads, select_all(ends)))
}
