//! `parlor bench relay`: loads any TURN server with pairs of clients, and measures loss and latency.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};

use crate::admin::{Failure, Response};
use crate::clock;
use crate::relay::descriptor_limit::raise_descriptor_limit;

use super::client::ClientError;
use super::login::Login;
use super::media::{Run, RunStats};
use super::progress::{Progress, check_stopped, stop_at_signals};
use super::sysinfo;
use super::target::Uri;
use super::worker::{ErrorCounts, merge};
use super::worker_pool::WorkerPool;

/// Timeout for all allocations. Together with a run, it stays below the five minutes that a permission
/// lasts (RFC 8656 section 9).
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(60);

/// Time to receive late packets after the last one.
const RECEIVE_GRACE: Duration = Duration::from_secs(1);

/// More threads increase the load no further.
const MAX_THREADS: usize = 8;

/// Descriptors besides the sockets of the clients.
const OTHER_DESCRIPTORS: u64 = 64;

pub struct RelayOptions {
    pub server: Uri,
    pub login: Login,
    /// Number of clients; even.
    pub clients: usize,
    /// Packets per second and client.
    pub rate: u32,
    /// Bytes of application data.
    pub size: usize,
    pub time: Duration,
}

/// # Errors
/// No pair of clients could exchange media.
pub fn run(options: &RelayOptions) -> Result<Response, Failure> {
    let stop = stop_at_signals()?;
    enough_descriptors(options.clients)?;
    let target = options.server.resolve().map_err(Failure::new)?;
    let pairs = options.clients / 2;
    let threads = sysinfo::cores().min(MAX_THREADS).min(pairs);
    let pool = WorkerPool::start(threads, target, options.login.clone(), stop.clone())?;
    let progress = Progress::new();

    let start = clock::now().mono;
    let show = || {
        let ready = pool.shared.ready.load(Ordering::Relaxed);
        let done = ready as f64 / options.clients as f64;
        progress.show(done, &format!("{ready} of {} allocated", options.clients));
    };
    let (pairs, allocated) = pool.allocate(pairs, 1, ALLOCATE_TIMEOUT, show)?;
    let setup = clock::now().mono.since(start);
    if let Err(stopped) = check_stopped(&stop) {
        pool.release()?;
        return Err(stopped);
    }
    if pairs == 0 {
        return Err(no_pair_error(
            &options.server,
            allocated.server_responded,
            &allocated.errors,
        ));
    }

    let run = Run {
        people: 2,
        calls: pairs,
        interval: Duration::from_secs(1) / options.rate,
        size: options.size,
        time: options.time,
        grace: RECEIVE_GRACE,
        tag: 1,
    };
    let start = clock::now().mono;
    let show = || {
        let sent = pool.shared.sent.load(Ordering::Relaxed);
        let passed = clock::now().mono.since(start);
        let done = passed.as_secs_f64() / options.time.as_secs_f64();
        progress.show(done, &format!("{sent} packets sent"));
    };
    let stats = pool.run(pairs, run, show)?;
    pool.release()?;
    drop(progress);
    check_stopped(&stop)?;
    let mut errors = allocated.errors;
    merge(&mut errors, &stats.errors);
    Ok(response(options, 2 * pairs, setup, &stats, &errors))
}

fn enough_descriptors(clients: usize) -> Result<(), Failure> {
    let (needed, allowed) = (clients as u64 + OTHER_DESCRIPTORS, raise_descriptor_limit());
    if needed > allowed {
        Err(Failure::new(format!(
            "{clients} clients need {needed} descriptors, and the limit is {allowed}: raise it \
         (`ulimit -n`), or use fewer clients"
        )))
    } else {
        Ok(())
    }
}

/// Returns the most frequent reason why no pair could exchange media.
fn no_pair_error(server: &Uri, server_responded: bool, errors: &ErrorCounts) -> Failure {
    let most = errors.iter().max_by_key(|(_, count)| **count);
    let sentence = match most.map(|(error, _)| error) {
        Some(ClientError::Refused) => format!("no server listens at {server}: connection refused"),
        Some(ClientError::Timeout) if !server_responded => format!("{server} does not respond"),
        Some(ClientError::Code(401)) => format!(
            "{server} rejects the credential (401): use the server's secret, or a user name and \
             password of the server"
        ),
        Some(ClientError::Code(403)) => format!(
            "{server} forbids its own relayed addresses as peers (403): allow them in its \
             configuration"
        ),
        _ => format!(
            "no two clients could exchange media through {server}: {}",
            format_errors(errors)
        ),
    };
    Failure::new(sentence)
}

fn response(
    options: &RelayOptions,
    ready: usize,
    setup: Duration,
    stats: &RunStats,
    errors: &ErrorCounts,
) -> Response {
    let seconds = options.time.as_secs_f64();
    let allocations = ready as f64 / setup.as_secs_f64().max(1e-6);
    let packets = stats.received as f64 / seconds;
    let mbit = packets * options.size as f64 * 8.0 / 1e6;
    let error_counts = errors.iter();
    let error_counts = error_counts.map(|(error, count)| (error.to_string(), *count));
    let error_counts: BTreeMap<_, _> = error_counts.collect();
    let json = json!({
        "server": options.server.to_string(),
        "clients": options.clients,
        "ready": ready,
        "rate": options.rate,
        "size": options.size,
        "seconds": seconds,
        "allocations_per_second": rounded(allocations, 1),
        "planned": stats.planned,
        "sent": stats.sent,
        "received": stats.received,
        "lost_percent": rounded(stats.lost_percent(), 3),
        "packets_per_second": rounded(packets, 1),
        "mbit_per_second": rounded(mbit, 3),
        "latency_ms": latency(stats),
        "errors": error_counts,
    });
    let percentile = |share| match stats.latency.percentile(share) {
        Some(time) => format!("{:.2} ms", millis(time)),
        None => "-".to_owned(),
    };
    let response = Response::facts(
        json,
        &[
            ["server", &options.server.to_string()],
            ["clients", &format!("{ready} of {}", options.clients)],
            ["allocations", &format!("{allocations:.0} a second")],
            ["sent", &stats.sent.to_string()],
            ["received", &stats.received.to_string()],
            ["lost", &format!("{:.2} %", stats.lost_percent())],
            ["packets", &format!("{packets:.0} a second")],
            ["traffic", &format!("{mbit:.2} Mbit/s")],
            ["latency p50", &percentile(0.5)],
            ["latency p99", &percentile(0.99)],
            ["p99.9", &percentile(0.999)],
            ["errors", &format_errors(errors)],
        ],
    );
    with_remarks(response, stats)
}

/// Adds remarks about the limits of the measurement.
fn with_remarks(response: Response, stats: &RunStats) -> Response {
    let mut response = if cfg!(debug_assertions) {
        response.remark("This is a debug build: it generates load slowly.")
    } else {
        response
    };
    if fell_behind(stats) {
        let missing = stats.planned.saturating_sub(stats.sent);
        response = response.remark(format!(
            "The generator was too slow: {missing} of {} packets were not sent. The numbers cover \
             the packets that were sent.",
            stats.planned
        ));
    }
    response
}

/// Returns whether the generator sent fewer packets than planned.
pub(super) fn fell_behind(stats: &RunStats) -> bool {
    stats.sent * 100 < stats.planned * 99
}

pub(super) fn latency(stats: &RunStats) -> Value {
    let share = |share| {
        let time = stats.latency.percentile(share);
        time.map(|time| rounded(millis(time), 3))
    };
    json!({ "p50": share(0.5), "p99": share(0.99), "p99_9": share(0.999) })
}

pub(super) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Rounds a value for scripts to its significant digits.
pub(super) fn rounded(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

fn format_errors(errors: &ErrorCounts) -> String {
    let each = errors.iter();
    let each = each.map(|(error, count)| format!("{error} × {count}"));
    each.collect::<Vec<_>>().join(", ")
}
