//! Signals during an upgrade: each takes effect, and none kills the process.

use super::in_place::ready;
use super::*;

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
    crate::support::http::Client::new(daemon.metrics())
        .get("/readyz")
        .ok();
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
