//! A draining server interrupts no call before its process ends, and a restarted server interrupts no
//! call that needs no relay.

use serde_json::json;

use crate::support::call::{Person, Via};
use crate::support::namespace::in_a_namespace;
use crate::support::{Builder, Daemon, turn};
use crate::{ADA, EMMY, GRACE, enters, folder, opens};

/// The drain timeout: long enough for pages to be disconnected and to reconnect without success.
const DRAIN_TIMEOUT: &str = "3s";

/// Tolerated silence on a machine that stalls. A call that ends as the drain begins has been silent for
/// [`DRAIN_TIMEOUT`].
const SILENCE_MS: u64 = 2000;

in_a_namespace! {
    fn two_people_hear_each_other_until_a_drained_server_ends_in_internal_mode() {
        drained("internal", &[ADA, GRACE], by_command);
    }

    fn three_people_hear_each_other_until_a_drained_server_ends_in_ports_mode() {
        drained("ports", &[ADA, GRACE, EMMY], by_command);
    }

    fn three_people_hear_each_other_until_a_stopped_server_ends_in_internal_mode() {
        drained("internal", &[ADA, GRACE, EMMY], by_signal);
    }

    fn two_people_hear_each_other_until_a_stopped_server_ends_in_ports_mode() {
        drained("ports", &[ADA, GRACE], by_signal);
    }

    fn the_page_tells_new_users_to_retry_while_the_server_drains() {
        let daemon = Builder::new().env("PARLOR_TURN__SECRET", turn::SECRET).start();
        // Keeps the drain from ending.
        let mut relay = turn::Client::udp(daemon.turn(), "somebody", None);
        relay.allocated();
        let (link, folder) = (daemon.invite_link(), folder());
        let mut ada = opens(&link, ADA, Via::Any, &folder);
        let mut grace = opens(&link, GRACE, Via::Any, &folder);
        grace.gives_name();
        grace.wait("for the microphone", "!document.querySelector('#enter').hidden");
        daemon.cli_json(&["drain", "--timeout", "1000h", "--detach"]);
        daemon.wait_for_log("\"draining\"");
        ada.gives_name();
        grace.click("#enter");
        for person in [&mut ada, &mut grace] {
            person.sees("The server is about to restart");
        }
        grace.sees("Try again");
    }

    fn a_direct_call_survives_a_restart_and_a_reloaded_page_is_called_again() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let tones = [ADA, GRACE, EMMY];
        let mut people = tones.map(|person| enters(&link, person, Via::Any, &folder));
        each_hears_the_others(&mut people, &tones);

        let daemon = daemon.restart_after(|| {
            let emmy = &mut people[2];
            emmy.browser.tell(&emmy.tab, "Page.navigate", json!({"url": "about:blank"}));
        });
        let emmy = &mut people[2];
        emmy.browser.tell(&emmy.tab, "Page.navigate", json!({"url": link}));
        each_hears_the_others(&mut people, &tones);
        let [ada, grace, emmy] = people.each_mut();
        for person in [ada, grace] {
            person.is_in_the_room();
            let kept = "test.connections.filter((pc) => pc.signalingState !== 'closed').length === 2 \
                        && test.connections.length <= 3";
            person.wait("to have kept one call and begun another", kept);
        }
        emmy.has_seen_no_errors();
        drop(daemon);
    }
}

fn by_command(daemon: &Daemon) {
    daemon.cli_json(&["drain", "--timeout", DRAIN_TIMEOUT, "--detach"]);
}

fn by_signal(daemon: &Daemon) {
    daemon.signal("TERM");
}

fn drained(mode: &str, tones: &[(&'static str, u32)], drain: fn(&Daemon)) {
    let daemon = Builder::new()
        .env("PARLOR_TURN__MODE", mode)
        .env("PARLOR_SERVER__DRAIN_TIMEOUT", DRAIN_TIMEOUT)
        .start();
    let (link, folder) = (daemon.invite_link(), folder());
    let enter = |person: &(&'static str, u32)| enters(&link, *person, Via::RelayUdp, &folder);
    let mut people: Vec<Person> = tones.iter().map(enter).collect();
    each_hears_the_others(&mut people, tones);
    for person in &mut people {
        person.is_relayed_over("udp");
        person.ask("test.records()");
    }

    drain(&daemon);
    for person in &mut people {
        person.wait("to be sent away", "test.closes.includes(1012)");
    }
    // Only the close frame follows.
    daemon.wait_for_log("\"drained\"");
    for person in &mut people {
        let silent = person.ask("test.silent()");
        let silent = silent.as_array().expect("a list").iter();
        let silent: Vec<_> = silent.filter_map(|silent| silent.as_u64()).collect();
        assert_eq!(silent.len(), tones.len() - 1, "{}", person.name);
        let heard = silent.iter().all(|silent| *silent < SILENCE_MS);
        assert!(heard, "{}: {silent:?} ms without a sound", person.name);
    }
    assert!(daemon.wait().success());
    for person in &mut people {
        // The page has ended no call, and started none.
        let open = person.ask("test.connections.map((pc) => pc.signalingState !== 'closed')");
        assert_eq!(open, json!(vec![true; tones.len() - 1]), "{}", person.name);
        let shown = person.ask("document.querySelectorAll('.person').length");
        assert_eq!(shown, tones.len(), "{}", person.name);
        person.has_seen_no_errors();
    }
}

fn each_hears_the_others(people: &mut [Person], tones: &[(&'static str, u32)]) {
    for person in people {
        let others = tones.iter().filter(|(name, _)| *name != person.name);
        let others: Vec<_> = others.copied().collect();
        person.hears(&others);
    }
}
