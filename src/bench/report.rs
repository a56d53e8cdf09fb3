//! The resource usage of an attempt, and its bottleneck.

use std::fmt;
use std::time::Duration;

use super::media::RunStats;
use super::sysinfo::Usage;

/// A thread that uses this share of a core is saturated.
const BUSY_SHARE: f64 = 0.85;
/// A smaller idle share of all cores counts as none.
const IDLE_SHARE: f64 = 0.08;
/// Other programs that use more cores than this count as the bottleneck.
const OTHER_CORES: f64 = 0.3;

/// The resource that limits the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bottleneck {
    ServerCpu,
    GeneratorCpu,
    AllCores,
    Others,
    ServerBuffers,
    GeneratorBuffers,
    Allocations,
    Latency,
    /// No bottleneck was found.
    Nothing,
}

/// One attempt.
pub(super) struct Attempt {
    pub stats: RunStats,
    pub usage: Usage,
    pub time: Duration,
}

/// Returns the bottleneck of an attempt that was not carried.
pub(super) fn diagnose(attempted: &Attempt) -> Bottleneck {
    let Attempt { stats, usage, time } = attempted;
    let server = usage.server_busiest > BUSY_SHARE;
    let generator = stats.busiest.as_secs_f64() / time.as_secs_f64() > BUSY_SHARE;
    match (server, generator) {
        (true, false) => Bottleneck::ServerCpu,
        (false, true) => Bottleneck::GeneratorCpu,
        (true, true) => Bottleneck::AllCores,
        _ if usage.idle < IDLE_SHARE && attempted.others() > OTHER_CORES => Bottleneck::Others,
        _ if usage.idle < IDLE_SHARE => Bottleneck::AllCores,
        _ if usage.lost_at_server > usage.lost_elsewhere => Bottleneck::ServerBuffers,
        _ if usage.lost_elsewhere > 0 => Bottleneck::GeneratorBuffers,
        _ => Bottleneck::Latency,
    }
}

impl Attempt {
    /// Returns the number of cores that other programs used.
    pub(super) fn others(&self) -> f64 {
        let ours = (self.usage.server + self.stats.busy).as_secs_f64() / self.time.as_secs_f64();
        (self.usage.busy_cores - ours).max(0.0)
    }
}

impl Bottleneck {
    /// Returns the name for scripts.
    pub(super) fn name(self) -> &'static str {
        match self {
            Bottleneck::ServerCpu => "server_cpu",
            Bottleneck::GeneratorCpu => "generator_cpu",
            Bottleneck::AllCores => "all_cores",
            Bottleneck::Others => "other_programs",
            Bottleneck::ServerBuffers => "server_buffers",
            Bottleneck::GeneratorBuffers => "generator_buffers",
            Bottleneck::Allocations => "allocations",
            Bottleneck::Latency => "latency",
            Bottleneck::Nothing => "none",
        }
    }
}

impl fmt::Display for Bottleneck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bottleneck::ServerCpu => {
                "the server's busiest thread uses a whole core"
            }
            Bottleneck::GeneratorCpu => {
                "the load generator has no CPU time left: with the load from another machine, the \
                 server carries more"
            }
            Bottleneck::AllCores => "server and load generator use all cores",
            Bottleneck::Others => {
                "other programs used the cores: measure again when this machine is idle"
            }
            Bottleneck::ServerBuffers => {
                "datagrams were dropped at the server's full socket: it had to wait for a core"
            }
            Bottleneck::GeneratorBuffers => {
                "datagrams were dropped at full sockets of the load generator, not of the server"
            }
            Bottleneck::Allocations => {
                "no more allocations: all descriptors (`ulimit -n`) or ports of turn.relay_ports are \
                 in use"
            }
            Bottleneck::Latency => {
                "packets were late or lost, although CPU time and buffers were sufficient"
            }
            Bottleneck::Nothing => {
                "no bottleneck was found in time: use more --seconds"
            }
        })
    }
}
