//! `SIGUSR2`: the same process, another binary.

use super::*;
use support::turn::{both_hear_each_other, connected};

/// Waits until a daemon has been ready so many times.
pub fn ready(daemon: &Daemon, times: usize) {
    daemon.wait_for_logs(&["\"message\":\"ready\""], times);
}

#[test]
fn a_call_over_udp_goes_on_in_another_binary() {
    let daemon = open_relay().env("PARLOR_TURN__SHARDS", "2").start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    both_hear_each_other(&mut alice, &mut bob, false);

    let (gap, lost) = longest_gap(&alice, &bob, || {
        daemon.signal("USR2");
        ready(&daemon, 2);
    });
    println!("nothing arrived for {gap:?}, {lost} packets were lost");
    assert!(gap < Duration::from_secs(5), "{gap:?}");
    both_hear_each_other(&mut alice, &mut bob, false);
    assert_eq!(metric(daemon.metrics(), "parlor_turn_allocations"), 2);
}
