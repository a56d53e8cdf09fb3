//! `parlor bench relay`: loads any TURN server with pairs of clients, and tells what came through.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Answer, Failure};
use crate::clock;
use crate::relay::host::raise_descriptor_limit;

use super::client::Trouble;
use super::crew::Crew;
use super::login::Login;
use super::machine;
use super::media::{Ran, Run};
use super::progress::{Progress, stop_at_signals, unless_stopped};
use super::target::Uri;
use super::worker::{Troubles, merge};

/// How long the server may take to let everybody in. With a run it stays below the five minutes
/// that a permission lasts (RFC 8656 section 9).
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to listen after the last packet.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Threads are of no use past this.
const MOST_THREADS: usize = 8;

/// Descriptors beside the clients' sockets.
const OTHER_DESCRIPTORS: u64 = 64;

pub struct Load {
    pub server: Uri,
    pub login: Login,
    /// Even.
    pub clients: usize,
    /// Packets a second of each.
    pub rate: u32,
    /// Bytes of application data.
    pub size: usize,
    pub time: Duration,
}

/// # Errors
/// One sentence, where no pair of clients got through.
pub fn run(load: &Load) -> Result<Answer, Failure> {
    let stop = stop_at_signals()?;
    enough_descriptors(load.clients)?;
    let target = load.server.look_up().map_err(Failure::refused)?;
    let pairs = load.clients / 2;
    let threads = machine::cores().min(MOST_THREADS).min(pairs);
    let crew = Crew::start(threads, target, load.login.clone(), stop.clone())?;
    let progress = Progress::new();

    let start = clock::now().mono;
    let show = || {
        let ready = crew.shared.ready.load(Ordering::Relaxed);
        let done = ready as f64 / load.clients as f64;
        progress.show(done, &format!("{ready} of {} allocated", load.clients));
    };
    let (pairs, grown) = crew.grow(pairs, 1, PATIENCE, show)?;
    let setup = clock::now().mono.since(start);
    if let Err(stopped) = unless_stopped(&stop) {
        crew.release()?;
        return Err(stopped);
    }
    if pairs == 0 {
        return Err(nobody(&load.server, grown.heard, &grown.troubles));
    }

    let run = Run {
        people: 2,
        calls: pairs,
        interval: Duration::from_secs(1) / load.rate,
        size: load.size,
        time: load.time,
        stragglers: STRAGGLERS,
        tag: 1,
    };
    let start = clock::now().mono;
    let show = || {
        let sent = crew.shared.sent.load(Ordering::Relaxed);
        let passed = clock::now().mono.since(start);
        let done = passed.as_secs_f64() / load.time.as_secs_f64();
        progress.show(done, &format!("{sent} packets sent"));
    };
    let ran = crew.run(pairs, run, show)?;
    crew.release()?;
    drop(progress);
    unless_stopped(&stop)?;
    let mut troubles = grown.troubles;
    merge(&mut troubles, &ran.troubles);
    Ok(told(load, 2 * pairs, setup, &ran, &troubles))
}

fn enough_descriptors(clients: usize) -> Result<(), Failure> {
    let (needed, allowed) = (clients as u64 + OTHER_DESCRIPTORS, raise_descriptor_limit());
    match needed > allowed {
        true => Err(Failure::refused(format!(
            "{clients} clients need {needed} descriptors, and the system allows {allowed}: raise \
             the limit (`ulimit -n`), or take fewer clients"
        ))),
        false => Ok(()),
    }
}

/// Why nobody got through, by what happened most.
fn nobody(server: &Uri, heard: bool, troubles: &Troubles) -> Failure {
    let most = troubles.iter().max_by_key(|(_, count)| **count);
    let sentence = match most.map(|(trouble, _)| trouble) {
        Some(Trouble::Refused) => format!("nothing listens at {server}: connection refused"),
        Some(Trouble::Timeout) if !heard => format!("{server} does not answer"),
        Some(Trouble::Code(401)) => format!(
            "{server} refuses the credential (401): is it the server's own secret, or a name and \
             password that it knows?"
        ),
        Some(Trouble::Code(403)) => format!(
            "{server} lets no client reach another through it (403): its own relayed addresses \
             must be allowed as peers"
        ),
        _ => format!(
            "no two clients got through to {server}: {}",
            listed(troubles)
        ),
    };
    Failure::refused(sentence)
}

fn told(load: &Load, ready: usize, setup: Duration, ran: &Ran, troubles: &Troubles) -> Answer {
    let seconds = load.time.as_secs_f64();
    let allocations = ready as f64 / setup.as_secs_f64().max(1e-6);
    let packets = ran.received as f64 / seconds;
    let mbit = packets * load.size as f64 * 8.0 / 1e6;
    let errors = troubles.iter();
    let errors = errors.map(|(trouble, count)| (trouble.to_string(), *count));
    let errors: BTreeMap<_, _> = errors.collect();
    let json = json!({
        "server": load.server.to_string(),
        "clients": load.clients,
        "ready": ready,
        "rate": load.rate,
        "size": load.size,
        "seconds": seconds,
        "allocations_per_second": rounded(allocations, 1),
        "planned": ran.planned,
        "sent": ran.sent,
        "received": ran.received,
        "lost_percent": rounded(ran.lost_percent(), 3),
        "packets_per_second": rounded(packets, 1),
        "mbit_per_second": rounded(mbit, 3),
        "latency_ms": latency(ran),
        "errors": errors,
    });
    let percentile = |share| match ran.latency.percentile(share) {
        Some(time) => format!("{:.2} ms", millis(time)),
        None => "-".to_owned(),
    };
    let answer = Answer::facts(
        json,
        &[
            ["server", &load.server.to_string()],
            ["clients", &format!("{ready} of {}", load.clients)],
            ["allocations", &format!("{allocations:.0} a second")],
            ["sent", &ran.sent.to_string()],
            ["received", &ran.received.to_string()],
            ["lost", &format!("{:.2} %", ran.lost_percent())],
            ["packets", &format!("{packets:.0} a second")],
            ["traffic", &format!("{mbit:.2} Mbit/s")],
            ["latency p50", &percentile(0.5)],
            ["latency p99", &percentile(0.99)],
            ["p99.9", &percentile(0.999)],
            ["errors", &listed(troubles)],
        ],
    );
    with_remarks(answer, ran)
}

/// What the figures do not tell by themselves.
fn with_remarks(answer: Answer, ran: &Ran) -> Answer {
    let mut answer = match cfg!(debug_assertions) {
        true => answer.remark("This is a debug build: it generates load slowly."),
        false => answer,
    };
    if falls_behind(ran) {
        let missing = ran.planned.saturating_sub(ran.sent);
        answer = answer.remark(format!(
            "The generator fell behind: {missing} packets of {} were never sent. The figures are \
             those of what was.",
            ran.planned
        ));
    }
    answer
}

/// Whether the generator did not do what was asked of it.
pub fn falls_behind(ran: &Ran) -> bool {
    ran.sent * 100 < ran.planned * 99
}

pub fn latency(ran: &Ran) -> Value {
    let share = |share| {
        let time = ran.latency.percentile(share);
        time.map(|time| rounded(millis(time), 3))
    };
    json!({ "p50": share(0.5), "p99": share(0.99), "p99_9": share(0.999) })
}

pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// For scripts: no more digits than mean something.
pub fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn listed(troubles: &Troubles) -> String {
    let each = troubles.iter();
    let each = each.map(|(trouble, count)| format!("{trouble} × {count}"));
    each.collect::<Vec<_>>().join(", ")
}
