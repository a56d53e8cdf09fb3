//! Candidates that the page gathers before there is a peer.

use parlor::clock;

use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;
use crate::support::{DEADLINE, Daemon};
use crate::{ADA, GRACE, allocations, folder, opens};

/// Keeps the function that closes an unused connection, for the test to call it.
const EXPIRY: &str = "{ const later = setTimeout; window.setTimeout = (run, wait) => {
    if (wait === 25_000) test.expire = run;
    return later(run, wait); }; }";

in_a_namespace! {
    fn the_page_gathers_candidates_after_the_join_and_sends_them_with_the_first_offer() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut grace = opens(&link, GRACE, Via::RelayUdp, &folder);
        grace.gives_name();
        grace.wait("for the microphone", "document.querySelector('#enter').checkVisibility()");
        assert_eq!(grace.ask("test.connections.length"), 0);

        let script = prelude(Via::RelayUdp) + EXPIRY;
        let mut ada = Person::enters_after(&link, ADA, &script, folder.path());
        becomes(&daemon, "Ada has an allocation", |count| count > 0);
        ada.ask("test.expire()");
        becomes(&daemon, "it has ended without a call", |count| count == 0);
        ada.click("#leave");
        ada.click("#again");
        ada.is_in_the_room();
        becomes(&daemon, "Ada has another one", |count| count > 0);

        grace.click("#enter");
        for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
            person.hears(&[other]);
            person.is_relayed_over("udp");
            assert_eq!(person.ask("test.connections.length"), 1);
            person.has_seen_no_errors();
        }
        let offer = "test.sent.find(({ type }) => type === 'offer').data.sdp";
        assert_eq!(ada.ask(&format!("{offer}.includes(' typ relay ')")), true);
    }
}

fn becomes(daemon: &Daemon, what: &str, holds: impl Fn(u64) -> bool) {
    let start = clock::now().mono;
    while !holds(allocations(daemon)) {
        assert!(clock::now().mono.since(start) < DEADLINE, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
