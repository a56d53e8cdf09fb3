//! The two steps of a connect that the floor does not have: the check of the token, and the read of the membership.

use std::hint::black_box;

use nix::sys::resource::{UsageWho, getrusage};
use parlor::storage::Store;
use parlor::token::Tokens;
use tempfile::TempDir;

use crate::load::run;
use crate::server;

/// CPU time of both steps, in µs for each person. They run one after the other, so that nothing is shared.
pub(crate) fn check(people: usize) -> f64 {
    let directory = TempDir::new().expect("a temporary directory");
    let database = directory.path().join("parlor.db");
    server::populate(&database, people);
    let store = Store::open(&database).expect("a database");
    let tokens = server::tokens();
    let all: Vec<String> = (0..people)
        .map(|number| tokens.issue(&server::claims(number)))
        .collect();
    run(async {
        // The first round opens what later ones use.
        check_all(&store, &tokens, &all).await;
        let before = cpu();
        check_all(&store, &tokens, &all).await;
        (cpu() - before) / people as f64
    })
}

async fn check_all(store: &Store, tokens: &Tokens, all: &[String]) {
    for (number, token) in all.iter().enumerate() {
        let now = parlor::clock::now().unix;
        let claims = tokens.check(token, now).expect("a valid token");
        let room = server::room(number);
        let admission = store.admission(&room, &claims.sub, now).await;
        black_box(admission.expect("an answer"));
    }
}

/// CPU time of this process, in µs.
fn cpu() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the usage of this process");
    let times = [usage.user_time(), usage.system_time()];
    let micros = times.map(|time| time.tv_sec() as f64 * 1e6 + time.tv_usec() as f64);
    micros.iter().sum()
}
