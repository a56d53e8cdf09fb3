//! The cost of several nodes: CPU time of Redis and delay of each message, and the time until an empty Redis is
//! filled again.
//!
//! ```sh
//! cargo bench --bench cluster              # everything, a minute
//! cargo bench --bench cluster -- messages  # one scenario
//! cargo bench --bench cluster -- scale     # a million members, some minutes and 8 GB; or: scale ROOMS
//! ```
//!
//! The Redis server is started for the run, on loopback. It has core 0, the nodes core 1 (by `taskset`, where it is
//! installed). Each figure is the median of three runs.

mod messages;
mod nodes;
#[path = "../../tests/support/redis.rs"]
mod redis_server;
mod restating;
mod scale;
mod server;

use server::Server;

const RUNS: usize = 3;

fn main() {
    let selected: Vec<String> = std::env::args().skip(1).collect();
    let is_selected = |name: &str| {
        let mut names = selected.iter().filter(|name| !name.starts_with('-'));
        let first = names.next();
        first.is_none_or(|first| first == name || names.any(|other| other == name))
    };
    let server = Server::start();
    if selected.iter().any(|name| name == "scale") {
        return scale::measure(&server, scale::rooms(&selected));
    }
    server::pin(std::process::id(), 1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    if is_selected("messages") {
        runtime.block_on(messages::measure(&server));
    }
    if is_selected("restating") {
        runtime.block_on(restating::measure(&server));
    }
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
