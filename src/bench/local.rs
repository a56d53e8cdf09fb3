//! `parlor bench local`: how many calls this machine carries, and what stops it.
//!
//! Server and generator share the machine, so the answer is below what the server alone would do;
//! the CPU time of each is told beside it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Failure, Response};
use crate::clock::{self, Mono};
use crate::relay::host::raise_descriptor_limit;

use super::login::Login;
use super::media::Run;
use super::progress::{Progress, check_stopped, stop_at_signals};
use super::relay::{fell_behind, latency, millis, rounded};
use super::report::{Attempt, Bottleneck, diagnose};
use super::schedule::pairs_of;
use super::search::Search;
use super::subprocess::Server;
use super::sysinfo::{self, Sample};
use super::target::{Target, Transport};
use super::worker_pool::WorkerPool;

/// Opus: a packet every 20 ms, with SRTP's header and tag about this long at 48 kbit/s.
const INTERVAL: Duration = Duration::from_millis(20);
const SIZE: usize = 160;

/// Descriptors that each of both keeps for other things; the server wants some for HTTP and streams.
const OTHER_DESCRIPTORS: u64 = 512;

/// Ports that the server relays from, as built in.
const RELAY_PORTS: usize = 16_384;

/// How long to listen after the last packet of a try.
const RECEIVE_GRACE: Duration = Duration::from_millis(250);

/// How long the server may take to let the next ones in.
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(10);

/// Of the time for one size of call: a try, all tries together, and the last, longer one.
const ATTEMPT_SHARE: f64 = 0.05;
const SEARCH_SHARE: f64 = 0.5;
const CONFIRM_SHARE: f64 = 0.12;
/// And what it may take where the last try fails.
const MAX_TIME_SHARE: f64 = 1.25;

pub struct LocalOptions {
    /// Sizes of calls to try.
    pub people: Vec<usize>,
    /// For each of them.
    pub time: Duration,
    pub max_lost_percent: f64,
    pub max_p99: Duration,
}

/// The answer for one size of call.
struct CallResult {
    people: usize,
    calls: usize,
    attempted: Attempt,
    /// Whether the longer, last try was carried, too.
    held: bool,
    bottleneck: Bottleneck,
}

/// What is measured with.
struct Bench<'a> {
    options: &'a LocalOptions,
    server: Server,
    pool: WorkerPool,
    progress: Progress,
    began: Mono,
    tag: u32,
    /// Pairs of clients at once.
    ceiling: usize,
}

/// # Errors
/// One sentence, where the server could not be started, or not even one call was carried.
pub fn run(options: &LocalOptions) -> Result<Response, Failure> {
    let stop = stop_at_signals()?;
    let descriptors = raise_descriptor_limit();
    let server = Server::start()?;
    let target = Target {
        address: server.address(),
        transport: Transport::Udp,
    };
    let login = Login::minted_by(&server.secret()?);
    // The server has the other half of the cores.
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
    /// Finds how many calls of so many people are carried; `known` pairs were, in other calls.
    fn find(&mut self, people: usize, known: Option<usize>) -> Result<CallResult, Failure> {
        let began = clock::now().mono;
        let passed = || clock::now().mono.since(began);
        let pairs = pairs_of(people);
        let hint = known.map(|known| known * 3 / 4 / pairs);
        let mut search = Search::new(pairs, hint, self.ceiling / pairs);
        let mut bottleneck = Bottleneck::Nothing;
        while passed() < self.options.time.mul_f64(SEARCH_SHARE) {
            let Some(calls) = search.next() else {
                match search.retry_failed() {
                    true => continue,
                    false => break,
                }
            };
            let there = self.allocate(calls, people)?;
            if there < calls {
                search.limit(there);
                continue;
            }
            let mut attempted = self.run_attempt(calls, people, ATTEMPT_SHARE)?;
            if !self.carried(&attempted) {
                // Once is no proof: somebody else may have wanted the cores just then.
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

    /// Tries what was found for longer, and less where that is too much.
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
                "not even one call of {people} got its allocations"
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
            // Each step down is larger than the one before: an answer that holds is better than none.
            tenths += 1;
            calls -= (calls * tenths / 10).clamp(1, calls - 1);
        }
    }

    fn allocate(&mut self, calls: usize, people: usize) -> Result<usize, Failure> {
        let pairs = pairs_of(people);
        let text = format!("{calls} calls of {people}: allocating");
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
        let text = format!("{calls} calls of {people}");
        let show = || self.progress.show(self.done(), &text);
        let stats = self.pool.run(calls, run, show)?;
        let usage = Sample::take(pid, port).since(&before);
        self.check_running()?;
        Ok(Attempt { stats, usage, time })
    }

    /// Whether to go on.
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

    /// CPU time of the server for each packet that it relayed.
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
        response = response.remark(match one.held {
            true => format!("Calls of {people}, past {calls}: {}.", one.bottleneck),
            false => format!(
                "Calls of {people}: the machine was too unsteady, {calls} were not carried to the \
                 end either; {}.",
                one.bottleneck
            ),
        });
    }
    if cfg!(debug_assertions) {
        response = response.remark("This is a debug build: a release build carries far more.");
    }
    response.remark(format!(
        "Server and load generator shared this machine's {cores} cores over its loopback: a \
         network card costs more, and a machine without the generator has more to give."
    ))
}
