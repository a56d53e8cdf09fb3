//! A NAT that forgets its mappings in mid-call: the page restarts ICE long before ICE notices.

use crate::support::Builder;
use crate::support::call::{Person, Via, prelude};
use crate::support::hosts::{self, BEHIND_NAT, DIRECT, ROUTER, SERVER};
use crate::support::namespace::in_a_namespace;
use crate::{ADA, GRACE, folder};

/// The longest silence in milliseconds. A release build, which `tests/long/rebinding` runs alone on the machine, meets
/// the real limit. In CI other tests run beside it: there the silence ends before ICE would notice.
const SILENCE_MS: f64 = if cfg!(debug_assertions) {
    5_000.0
} else {
    1_500.0
};

in_a_namespace! {
    fn a_call_through_the_relay_alone_is_heard_again_soon_after_a_nat_rebinding() {
        rebound_in_mid_call(Via::RelayUdp, Notices::Page);
    }

    fn a_call_is_heard_again_soon_after_the_relay_reported_the_dead_path() {
        rebound_in_mid_call(Via::RelayUdp, Notices::Relay);
    }

    fn a_call_by_any_path_is_heard_again_soon_after_a_nat_rebinding() {
        rebound_in_mid_call(Via::Any, Notices::Page);
    }
}

/// The side that notices the dead path; the other one is switched off.
#[derive(Clone, Copy, PartialEq)]
enum Notices {
    Page,
    /// The WebSocket lives, so that `path-lost` arrives.
    Relay,
}

/// Hides from the page that audio has been played: it then detects nothing by itself.
pub(crate) const BLIND: &str = "RTCRtpReceiver.prototype.getSynchronizationSources = () => [];";

/// Skipped without a namespace: the NAT would be that of this machine.
fn rebound_in_mid_call(via: Via, notices: Notices) {
    if !hosts::may_make_hosts() {
        return;
    }
    let (quality, blind) = match notices {
        Notices::Page => ("off", ""),
        Notices::Relay => ("on", BLIND),
    };
    let daemon = Builder::new()
        .env("PARLOR_HTTP__LISTEN", &format!("{SERVER}:0"))
        .env("PARLOR_TURN__LISTEN", &format!("{SERVER}:0"))
        .env("PARLOR_TURN__QUALITY", quality)
        .start();
    let (link, folder) = (daemon.invite_link(), folder());
    let script = prelude(via) + blind;
    let mut ada = Person::enters_from(BEHIND_NAT, &link, ADA, &script, folder.path());
    let mut grace = Person::enters_from(DIRECT, &link, GRACE, &script, folder.path());
    for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
        person.hears(&[other]);
        person.ask("test.listens()");
        person.ask("test.watches()");
        // The page must have seen a call in order to miss it.
        person.wait(
            "for two seconds of audio",
            "test.packets().then(({ received }) => received > 100)",
        );
    }
    let before = ada.ask("test.ice()");
    ROUTER.rebinds(notices == Notices::Relay);
    ada.wait("for ICE to restart", &format!("test.ice() !== {before}"));
    for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
        person.wait("for packets after a pause", "test.seen.pause > 400");
        person.hears(&[other]);
        let seen = person.ask("test.seen");
        println!(
            "{}: longest without a sound and without a packet, in ms: {seen}",
            person.name
        );
        let pause = seen["pause"].as_f64().expect("a number");
        assert!(pause < SILENCE_MS, "{}: {pause} ms", person.name);
        person.has_seen_no_errors();
    }
}
