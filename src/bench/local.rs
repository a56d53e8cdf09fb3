//! `parlor bench local`: measures how many calls this machine can carry, and names the bottleneck.
//!
//! Server and generator share the machine, so the server alone could carry more; the result shows the CPU
//! time of each.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Failure, Response};
use crate::clock::{self, Mono};
use crate::plural::counted;
use crate::relay::descriptor_limit::raise_descriptor_limit;
use crate::url::Transport;

use super::login::Login;
use super::media::Run;
use super::progress::{Progress, check_stopped, stop_at_signals};
use super::relay::{fell_behind, latency, millis, rounded};
use super::report::{Attempt, Bottleneck, diagnose};
use super::schedule::pairs_of;
use super::search::Search;
use super::subprocess::Server;
use super::sysinfo::{self, Sample};
use super::target::Target;
use super::worker_pool::WorkerPool;

/// Opus: one packet every 20 ms; at 48 kbit/s, with SRTP header and tag, about this size.
const INTERVAL: Duration = Duration::from_millis(20);
const SIZE: usize = 160;

/// Descriptors reserved in both processes; the server needs some for HTTP and streams.
const OTHER_DESCRIPTORS: u64 = 512;

/// Number of relay ports in the default configuration.
const RELAY_PORTS: usize = 16_384;

/// Time to receive late packets after the last one of an attempt.
const RECEIVE_GRACE: Duration = Duration::from_millis(250);

/// Timeout for the next allocations.
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(10);

/// Shares of the time for one size of call: one attempt, all attempts, and the final, longer one.
const ATTEMPT_SHARE: f64 = 0.05;
const SEARCH_SHARE: f64 = 0.5;
const CONFIRM_SHARE: f64 = 0.12;
/// Maximum share of the time if the final attempt fails.
const MAX_TIME_SHARE: f64 = 1.25;

pub struct LocalOptions {
    /// Sizes of calls.
    pub people: Vec<usize>,
    /// Time per size.
    pub time: Duration,
    pub max_lost_percent: f64,
    pub max_p99: Duration,
}

/// The result for one size of call.
struct CallResult {
    people: usize,
    calls: usize,
    attempted: Attempt,
    /// Whether the final, longer attempt was carried as well.
    held: bool,
    bottleneck: Bottleneck,
}

/// The parts of a measurement.
struct Bench<'a> {
    options: &'a LocalOptions,
    server: Server,
    pool: WorkerPool,
    progress: Progress,
    began: Mono,
    tag: u32,
    /// Maximum number of pairs of clients.
    ceiling: usize,
}

/// # Errors
/// The server could not be started, or not even one call got its allocations.
pub fn run(options: &LocalOptions) -> Result<Response, Failure> {
    let stop = stop_at_signals()?;
    let descriptors = raise_descriptor_limit();
    let server = Server::start()?;
    let target = Target {
        address: server.address(),
        transport: Transport::Udp,
    };
    let login = Login::minted_by(&server.secret()?);
    // The server gets the other half of the cores.
    let threads = (sysinfo::cores() / 2).max(1);
    let pairs = descriptors.saturating_sub(OTHER_DESCRIPTORS) as usize / 2;
    let mut bench = Bench {
        pool: WorkerPool::start(threads, target, login, stop)?,
        options,
        server,
        progress: Progress::new(),
        began: clock::now().mono,
        tag: 0,
        ceiling: pairs.min(RELAY_PORTS / 2),
    };
    let mut results: Vec<CallResult> = Vec::new();
    for &people in &options.people {
        let known = results
            .last()
            .map(|last| last.calls * pairs_of(last.people));
        results.push(bench.find(people, known)?);
    }
    drop(bench);
    Ok(response(options, &results))
}

impl Bench<'_> {
    /// Finds the number of calls of this size that are carried. `known` pairs were carried in other calls.
    fn find(&mut self, people: usize, known: Option<usize>) -> Result<CallResult, Failure> {
        let began = clock::now().mono;
        let passed = || clock::now().mono.since(began);
        let pairs = pairs_of(people);
        let hint = known.map(|known| known * 3 / 4 / pairs);
        let mut search = Search::new(pairs, hint, self.ceiling / pairs);
        let mut bottleneck = Bottleneck::Nothing;
        while passed() < self.options.time.mul_f64(SEARCH_SHARE) {
            let Some(calls) = search.next() else {
                if search.retry_failed() {
                    continue;
                } else {
                    break;
                }
            };
            let there = self.allocate(calls, people)?;
            if there < calls {
                search.limit(there);
                continue;
            }
            let mut attempted = self.run_attempt(calls, people, ATTEMPT_SHARE)?;
            if !self.carried(&attempted) {
                // One failure is no proof: another program may have used the cores at that moment.
                let retransmit_at = self.run_attempt(calls, people, ATTEMPT_SHARE)?;
                if self.carried(&retransmit_at) {
                    attempted = retransmit_at;
                }
            }
            let carried = self.carried(&attempted);
            if !carried {
                bottleneck = diagnose(&attempted);
            }
            search.learn(calls, carried);
        }
        if search.is_at_its_ceiling() {
            bottleneck = Bottleneck::Allocations;
        }
        self.confirm(people, search.carried(), bottleneck, passed)
    }

    /// Repeats the result for longer, with fewer calls if it is not carried.
    fn confirm(
        &mut self,
        people: usize,
        calls: usize,
        mut bottleneck: Bottleneck,
        passed: impl Fn() -> Duration,
    ) -> Result<CallResult, Failure> {
        let mut calls = calls.max(1);
        let mut tenths = 0;
        if self.allocate(calls, people)? < calls {
            return Err(Failure::new(format!(
                "not even one call of {people} people got its allocations"
            )));
        }
        loop {
            let attempted = self.run_attempt(calls, people, CONFIRM_SHARE)?;
            let held = self.carried(&attempted);
            if !held {
                bottleneck = diagnose(&attempted);
            }
            let time_is_up = passed() + self.options.time.mul_f64(CONFIRM_SHARE)
                > self.options.time.mul_f64(MAX_TIME_SHARE);
            if held || calls == 1 || time_is_up {
                return Ok(CallResult {
                    people,
                    calls,
                    attempted,
                    held,
                    bottleneck,
                });
            }
            // Each step down is larger than the last, so that a result is found in time.
            tenths += 1;
            calls -= (calls * tenths / 10).clamp(1, calls - 1);
        }
    }

    fn allocate(&mut self, calls: usize, people: usize) -> Result<usize, Failure> {
        let pairs = pairs_of(people);
        let text = format!("{} of {people}: allocating", counted(calls, "call"));
        let show = || self.progress.show(self.done(), &text);
        let (whole, _) = self.pool.allocate(calls, pairs, ALLOCATE_TIMEOUT, show)?;
        self.check_running()?;
        Ok(whole)
    }

    fn run_attempt(&mut self, calls: usize, people: usize, share: f64) -> Result<Attempt, Failure> {
        self.tag += 1;
        let time = self.options.time.mul_f64(share);
        let run = Run {
            people,
            calls,
            interval: INTERVAL,
            size: SIZE,
            time,
            grace: RECEIVE_GRACE.max(2 * self.options.max_p99),
            tag: self.tag,
        };
        let (pid, port) = (self.server.pid(), self.server.address().port());
        let before = Sample::take(pid, port);
        let text = format!("{} of {people}", counted(calls, "call"));
        let show = || self.progress.show(self.done(), &text);
        let stats = self.pool.run(calls, run, show)?;
        let usage = Sample::take(pid, port).since(&before);
        self.check_running()?;
        Ok(Attempt { stats, usage, time })
    }

    /// Fails if a signal has stopped the run or the server has ended.
    fn check_running(&mut self) -> Result<(), Failure> {
        check_stopped(&self.pool.shared.stop)?;
        self.server.check_alive()
    }

    fn done(&self) -> f64 {
        let whole = self.options.time.as_secs_f64() * self.options.people.len() as f64;
        clock::now().mono.since(self.began).as_secs_f64() / whole
    }

    fn carried(&self, attempted: &Attempt) -> bool {
        let p99 = attempted.stats.latency.percentile(0.99);
        !fell_behind(&attempted.stats)
            && attempted.stats.lost_percent() <= self.options.max_lost_percent
            && p99.is_some_and(|p99| p99 <= self.options.max_p99)
    }
}

impl CallResult {
    fn packets(&self) -> f64 {
        self.attempted.stats.received as f64 / self.attempted.time.as_secs_f64()
    }

    /// CPU time of the server per relayed packet.
    fn server_micros(&self) -> f64 {
        self.attempted.usage.server.as_secs_f64() * 1e6
            / self.attempted.stats.received.max(1) as f64
    }

    fn cores(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.attempted.time.as_secs_f64()
    }

    fn json(&self) -> Value {
        let Attempt { stats, usage, .. } = &self.attempted;
        json!({
            "people": self.people,
            "calls": self.calls,
            "held": self.held,
            "allocations": 2 * self.calls * pairs_of(self.people),
            "packets_per_second": rounded(self.packets(), 1),
            "lost_percent": rounded(stats.lost_percent(), 3),
            "latency_ms": latency(stats),
            "server": {
                "cores": rounded(self.cores(usage.server), 2),
                "busiest_thread": rounded(usage.server_busiest, 2),
                "micros_per_packet": rounded(self.server_micros(), 2),
                "datagrams_lost": usage.lost_at_server,
            },
            "generator": {
                "cores": rounded(self.cores(stats.busy), 2),
                "datagrams_lost": usage.lost_elsewhere,
            },
            "others": { "cores": rounded(self.attempted.others(), 2) },
            "bottleneck": { "what": self.bottleneck.name(), "why": self.bottleneck.to_string() },
        })
    }

    fn row(&self) -> Vec<String> {
        let Attempt { stats, usage, .. } = &self.attempted;
        let p99 = stats.latency.percentile(0.99);
        vec![
            self.people.to_string(),
            self.calls.to_string(),
            format!("{:.0}", self.packets()),
            format!("{:.2} %", stats.lost_percent()),
            p99.map_or("-".to_owned(), |p99| format!("{:.1} ms", millis(p99))),
            format!("{:.2} cores", self.cores(usage.server)),
            format!("{:.2} cores", self.cores(stats.busy)),
            format!("{:.2} cores", self.attempted.others()),
        ]
    }
}

fn response(options: &LocalOptions, results: &[CallResult]) -> Response {
    let cores = sysinfo::cores();
    let json = json!({
        "cores": cores,
        "packet": { "bytes": SIZE, "per_second": 50 },
        "limits": {
            "lost_percent": options.max_lost_percent,
            "p99_ms": rounded(millis(options.max_p99), 3),
        },
        "results": results.iter().map(CallResult::json).collect::<Vec<_>>(),
    });
    let header = [
        "PEOPLE",
        "CALLS",
        "PACKETS/S",
        "LOST",
        "P99",
        "SERVER",
        "GENERATOR",
        "OTHERS",
    ];
    let mut response = Response::table(json, &header, results.iter().map(CallResult::row));
    for one in results {
        let CallResult { people, calls, .. } = one;
        response = response.remark(if one.held { format!("Calls of {people}, more than {calls}: {}.", one.bottleneck) } else { format!(
            "Calls of {people}: the load of the machine varied too much; {calls} were not carried \
             to the end either; {}.",
            one.bottleneck
        ) });
    }
    if cfg!(debug_assertions) {
        response = response.remark("This is a debug build: a release build carries far more.");
    }
    response.remark(format!(
        "Server and load generator shared this machine's {cores} cores and used its loopback \
         interface: a network card costs more, a machine without the generator carries more."
    ))
}
