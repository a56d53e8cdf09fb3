//! People in real browsers, through the real page, on the real binary.
//!
//! A call counts as proved when the tone that one person's microphone plays is measured at the
//! other's loudspeaker.

mod client;
mod client_moderation;
mod client_session;
mod cluster;
mod drain;
mod dtx;
mod false_alarms;
mod frames;
mod hostile;
mod kick;
mod links;
mod loss;
mod own_state;
mod page;
mod quality;
mod rebinding;
mod redundancy;
#[path = "../support/mod.rs"]
mod support;
mod traffic;

use std::path::Path;
use std::time::Duration;

use parlor::clock;
use serde_json::json;
use tempfile::TempDir;

use crate::support::browser::{Browser, Microphone, TRUSTED_KEY};
use crate::support::call::{Person, Via, prelude};
use crate::support::certificate::Authority;
use crate::support::firefox::Firefox;
use crate::support::namespace::in_a_namespace;
use crate::support::{Builder, DEADLINE, Daemon, http, turn};

// Far enough apart to tell, and none a harmonic of another.
const ADA: (&str, u32) = ("Ada", 523);
const GRACE: (&str, u32) = ("Grace", 787);
const EMMY: (&str, u32) = ("Emmy", 1103);
const MARY: (&str, u32) = ("Mary", 1511);

const OWN_ID: &str = "JSON.parse(Object.values(sessionStorage)[0]).id";

in_a_namespace! {
    fn two_people_hear_each_other_through_the_relay_over_udp() {
        relayed_call(Via::RelayUdp, "udp");
    }

    fn two_people_hear_each_other_through_the_relay_over_tcp() {
        relayed_call(Via::RelayTcp, "tcp");
    }

    fn two_people_hear_each_other_through_the_relay_over_tls() {
        let folder = folder();
        relayed_call_in(&folder, over_tls(&folder), Via::RelayTls, "tls");
    }

    fn a_call_works_if_only_port_443_is_open() {
        let folder = folder();
        call_through_443(&folder, over_tls(&folder));
    }

    fn a_call_works_in_internal_mode_if_only_port_443_is_open() {
        let folder = folder();
        let builder = over_tls(&folder).env("PARLOR_TURN__MODE", "internal");
        call_through_443(&folder, builder);
    }

    fn three_people_hear_each_other_through_one_open_port() {
        let daemon = Builder::new().env("PARLOR_TURN__MODE", "internal").start();
        let (link, folder) = (daemon.invite_link(), folder());
        // Nothing but the page's own configuration says that the relay is to be used.
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        let mut emmy = enters(&link, EMMY, Via::Any, &folder);
        for (person, others) in [
            (&mut ada, [GRACE, EMMY]),
            (&mut grace, [ADA, EMMY]),
            (&mut emmy, [ADA, GRACE]),
        ] {
            person.hears(&others);
            person.is_relayed_by_any_way();
            person.has_seen_no_errors();
        }
    }

    fn two_people_hear_each_other_through_one_open_port_over_tcp() {
        relayed_call_with(Builder::new().env("PARLOR_TURN__MODE", "internal"), Via::RelayTcp, "tcp");
    }

    fn firefox_and_chromium_hear_each_other_through_the_relay() {
        crate::support::namespace::add_interface();
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut fox = Firefox::open(&link, &prelude(Via::RelayUdp), folder.path());
        fox.enters_as("Renard");
        let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
        ada.hears(&[("Renard", crate::support::firefox::TONE)]);
        ada.is_relayed_over("udp");
        ada.has_seen_no_errors();
        fox.hears(ADA.1);
        fox.wait("to see Ada", "test.showsExactly(['Ada'])");
        assert_eq!(fox.evaluate("test.trouble"), Ok(json!([])));
    }

    fn the_documented_client_and_a_plain_frontend_talk_with_the_page() {
        assert_eq!(talks_with_the_page(&documented_client()), json!([]));
        assert_eq!(talks_with_the_page(PLAIN_FRONTEND), json!([]));
    }

    fn two_documented_clients_hear_each_other_until_one_leaves() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let invite = link.split_once('#').expect("an invite").1;
        let added = daemon.command(&["user", "add", "grace", "--password"])
            .env("PARLOR_PASSWORD", "a good password").status();
        assert!(added.expect("the command runs").success());
        let server = format!("http://{}", daemon.http());
        let mut clients = [
            (ADA, format!("guest({server:?}, {invite:?}, 'Ada')")),
            (GRACE, format!("login({server:?}, 'grace', 'a good password')")),
        ].map(|(person, token)| {
            let mut client = opens(&server, person, Via::Any, &folder);
            let client_code = documented_client();
            client.ask(&format!("{client_code}\n{token}.then((a) => talk({server:?}, 'lobby', a.access_token))"));
            client
        });
        let [ada, grace] = &mut clients;
        ada.hears_as_documented(GRACE);
        grace.hears_as_documented(ADA);

        // After a restart both reconnect, and the call has continued.
        let daemon = daemon.restart();
        daemon.wait_for_logs(&["WebSocket admitted"], 2);
        ada.hears_as_documented(GRACE);
        assert_eq!(ada.ask("test.connections.length"), json!(1));
        let wrong = ada.browser.evaluate(&ada.tab, &format!("login({server:?}, 'grace', 'wrong').catch((e) => e.code)"));
        assert_eq!(wrong, Ok(json!("wrong-credentials")));

        ada.ask("call.leave()");
        assert_eq!(ada.ask("ends"), json!(["gone", 1000]));
        grace.wait("for Ada to be gone", "ends.length === 1 && test.open().length === 0");
        for client in [ada, grace] {
            client.has_seen_no_errors();
        }
    }

    /// Acts like a frontend for an older version of the protocol document.
    fn a_frontend_that_sends_the_sdp_alone_and_offers_on_every_user_joined_talks_with_the_page() {
        let mut frontend = PLAIN_FRONTEND.to_owned();
        for (newer, older) in [
            (", peer.localDescription)", ", { sdp: peer.localDescription.sdp })"),
            ("setRemoteDescription(data)", "setRemoteDescription({ type, sdp: data.sdp })"),
            ("candidate && send('ice-candidate', id, candidate)",
             "candidate && send('ice-candidate', id, { candidate: candidate.candidate })"),
            ("type === 'user-joined' && !peer", "type === 'user-joined'"),
        ] {
            assert!(frontend.contains(newer), "{newer}");
            frontend = frontend.replace(newer, older);
        }
        talks_with_the_page(&frontend);
    }

    fn a_call_is_relayed_on_ipv6_and_on_an_ipv4_address_that_is_added_later() {
        addresses_that_come_and_go(false);
    }

    /// It takes a minute: two browsers have to detect that their relay has ended.
    #[cfg_attr(debug_assertions, ignore = "for a build as for use: see tests/long/addresses")]
    fn a_call_recovers_when_its_relayed_address_is_removed() {
        addresses_that_come_and_go(true);
    }

    fn a_restart_does_not_interrupt_a_call() {
        restarted_in_mid_call(0);
    }

    #[cfg_attr(debug_assertions, ignore = "for a build as for use: see tests/long/restart")]
    fn a_restart_with_two_thousand_allocations_does_not_interrupt_a_call() {
        restarted_in_mid_call(2000);
    }

    fn a_third_participant_joins_and_leaves() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
        let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
        ada.hears(&[GRACE]);

        let mut emmy = enters(&link, EMMY, Via::RelayUdp, &folder);
        emmy.hears(&[ADA, GRACE]);
        ada.sees("Emmy joined.");
        ada.hears(&[GRACE, EMMY]);
        grace.hears(&[ADA, EMMY]);

        emmy.click("#leave");
        emmy.sees("You left the room");
        ada.sees("Emmy left.");
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);

        emmy.click("#again");
        emmy.hears(&[ADA, GRACE]);
        drop(emmy); // the browser ends without leaving
        ada.hears(&[GRACE]);
    }

    fn two_rooms_do_not_hear_each_other() {
        let (daemon, folder) = (Daemon::start(), folder());
        let lobby = daemon.invite_link();
        daemon.cli_json(&["room", "create", "Study", "--id", "study"]);
        let study = invite(&daemon, "study", &[]);

        let mut ada = enters(&lobby, ADA, Via::RelayUdp, &folder);
        let mut mary = enters(&study, MARY, Via::RelayUdp, &folder);
        let mut grace = enters(&lobby, GRACE, Via::RelayUdp, &folder);
        let mut emmy = enters(&study, EMMY, Via::RelayUdp, &folder);
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        mary.hears(&[EMMY]);
        emmy.hears(&[MARY]);

        for (person, others) in [(&mut ada, [EMMY, MARY]), (&mut emmy, [ADA, GRACE])] {
            for (name, tone) in others {
                let trace = person.ask(&format!("test.hearsTraceOf({tone})"));
                assert_eq!(trace, false, "{} hears {name} of the other room", person.name);
            }
        }
    }

    fn muting_and_unmuting_are_heard_by_others() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        grace.hears(&[ADA]);

        for (key, pressed, heard) in [("m", "true", 0), ("M", "false", ADA.1)] {
            for kind in ["keyDown", "keyUp"] {
                let event = json!({"type": kind, "key": key, "text": key});
                ada.browser.tell(&ada.tab, "Input.dispatchKeyEvent", event);
            }
            let button = format!("document.querySelector('#mute').ariaPressed === '{pressed}'");
            ada.wait("for the button to show it", &button);
            grace.wait("to hear the difference", &format!("test.hearsExactly([{heard}])"));
        }
    }

    fn a_reloaded_page_is_the_same_participant() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        grace.hears(&[ADA]);
        let id = ada.ask(OWN_ID);

        ada.browser.tell(&ada.tab, "Page.reload", json!({}));
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        assert_eq!(ada.ask(OWN_ID), id);
    }

    fn a_second_window_of_the_same_participant_ends_the_first() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);

        // Like a duplicated tab, which begins with a copy of the session.
        let session = ada.ask("JSON.stringify({...sessionStorage})");
        let copy = format!("Object.assign(sessionStorage, JSON.parse({session}));");
        let second = ada.browser.open(&link, &(prelude(Via::Any) + &copy));
        ada.sees("You are talking in another window");
        let here = "!document.querySelector('#room').hidden && document.querySelector('#link').hidden";
        ada.browser.wait(&second, "the second window to be in the room", here);
    }

    fn a_blocked_microphone_is_explained_and_the_user_can_listen_only() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut browser = Browser::start(folder.path(), "Grace", &Microphone::Refused);
        let tab = browser.open(&link, &prelude(Via::Any));
        let mut grace = Person { browser, tab, name: GRACE.0 };
        grace.gives_name();
        grace.sees("The browser blocked the microphone.");

        grace.click("#listen");
        grace.hears(&[ADA]);
        grace.sees("you, listening only");
        ada.hears(&[("Grace", 0)]);
    }

    fn the_page_over_http_tells_the_user_to_use_https() {
        let (daemon, folder) = (Daemon::start(), folder());
        let file = folder.path().join("unused.wav");
        let mut browser = Browser::start(folder.path(), "Ada", &Microphone::Plays(&file));
        let insecure = "Object.defineProperty(window, 'isSecureContext', {value: false});";
        let tab = browser.open(&daemon.invite_link(), insecure);
        let mut ada = Person { browser, tab, name: ADA.0 };
        ada.gives_name();
        ada.sees("Ask for a link that begins with “https”");
    }

    fn an_invalid_invite_is_reported_before_the_name_step() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let (address, _) = link.split_once('#').expect("an invite in the link");
        let mut ada = opens(&format!("{address}#wrong"), ADA, Via::Any, &folder);
        ada.sees("This invite does not work");
        let buttons = "[...document.querySelectorAll('button, input')].filter((e) => e.checkVisibility()).length";
        assert_eq!(ada.ask(buttons), 0, "no button or input is visible");

        // The right link in the same tab is another chance.
        ada.ask(&format!("location.href = {link:?}"));
        ada.gives_name();
        ada.click("#enter");
        ada.is_in_the_room();

        let mut grace = opens(address, GRACE, Via::Any, &folder);
        grace.sees("This link contains no invite.");
    }

    fn the_page_reports_a_full_room() {
        let (daemon, folder) = (Daemon::start(), folder());
        daemon.cli_json(&["room", "create", "Cell", "--id", "cell", "--max-participants", "1"]);
        let link = invite(&daemon, "cell", &[]);
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = opens(&link, GRACE, Via::Any, &folder);
        grace.sees("The room is full");

        ada.click("#leave");
        daemon.wait_for_log("/leave"); // answered: the room is not full any more
        grace.click("#again");
        grace.gives_name();
        grace.click("#enter");
        grace.is_in_the_room();
    }

    fn a_call_continues_after_the_server_was_down() {
        let folder = folder();
        let mut daemon = Daemon::start();
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
        let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
        grace.hears(&[ADA]);

        daemon = daemon.restart_after(|| {
            ada.sees("The server cannot be reached. Reconnecting");
            grace.sees("The server cannot be reached. Reconnecting");
        });
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        grace.is_in_the_room();
        drop(daemon);
    }

    fn crossing_offers_do_not_end_the_call() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);

        // Both at the same moment, so that each offer meets the other on its way.
        let moment = ada.ask("Date.now() + 500");
        let restart = format!(
            "test.credentials = test.ice(); \
             setTimeout(() => test.connections[0].restartIce(), {moment} - Date.now()), true"
        );
        for person in [&mut ada, &mut grace] {
            person.ask(&restart);
        }
        let restarted = "test.ice() !== test.credentials && test.connections[0].signalingState === 'stable' \
             && test.connections[0].iceConnectionState !== 'checking'";
        ada.wait("for ICE to restart", restarted);
        grace.wait("for ICE to restart", restarted);
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        assert_eq!(ada.ask("test.connections.length"), 1, "the connection is the same");
    }

    fn the_page_reports_that_there_is_no_route() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let _ada = enters(&link, ADA, Via::Nothing, &folder);
        let mut grace = enters(&link, GRACE, Via::Nothing, &folder);
        grace.sees("No route to Ada: there is no direct path and no relay.");
    }

    fn the_page_renews_credentials_before_they_expire() {
        let daemon = Builder::new().env("PARLOR_TURN__CREDENTIAL_TTL", "5s").start();
        let (link, folder) = (daemon.invite_link(), folder());
        let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
        let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
        ada.hears(&[GRACE]);
        let credentials = "test.connections[0].getConfiguration().iceServers[0].username";
        let first = ada.ask(credentials);
        ada.wait("for others", &format!("{credentials} !== {first}"));
        grace.hears(&[ADA]);
    }

    fn a_call_outlives_its_credentials_if_they_end_its_allocations() {
        let daemon = Builder::new()
            .env("PARLOR_TURN__CREDENTIAL_TTL", "6s")
            .env("PARLOR_TURN__END_AT_EXPIRY", "true")
            .env("PARLOR_TURN__QUALITY", "off")
            .start();
        let (link, folder) = (daemon.invite_link(), folder());
        // Nothing but ICE itself notices a dead path.
        let script = prelude(Via::RelayUdp) + rebinding::BLIND;
        let mut ada = Person::enters_after(&link, ADA, &script, folder.path());
        let mut grace = Person::enters_after(&link, GRACE, &script, folder.path());
        for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
            person.hears(&[other]);
            person.ask(
                "test.states = [], test.connections[0].addEventListener('connectionstatechange', \
                 ({ target }) => test.states.push(target.connectionState))",
            );
        }
        // Until the first credentials have expired, each side renews its own and restarts ICE.
        let (start, mut before) = (clock::now().mono, ada.ask("test.ice()"));
        while clock::now().mono.since(start) < Duration::from_secs(8) {
            ada.wait("for ICE to restart", &format!("test.ice() !== {before}"));
            before = ada.ask("test.ice()");
        }
        for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
            person.hears(&[other]);
            // Without a restart in time, the page would restart ICE after a failure alone.
            assert_eq!(person.ask("test.states.includes('failed')"), false, "{}", person.name);
            assert_eq!(person.ask("test.connections.length"), 1);
            person.has_seen_no_errors();
        }
    }

    fn an_expired_guest_joins_again_with_a_valid_invite() {
        // Expired guests are looked for every second.
        let daemon = Builder::new().env("PARLOR_ROOMS__GUEST_GRACE_PERIOD", "4s").start();
        let folder = folder();
        let once = invite(&daemon, "lobby", &["--uses", "1"]);
        let mut ada = enters(&daemon.invite_link(), ADA, Via::Any, &folder);
        let mut grace = enters(&once, GRACE, Via::Any, &folder);
        let first = ada.ask(OWN_ID);
        // As after a night in which the pages could not renew it.
        daemon.sql("UPDATE users SET guest_until = '2026-01-01T00:00:00Z' WHERE guest_until IS NOT NULL");
        grace.sees("Your session has expired");
        ada.wait("to be somebody new", &format!("{OWN_ID} !== {first}"));
        ada.is_in_the_room();
    }

    fn the_page_works_below_a_path() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let proxy = crate::support::prefix_proxy::start("/talk", daemon.http());
        let (_, path) = link.split_once("/r/").expect("a room's link");
        let behind = format!("http://{proxy}/talk/r/{path}");
        let mut ada = enters(&behind, ADA, Via::RelayUdp, &folder);
        let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
    }

    fn the_page_fits_a_phone_with_320_pixels() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let fits = "document.scrollingElement.scrollWidth <= 320";
        let mut ada = opens(&link, ("Ada Augusta King, Countess of Lovelace", 523), Via::Any, &folder);
        ada.browser.resize(&ada.tab, (320, 568), "light");
        ada.wait("for a narrow name step", fits);
        ada.gives_name();
        ada.wait("for a narrow microphone step", fits);
        ada.click("#enter");
        ada.is_in_the_room();
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        ada.hears(&[GRACE]);
        ada.wait("for a narrow room", fits);
        grace.click("#leave");
    }

    fn a_user_disabled_during_a_call_loses_the_relay_even_in_a_modified_browser() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = Person::clings(&link, ADA, Via::RelayUdp, folder.path());
        let mut grace = Person::clings(&link, GRACE, Via::RelayUdp, folder.path());
        grace.hears(&[ADA]);
        grace.ask("test.listens()");
        grace.wait("to hear Ada herself", "test.level() > -40");
        let id = ada.ask(OWN_ID);
        let (before, hers) = (allocations(&daemon), ada.ask("test.relays()").as_u64().unwrap_or(0));
        assert!(0 < hers && hers < before, "{hers} of {before} allocations are Ada's");

        let start = clock::now().mono;
        let took = |what: &str| println!("{what} after {:?}", clock::now().mono.since(start));
        daemon.cli_json(&["user", "disable", id.as_str().expect("an id")]);
        took("the command was done");
        ada.sees("You were removed from the room");
        took("Ada was out");
        while allocations(&daemon) != before - hers {
            let waited = clock::now().mono.since(start);
            assert!(waited < DEADLINE, "{hers} of {before} allocations are not gone");
        }
        took("her relay was gone");
        grace.wait("for silence", "test.level() < -70");
        took("Grace heard silence");

        // The server did all that: neither browser has closed its connections.
        let open = "test.connections[0].signalingState !== 'closed'";
        assert!(ada.ask(open) == true && grace.ask(open) == true);
        assert_eq!(ada.ask("test.allocatesAgain()"), 401);
        grace.is_in_the_room();
    }

    fn the_page_offers_to_rejoin_after_the_user_left_elsewhere() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        ada.ask(
            "fetch('../api/rooms/lobby/leave', {method: 'POST', headers: \
             {Authorization: `Bearer ${JSON.parse(Object.values(sessionStorage)[0]).token}`}}).then(r => r.status)",
        );
        ada.sees("You are no longer in the room");
        ada.click("#again");
        ada.is_in_the_room();
    }
}

/// A minimal frontend that is not the built-in page.
const PLAIN_FRONTEND: &str = include_str!("plain_frontend.js");

/// The client in `docs/build/javascript-client.md`, as a script instead of a module, with a function
/// `talk` that joins a room with it.
fn documented_client() -> String {
    let document = include_str!("../../docs/build/javascript-client.md");
    let code = document.split("```js\n").nth(1).expect("a client");
    let code = code.split("```").next().expect("its end");
    code.replace("export ", "") + TALK
}

const TALK: &str = "
async function talk(server, room, token) {
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: true });
  window.ends = [];
  window.call = new Call(server, room, token, microphone, {
    audio: (id, stream) => Object.assign(new Audio(), { srcObject: stream }).play(),
    gone: (id) => ends.push('gone'),
    ended: (code) => ends.push(code),
  });
  await call.join();
}
";

/// Runs a call between a user of this frontend and a user of the page: the page offers first, and after a
/// reload the frontend does. Returns the errors of the frontend.
fn talks_with_the_page(frontend: &str) -> serde_json::Value {
    let (daemon, folder) = (Daemon::start(), folder());
    let link = daemon.invite_link();
    let mut ada = enters(&link, ADA, Via::Any, &folder);
    daemon.cli_json(&["user", "add", GRACE.0]);
    let issued = daemon.cli_json(&["token", "issue", GRACE.0]);
    let server = format!("http://{}", daemon.http());
    let mut grace = opens(&server, GRACE, Via::Any, &folder);
    let talk = format!("{frontend}\ntalk({server:?}, 'lobby', {})", issued["token"]);
    grace.ask(&talk);

    ada.hears(&[GRACE]);
    let hears_ada = format!("test.hearsExactly([{}])", ADA.1);
    grace.wait("to hear Ada", &hears_ada);
    let voice = grace.ask("test.connections.at(-1).getReceivers()[0].track.id");

    ada.browser.tell(&ada.tab, "Page.reload", json!({}));
    ada.hears(&[GRACE]);
    let another = format!("test.connections.at(-1).getReceivers()[0].track.id !== {voice}");
    grace.wait("for a new connection", &another);
    grace.wait("to hear Ada", &hears_ada);
    ada.has_seen_no_errors();
    grace.ask("test.trouble")
}

fn allocations(daemon: &Daemon) -> u64 {
    let metrics = http::Client::new(daemon.metrics()).get("/metrics").body;
    let metrics = String::from_utf8(metrics).expect("text");
    let mut lines = metrics.lines();
    let living = lines.find_map(|line| line.strip_prefix("parlor_turn_allocations "));
    living.expect("the metric").parse().expect("a number")
}

/// Renews the picture in the README: `cargo test --test browser -- --ignored`.
#[test]
#[ignore = "writes docs/images/call.png"]
fn the_picture_in_the_readme_is_of_a_real_call() {
    let (daemon, folder) = (Daemon::start(), folder());
    let link = daemon.invite_link();
    let names = [
        ("Ada Lovelace", 523),
        ("Grace Hopper", 787),
        ("Emmy Noether", 1103),
    ];
    let mut people = names.map(|person| enters(&link, person, Via::Any, &folder));
    let [ada, _grace, emmy] = &mut people;
    ada.browser.resize(&ada.tab, (900, 560), "light");
    ada.hears(&[names[1], names[2]]);
    ada.click("#mute");
    emmy.click("#mute");
    ada.wait("until Grace alone speaks, and nothing is new", "document.querySelectorAll('.speaking').length === 1 && !document.querySelector('#news').firstChild");
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/images");
    std::fs::create_dir_all(&images).expect("a folder for the picture");
    ada.browser.picture(&ada.tab, &images.join("call.png"));
}

/// A server with TLS and a certificate that the browsers of this folder trust.
fn over_tls(folder: &TempDir) -> Builder {
    let (cert, key) = Authority::new().issue(folder.path(), &["127.0.0.1"]);
    let trusted = folder.path().join(TRUSTED_KEY);
    std::fs::write(trusted, Authority::spki_of(&key)).expect("a file");
    Builder::new()
        .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0")
        .env("PARLOR_TLS__MODE", "files")
        .env("PARLOR_TLS__CERT_FILE", cert.to_str().expect("a path"))
        .env("PARLOR_TLS__KEY_FILE", key.to_str().expect("a path"))
}

/// Page, signaling and media in a network that lets only TCP packets to and from port 443 pass.
fn call_through_443(folder: &TempDir, builder: Builder) {
    let boxed = std::env::var_os(crate::support::namespace::INSIDE).is_some();
    let (listen, via) = if boxed {
        ("127.0.0.1:443", Via::Any)
    } else {
        ("127.0.0.1:0", Via::RelayTls)
    };
    let daemon = builder.env("PARLOR_HTTP__LISTEN", listen).start();
    if boxed {
        firewall("tcp dport 443 accept; tcp sport 443 accept;");
        let probe = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let sent = probe.send_to(b"nothing", daemon.turn());
        assert!(sent.is_err(), "UDP is blocked: {sent:?}");
    }
    let link = daemon.invite_link();
    let mut ada = enters(&link, ADA, via, folder);
    let mut grace = enters(&link, GRACE, via, folder);
    for (listener, speaker) in [(&mut ada, GRACE), (&mut grace, ADA)] {
        listener.hears(&[speaker]);
        listener.is_relayed_over("tls");
        listener.has_seen_no_errors();
    }
}

/// Blocks all outgoing packets in this namespace that these rules do not accept.
fn firewall(rules: &str) {
    let set = format!(
        "table inet shut {{ chain out {{ type filter hook output priority 0; policy drop; {rules} }}; }}"
    );
    let done = std::process::Command::new("nft").arg(set).status();
    assert!(done.expect("nft runs").success());
}

/// The longest gap in milliseconds. A release build, which `tests/long/restart` runs alone on the machine,
/// meets the real limit. In CI other tests run beside it: there the gap ends before ICE would notice.
const RESTART_GAP_MS: f64 = if cfg!(debug_assertions) {
    2_000.0
} else {
    300.0
};

/// Upgrades the server during a call, with `beside` other allocations.
fn restarted_in_mid_call(beside: usize) {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SHARDS", "2")
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "0")
        .start();
    parlor::relay::descriptor_limit::raise_descriptor_limit();
    let relays: Vec<_> = (0..beside)
        .map(|number| {
            let user = format!("user-{}", number / 100);
            let mut client = turn::Client::udp(daemon.turn(), &user, None);
            client.allocated();
            client
        })
        .collect();
    let (link, folder) = (daemon.invite_link(), folder());
    let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
    let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
    for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
        person.hears(&[other]);
        person.is_relayed_over("udp");
        person.ask("test.listens()");
        person.ask("test.watches()");
        person.ask("test.frames = []");
    }

    let before = [&mut ada, &mut grace].map(|person| person.ask("test.ice()"));

    daemon.signal("USR2");
    daemon.wait_for_logs(&["\"message\":\"ready\""], 2);
    daemon.wait_for_logs(&["WebSocket admitted"], 4);
    let after = [(&mut ada, GRACE), (&mut grace, ADA)].map(|(person, other)| {
        person.is_relayed_over("udp");
        person.hears(&[other]);
        let seen = person.ask("test.seen");
        println!("longest without a sound and without a packet, in ms: {seen}");
        for what in ["silence", "pause"] {
            let longest = seen[what].as_f64().expect("a number");
            assert!(longest < RESTART_GAP_MS, "{what}: {seen}");
        }
        let others =
            "test.frames.filter((type) => !['resumed', 'participant-updated'].includes(type))";
        assert_eq!(
            person.ask(others),
            json!([]),
            "nobody has left or makes an offer"
        );
        assert_eq!(person.ask("test.connections.length"), json!(1));
        person.has_seen_no_errors();
        person.ask("test.ice()")
    });
    assert_eq!(before, after, "no call was begun anew");
    drop(relays);
}

fn relayed_call(via: Via, protocol: &str) {
    relayed_call_with(Builder::new(), via, protocol);
}

/// Skipped without a namespace: the addresses would be this host's own.
fn addresses_that_come_and_go(and_go: bool) {
    const V6: &str = "2a00:1450::9";
    const V4: &str = "198.41.0.9";
    if std::env::var_os(crate::support::namespace::INSIDE).is_none() {
        return;
    }
    let ip = |arguments: &str| {
        let arguments = arguments.split_whitespace();
        let status = std::process::Command::new("ip").args(arguments).status();
        assert!(status.expect("ip runs").success());
    };
    // The page is on 127.0.0.1, as browsers require it; the relay is reachable over IPv6 only.
    ip("address delete ::1/128 dev lo");
    ip("link add eth0 type veth peer name eth1");
    ip("link set eth1 up");
    ip("link set eth0 up");
    ip(&format!("address add {V6}/64 dev eth0 nodad"));
    let daemon = Builder::new()
        .without("PARLOR_TURN__LISTEN")
        .env("PARLOR_TURN__PUBLIC_HOST", V6)
        .start();
    let (link, folder) = (daemon.invite_link(), folder());
    let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
    let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
    let heard_on = |people: [&mut Person; 2], address: &str| {
        for (listener, speaker) in people.into_iter().zip([GRACE, ADA]) {
            listener.hears(&[speaker]);
            listener.is_relayed_over("udp");
        }
        let sessions = daemon.cli_json(&["sessions", "--all"]);
        let relayed = sessions.as_array().unwrap().iter();
        let relayed: Vec<_> = relayed.filter_map(|row| row["relayed"].as_str()).collect();
        let on_it = relayed.iter().any(|relayed| relayed.contains(address));
        assert!(on_it, "{address}: {relayed:?}");
    };
    heard_on([&mut ada, &mut grace], V6);
    ip(&format!("address add {V4}/24 dev eth0"));
    daemon.wait_for_log_of("the new address", |line| {
        line.contains("relayed addresses") && line.contains(V4)
    });
    for person in [&mut ada, &mut grace] {
        person.click("#leave");
        person.sees("You left the room");
    }
    for person in [&mut ada, &mut grace] {
        person.click("#again");
    }
    heard_on([&mut ada, &mut grace], V4);
    if and_go {
        ip(&format!("address delete {V4}/24 dev eth0"));
        daemon.wait_for_log("allocations ended: address gone");
        heard_on([&mut ada, &mut grace], V6);
    }
}

fn relayed_call_with(builder: Builder, via: Via, protocol: &str) {
    relayed_call_in(&folder(), builder, via, protocol);
}

fn relayed_call_in(folder: &TempDir, builder: Builder, via: Via, protocol: &str) {
    let daemon = builder.start();
    let link = daemon.invite_link();
    let mut ada = enters(&link, ADA, via, folder);
    ada.sees("Nobody else is here yet");
    let mut grace = enters(&link, GRACE, via, folder);
    for (listener, speaker) in [(&mut ada, GRACE), (&mut grace, ADA)] {
        listener.hears(&[speaker]);
        listener.is_relayed_over(protocol);
        listener.has_seen_no_errors();
    }
}

fn opens(link: &str, (name, tone): (&'static str, u32), via: Via, folder: &TempDir) -> Person {
    Person::opens(link, name, tone, via, folder.path())
}

fn enters(link: &str, (name, tone): (&'static str, u32), via: Via, folder: &TempDir) -> Person {
    Person::enters(link, name, tone, via, folder.path())
}

fn invite(daemon: &Daemon, room: &str, more: &[&str]) -> String {
    let invite = daemon.cli_json(&[&["invite", "create", room], more].concat());
    let link = invite["link"].as_str().expect("a link").to_owned();
    // Without a public URL the CLI does not know on which port the daemon listens.
    let path = link.split_once("/r/").expect("a room's link").1;
    format!("http://{}/r/{path}", daemon.http())
}

fn folder() -> TempDir {
    TempDir::new().expect("a temporary folder")
}
