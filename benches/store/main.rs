//! Operations of the store on SQLite and on PostgreSQL, in one run: calls per second, and how long one takes.
//!
//! `cargo bench --bench store`. The PostgreSQL server is started for the run; both write through to the disk.

#[path = "../../tests/support/postgres.rs"]
mod postgres;

use std::time::Duration;

use parlor::clock::{self, Mono};
use parlor::storage::{JoinGrant, NewRoom, PostgresOptions, Store};

const USERS: usize = 1600;
const USERS_PER_ROOM: usize = 10;
/// Calls beside each other.
const CALLERS: usize = 16;
/// Time of one measurement.
const TIME: Duration = Duration::from_secs(5);
/// Unix seconds.
const NOW: u64 = 1_700_000_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        println!("store       call        per s   p50 ms   p99 ms");
        let directory = tempfile::tempdir().expect("a directory");
        let sqlite = Store::open(&directory.path().join("parlor.db")).expect("a database");
        measure("SQLite", &sqlite).await;
        let server = postgres::Server::start_with("-c fsync=on -c full_page_writes=on", |_| {});
        let database = server.create(None);
        let options = PostgresOptions {
            url: database.url().parse().expect("a URL"),
            password: None,
            ca_file: None,
            max_connections: CALLERS,
        };
        let postgres = Store::connect(&options).await.expect("a server");
        measure("PostgreSQL", &postgres).await;
    });
}

async fn measure(name: &str, store: &Store) {
    populate(store).await;
    let admissions = run(store, admission).await;
    report(name, "admission", admissions.concat());
    let (joins, leaves): (Vec<_>, Vec<_>) = run(store, join_and_leave)
        .await
        .into_iter()
        .map(|times| {
            times
                .into_iter()
                .partition::<Vec<_>, _>(|(is_join, _)| *is_join)
        })
        .unzip();
    for (call, times) in [("join", joins), ("leave", leaves)] {
        let times = times.concat().into_iter().map(|(_, time)| time);
        report(name, call, times.collect());
    }
}

async fn populate(store: &Store) {
    for number in (0..USERS).step_by(USERS_PER_ROOM) {
        let (room, _) = names(number);
        let new = NewRoom {
            id: Some(room.clone()),
            name: room,
            ..NewRoom::default()
        };
        store.create_room(new).await.expect("a room");
    }
    for number in 0..USERS {
        let (_, user) = names(number);
        store.provision(&user, None).await.expect("a user");
    }
}

/// The room and the id of a user.
fn names(number: usize) -> (String, String) {
    let room = number / USERS_PER_ROOM;
    (format!("room-{room}"), format!("user-{number}"))
}

/// Runs a caller many times beside itself, each with users of its own; returns what each measured.
async fn run<T, F>(store: &Store, caller: impl Fn(Store, Vec<usize>) -> F) -> Vec<T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let running: Vec<_> = (0..CALLERS)
        .map(|number| {
            let users = (number..USERS).step_by(CALLERS).collect();
            tokio::spawn(caller(store.clone(), users))
        })
        .collect();
    let mut measured = Vec::new();
    for caller in running {
        measured.push(caller.await.expect("a caller ends"));
    }
    measured
}

async fn admission(store: Store, users: Vec<usize>) -> Vec<Duration> {
    let start = clock::now().mono;
    let mut times = Vec::new();
    for user in users.iter().cycle() {
        let (room, user) = names(*user);
        let called = clock::now().mono;
        store.admission(&room, &user, NOW).await.expect("an answer");
        times.push(since(called));
        if since(start) > TIME {
            break;
        }
    }
    times
}

/// Returns the time of each call, and whether it was a join.
async fn join_and_leave(store: Store, users: Vec<usize>) -> Vec<(bool, Duration)> {
    let start = clock::now().mono;
    let mut times = Vec::new();
    for user in users.iter().cycle() {
        let (room, user) = names(*user);
        let called = clock::now().mono;
        let joined = store.join(&room, &user, JoinGrant::None, NOW).await;
        joined.expect("a membership");
        times.push((true, since(called)));
        let called = clock::now().mono;
        store.leave(&room, &user, NOW).await.expect("an answer");
        times.push((false, since(called)));
        if since(start) > TIME {
            break;
        }
    }
    times
}

/// The time that has passed.
fn since(start: Mono) -> Duration {
    clock::now().mono.since(start)
}

fn report(name: &str, call: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1000.0;
    let rate = times.len() as f64 / TIME.as_secs_f64();
    println!(
        "{name:<11} {call:<9} {rate:>7.0} {:>8.2} {:>8.2}",
        at(50),
        at(99)
    );
}
