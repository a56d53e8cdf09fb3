//! What a try used, and what was scarce where it was too much.

use std::fmt;
use std::time::Duration;

use super::media::RunStats;
use super::sysinfo::Usage;

/// A thread that has so much of a core has no more to give.
const BUSY_SHARE: f64 = 0.85;
/// Less than this of all cores is as good as nothing.
const IDLE_SHARE: f64 = 0.08;
/// Cores that other programs take before they count as in the way.
const OTHER_CORES: f64 = 0.3;

/// What stopped it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bottleneck {
    ServerCpu,
    GeneratorCpu,
    AllCores,
    Others,
    ServerBuffers,
    GeneratorBuffers,
    Allocations,
    Latency,
    /// It was not found.
    Nothing,
}

/// One try.
pub struct Attempt {
    pub stats: RunStats,
    pub usage: Usage,
    pub time: Duration,
}

/// What was scarce in a try that was too much.
pub fn diagnose(attempted: &Attempt) -> Bottleneck {
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
    /// Cores that somebody else had.
    pub fn others(&self) -> f64 {
        let ours = (self.usage.server + self.stats.busy).as_secs_f64() / self.time.as_secs_f64();
        (self.usage.busy_cores - ours).max(0.0)
    }
}

impl Bottleneck {
    /// For scripts.
    pub fn name(self) -> &'static str {
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
                "the server's busiest thread has a core to itself and uses all of it"
            }
            Bottleneck::GeneratorCpu => {
                "the load generator has no CPU time left: driven from another machine, the server \
                 carries more"
            }
            Bottleneck::AllCores => "server and load generator use every core there is",
            Bottleneck::Others => {
                "other programs took the cores meanwhile: measure again when this machine is idle"
            }
            Bottleneck::ServerBuffers => {
                "datagrams found the server's socket full: it had to wait for a core"
            }
            Bottleneck::GeneratorBuffers => {
                "datagrams found sockets of the load generator full, not of the server"
            }
            Bottleneck::Allocations => {
                "no more allocations: descriptors (`ulimit -n`) or ports of turn.relay_ports are \
                 used up"
            }
            Bottleneck::Latency => {
                "packets came too late or not at all, although neither CPU time nor buffers ran out"
            }
            Bottleneck::Nothing => {
                "the time was over before anything stopped it: take more --seconds"
            }
        })
    }
}
