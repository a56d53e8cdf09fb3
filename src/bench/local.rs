//! `parlor bench local`: how many calls this machine carries, and what stops it.
//!
//! Server and generator share the machine, so the answer is below what the server alone would do;
//! the CPU time of each is told beside it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Answer, Failure};
use crate::clock::{self, Mono};
use crate::relay::host::raise_descriptor_limit;

use super::child::Server;
use super::crew::Crew;
use super::login::Login;
use super::machine::{self, Sample};
use super::media::Run;
use super::progress::{Progress, stop_at_signals, unless_stopped};
use super::relay::{falls_behind, latency, millis, rounded};
use super::schedule::pairs_of;
use super::search::Search;
use super::target::{Target, Transport};
use super::verdict::{Bottleneck, Tried, judged};

/// Opus: a packet every 20 ms, with SRTP's header and tag about this long at 48 kbit/s.
const INTERVAL: Duration = Duration::from_millis(20);
const SIZE: usize = 160;

/// Descriptors that each of both keeps for other things; the server wants some for HTTP and streams.
const OTHER_DESCRIPTORS: u64 = 512;

/// Ports that the server relays from, as built in.
const RELAY_PORTS: usize = 16_384;

/// How long to listen after the last packet of a try.
const STRAGGLERS: Duration = Duration::from_millis(250);

/// How long the server may take to let the next ones in.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of the time for one size of call: a try, all tries together, and the last, longer one.
const TRY: f64 = 0.05;
const TRIES: f64 = 0.5;
const LAST: f64 = 0.12;
/// And what it may take where the last try fails.
const LONGEST: f64 = 1.25;

pub struct Wish {
    /// Sizes of calls to try.
    pub people: Vec<usize>,
    /// For each of them.
    pub time: Duration,
    pub max_lost_percent: f64,
    pub max_p99: Duration,
}

/// The answer for one size of call.
struct Found {
    people: usize,
    calls: usize,
    tried: Tried,
    /// Whether the longer, last try was carried, too.
    held: bool,
    bottleneck: Bottleneck,
}

/// What is measured with.
struct Bench<'a> {
    wish: &'a Wish,
    server: Server,
    crew: Crew,
    progress: Progress,
    began: Mono,
    tag: u32,
    /// Pairs of clients at once.
    ceiling: usize,
}

/// # Errors
/// One sentence, where the server could not be started, or not even one call was carried.
pub fn run(wish: &Wish) -> Result<Answer, Failure> {
    let stop = stop_at_signals()?;
    let descriptors = raise_descriptor_limit();
    let server = Server::start()?;
    let target = Target {
        address: server.address(),
        transport: Transport::Udp,
    };
    let login = Login::minted_by(&server.secret()?);
    // The server has the other half of the cores.
    let threads = (machine::cores() / 2).max(1);
    let pairs = descriptors.saturating_sub(OTHER_DESCRIPTORS) as usize / 2;
    let mut bench = Bench {
        crew: Crew::start(threads, target, login, stop)?,
        wish,
        server,
        progress: Progress::new(),
        began: clock::now().mono,
        tag: 0,
        ceiling: pairs.min(RELAY_PORTS / 2),
    };
    let mut found: Vec<Found> = Vec::new();
    for &people in &wish.people {
        let known = found.last().map(|last| last.calls * pairs_of(last.people));
        found.push(bench.find(people, known)?);
    }
    drop(bench);
    Ok(told(wish, &found))
}

impl Bench<'_> {
    /// Finds how many calls of so many people are carried; `known` pairs were, in other calls.
    fn find(&mut self, people: usize, known: Option<usize>) -> Result<Found, Failure> {
        let began = clock::now().mono;
        let passed = || clock::now().mono.since(began);
        let pairs = pairs_of(people);
        let hint = known.map(|known| known * 3 / 4 / pairs);
        let mut search = Search::new(pairs, hint, self.ceiling / pairs);
        let mut bottleneck = Bottleneck::Nothing;
        while passed() < self.wish.time.mul_f64(TRIES) {
            let Some(calls) = search.next() else {
                match search.doubt() {
                    true => continue,
                    false => break,
                }
            };
            let there = self.grow(calls, people)?;
            if there < calls {
                search.limit(there);
                continue;
            }
            let mut tried = self.attempt(calls, people, TRY)?;
            if !self.carried(&tried) {
                // Once is no proof: somebody else may have wanted the cores just then.
                let again = self.attempt(calls, people, TRY)?;
                if self.carried(&again) {
                    tried = again;
                }
            }
            let carried = self.carried(&tried);
            if !carried {
                bottleneck = judged(&tried);
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
    ) -> Result<Found, Failure> {
        let mut calls = calls.max(1);
        let mut tenths = 0;
        if self.grow(calls, people)? < calls {
            return Err(Failure::refused(format!(
                "not even one call of {people} got its allocations"
            )));
        }
        loop {
            let tried = self.attempt(calls, people, LAST)?;
            let held = self.carried(&tried);
            if !held {
                bottleneck = judged(&tried);
            }
            let time_is_up =
                passed() + self.wish.time.mul_f64(LAST) > self.wish.time.mul_f64(LONGEST);
            if held || calls == 1 || time_is_up {
                return Ok(Found {
                    people,
                    calls,
                    tried,
                    held,
                    bottleneck,
                });
            }
            // Each step down is larger than the one before: an answer that holds is better than none.
            tenths += 1;
            calls -= (calls * tenths / 10).clamp(1, calls - 1);
        }
    }

    fn grow(&mut self, calls: usize, people: usize) -> Result<usize, Failure> {
        let pairs = pairs_of(people);
        let text = format!("{calls} calls of {people}: allocating");
        let show = || self.progress.show(self.done(), &text);
        let (whole, _) = self.crew.grow(calls, pairs, PATIENCE, show)?;
        self.look_up()?;
        Ok(whole)
    }

    fn attempt(&mut self, calls: usize, people: usize, share: f64) -> Result<Tried, Failure> {
        self.tag += 1;
        let time = self.wish.time.mul_f64(share);
        let run = Run {
            people,
            calls,
            interval: INTERVAL,
            size: SIZE,
            time,
            stragglers: STRAGGLERS.max(2 * self.wish.max_p99),
            tag: self.tag,
        };
        let (pid, port) = (self.server.pid(), self.server.address().port());
        let before = Sample::take(pid, port);
        let text = format!("{calls} calls of {people}");
        let show = || self.progress.show(self.done(), &text);
        let ran = self.crew.run(calls, run, show)?;
        let usage = Sample::take(pid, port).since(&before);
        self.look_up()?;
        Ok(Tried { ran, usage, time })
    }

    /// Whether to go on.
    fn look_up(&mut self) -> Result<(), Failure> {
        unless_stopped(&self.crew.shared.stop)?;
        self.server.still_runs()
    }

    fn done(&self) -> f64 {
        let whole = self.wish.time.as_secs_f64() * self.wish.people.len() as f64;
        clock::now().mono.since(self.began).as_secs_f64() / whole
    }

    fn carried(&self, tried: &Tried) -> bool {
        let p99 = tried.ran.latency.percentile(0.99);
        !falls_behind(&tried.ran)
            && tried.ran.lost_percent() <= self.wish.max_lost_percent
            && p99.is_some_and(|p99| p99 <= self.wish.max_p99)
    }
}

impl Found {
    fn packets(&self) -> f64 {
        self.tried.ran.received as f64 / self.tried.time.as_secs_f64()
    }

    /// CPU time of the server for each packet that it relayed.
    fn server_micros(&self) -> f64 {
        self.tried.usage.server.as_secs_f64() * 1e6 / self.tried.ran.received.max(1) as f64
    }

    fn cores(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.tried.time.as_secs_f64()
    }

    fn json(&self) -> Value {
        let Tried { ran, usage, .. } = &self.tried;
        json!({
            "people": self.people,
            "calls": self.calls,
            "held": self.held,
            "allocations": 2 * self.calls * pairs_of(self.people),
            "packets_per_second": rounded(self.packets(), 1),
            "lost_percent": rounded(ran.lost_percent(), 3),
            "latency_ms": latency(ran),
            "server": {
                "cores": rounded(self.cores(usage.server), 2),
                "busiest_thread": rounded(usage.server_busiest, 2),
                "micros_per_packet": rounded(self.server_micros(), 2),
                "datagrams_lost": usage.lost_at_server,
            },
            "generator": {
                "cores": rounded(self.cores(ran.busy), 2),
                "datagrams_lost": usage.lost_elsewhere,
            },
            "others": { "cores": rounded(self.tried.others(), 2) },
            "bottleneck": { "what": self.bottleneck.name(), "why": self.bottleneck.to_string() },
        })
    }

    fn row(&self) -> Vec<String> {
        let Tried { ran, usage, .. } = &self.tried;
        let p99 = ran.latency.percentile(0.99);
        vec![
            self.people.to_string(),
            self.calls.to_string(),
            format!("{:.0}", self.packets()),
            format!("{:.2} %", ran.lost_percent()),
            p99.map_or("-".to_owned(), |p99| format!("{:.1} ms", millis(p99))),
            format!("{:.2} cores", self.cores(usage.server)),
            format!("{:.2} cores", self.cores(ran.busy)),
            format!("{:.2} cores", self.tried.others()),
        ]
    }
}

fn told(wish: &Wish, found: &[Found]) -> Answer {
    let cores = machine::cores();
    let json = json!({
        "cores": cores,
        "packet": { "bytes": SIZE, "per_second": 50 },
        "limits": {
            "lost_percent": wish.max_lost_percent,
            "p99_ms": rounded(millis(wish.max_p99), 3),
        },
        "results": found.iter().map(Found::json).collect::<Vec<_>>(),
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
    let mut answer = Answer::table(json, &header, found.iter().map(Found::row));
    for one in found {
        let Found { people, calls, .. } = one;
        answer = answer.remark(match one.held {
            true => format!("Calls of {people}, past {calls}: {}.", one.bottleneck),
            false => format!(
                "Calls of {people}: the machine was too unsteady, {calls} were not carried to the \
                 end either; {}.",
                one.bottleneck
            ),
        });
    }
    if cfg!(debug_assertions) {
        answer = answer.remark("This is a debug build: a release build carries far more.");
    }
    answer.remark(format!(
        "Server and load generator shared this machine's {cores} cores over its loopback: a \
         network card costs more, and a machine without the generator has more to give."
    ))
}
