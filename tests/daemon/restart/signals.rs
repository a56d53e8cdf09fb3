//! Signals during an upgrade: each takes effect, and none kills the process.

use super::in_place::ready;
use super::*;
use crate::support::DEADLINE;
use crate::support::http::{Answer, Client};

/// Milliseconds between the signal that asks for the upgrade and the one that follows it, spread over
/// the check of the configuration, the hand-over and the start of the next binary.
fn delays(count: u64) -> impl Iterator<Item = Duration> {
    (0..count).map(|number| Duration::from_millis(number * 37 % 120))
}

#[test]
fn signals_at_any_moment_of_an_upgrade_are_handled() {
    let daemon = open_relay().start();
    let mut upgrades = 1;
    for delay in delays(12) {
        daemon.signal("USR2");
        thread::sleep(delay);
        daemon.signal("HUP");
        upgrades += 1;
        ready(&daemon, upgrades);
    }
    // The last signal is handled; each earlier one was sent before a start that reads the configuration.
    daemon.signal("HUP");
    let counts = |line: &String| line.contains("configuration reloaded");
    let before = daemon.log().iter().filter(|line| counts(line)).count();
    daemon.wait_for_logs(&["configuration reloaded"], before.max(1));
    for delay in delays(40) {
        daemon.signal("USR2");
        thread::sleep(delay / 4);
    }
    // The last signal is pending at the latest after the previous one was handled.
    upgrades += 1;
    ready(&daemon, upgrades);
    // A signal that came after the previous one was handled starts one more upgrade.
    let client = Client::new(daemon.metrics());
    let start = parlor::clock::now().mono;
    let is_ready = |answer: Answer| answer.status == 200;
    while !client.attempt_get("/readyz").is_some_and(is_ready) {
        assert!(
            parlor::clock::now().mono.since(start) < DEADLINE,
            "the server is not ready"
        );
    }
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn a_termination_at_any_moment_of_an_upgrade_ends_the_server_with_0() {
    for delay in delays(12) {
        let daemon = open_relay().start();
        daemon.signal("USR2");
        thread::sleep(delay);
        let ended = daemon.stop();
        assert_eq!(ended.code(), Some(0), "{delay:?} after SIGUSR2: {ended}");
    }
}
