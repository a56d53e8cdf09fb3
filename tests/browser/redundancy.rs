//! When the page asks for redundant audio. `links.rs` has a call that loses packets.

use serde_json::json;

use crate::support::Daemon;
use crate::support::call::Via;
use crate::support::namespace::in_a_namespace;
use crate::{ADA, folder, opens};

in_a_namespace! {
    fn redundancy_is_switched_by_loss_and_at_most_every_thirty_seconds() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = opens(&daemon.invite_link(), ADA, Via::Any, &folder);
        ada.sees("You are invited");
        // After 10 s without loss 6 s with much, 40 s without, 40 s with much, and 60 s with little.
        let expected = json!([[14, true], [44, false], [74, true]]);
        assert_eq!(ada.ask(CHANGES), expected);
    }
}

/// The seconds of the changes and their direction. Each report is about a hundred packets in two seconds.
const CHANGES: &str = "import('../assets/redundancy.js').then(({ Redundancy }) => {
    const redundancy = new Redundancy();
    const changes = [];
    let [time, packets, lost] = [0, 0, 0];
    for (const [seconds, percent] of [[10, 0], [6, 5], [40, 0], [40, 5], [60, 1]]) {
        for (let reports = seconds / 2; reports > 0; reports--) {
            time += 2_000;
            packets += 100 - percent;
            lost += percent;
            if (redundancy.take({ packets, lost }, time)) changes.push([time / 1_000, redundancy.isOn]);
        }
    }
    return changes;
})";
