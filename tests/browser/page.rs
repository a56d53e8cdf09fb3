//! The page's error messages and its accessibility.

use std::fs;

use serde_json::json;

use crate::client::PLAIN;
use crate::support::Daemon;
use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;
use crate::{ADA, EMMY, GRACE, PLAIN_FRONTEND, enters, folder, invite, opens};

in_a_namespace! {
    fn the_page_reports_a_closed_room_before_the_name_step_and_a_wrong_address() {
        let (daemon, folder) = (Daemon::start(), folder());
        daemon.cli_json(&["room", "create", "Attic", "--id", "attic"]);
        let link = invite(&daemon, "attic", &[]);
        let mut ada = opens(&link, ADA, Via::Any, &folder);
        ada.sees("You are invited to Attic");
        ada.sees("Nobody is in the room yet.");
        daemon.cli_json(&["room", "close", "attic"]);
        ada.browser.tell(&ada.tab, "Page.reload", json!({}));
        ada.sees("This room is closed");

        let astray = format!("http://{}/r/lobby/", daemon.http());
        let tab = ada.browser.open(&astray, "");
        ada.browser.sees(&tab, "Page not found");
        let styled = "document.styleSheets[0].cssRules.length > 10";
        ada.browser.wait(&tab, "the style sheet", styled);
    }

    fn an_empty_name_is_rejected_and_the_preview_lists_participants() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let _grace = enters(&link, GRACE, Via::Any, &folder);
        let mut ada = opens(&link, ("  ", 0), Via::Any, &folder);
        ada.sees("Grace is in the room.");
        ada.gives_name();
        ada.sees("Type a name first");
    }

    fn a_used_up_invite_is_not_copied() {
        let (daemon, folder) = (Daemon::start(), folder());
        let once = invite(&daemon, "lobby", &["--uses", "1"]);
        let link = daemon.invite_link();
        for (link, notice) in [(&once, "so it was not copied"), (&link, "Invite link copied.")] {
            let mut ada = enters(link, ADA, Via::Any, &folder);
            let allow = json!({"permission": {"name": "clipboard-read"}, "setting": "granted"});
            ada.browser.tell(&ada.tab, "Browser.setPermission", allow);
            ada.browser.tell(&ada.tab, "Page.bringToFront", json!({}));
            ada.ask("navigator.clipboard.writeText('nothing')");
            ada.click("#copy");
            ada.sees(notice);
            let copied = if link == &once { "nothing" } else { link };
            assert_eq!(ada.ask("navigator.clipboard.readText()"), copied);
        }
    }

    fn the_page_does_not_say_that_the_user_is_alone_while_the_server_is_down() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        ada.sees("Nobody else is here yet");
        let daemon = daemon.restart_after(|| {
            ada.sees("Reconnecting");
            assert_eq!(ada.ask("document.querySelector('#alone').hidden"), true);
        });
        ada.sees("Nobody else is here yet");
        drop(daemon);
    }

    fn the_page_works_if_the_browser_blocks_site_data() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        let profile = folder.path().join(ADA.0).join("Default");
        fs::create_dir_all(&profile).expect("a folder for the profile");
        let blocked = json!({"profile": {"default_content_setting_values": {"cookies": 2}}});
        fs::write(profile.join("Preferences"), blocked.to_string()).expect("the preferences");
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let throws = "(() => { try { return !sessionStorage; } catch { return true; } })()";
        assert_eq!(ada.ask(throws), true, "the browser blocks site data");
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        ada.click("#leave");
        ada.click("#again");
        ada.hears(&[GRACE]);
        ada.has_seen_no_errors();
    }

    fn pages_show_muted_participants_and_send_plain_frontends_nothing() {
        mute_states("", 2);
    }

    fn pages_show_muted_participants_in_the_plain_protocol() {
        // Each page announces itself as well.
        mute_states(PLAIN, 4);
    }

    fn in_forced_colours_only_a_speaking_participant_has_a_ring() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = enters(&daemon.invite_link(), ADA, Via::Any, &folder);
        let forced = json!({"features": [{"name": "forced-colors", "value": "active"}]});
        ada.browser.tell(&ada.tab, "Emulation.setEmulatedMedia", forced);
        let ring = "getComputedStyle(document.querySelector('.me .avatar'), '::after').display";
        ada.wait("for the ring", &format!("{ring} === 'block'"));
        ada.click("#mute");
        ada.wait("for no ring", &format!("{ring} === 'none'"));
        assert_eq!(ada.ask("matchMedia('(forced-colors: active)').matches"), true);
    }

    fn with_200_percent_text_every_button_fits_a_phone() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = enters(&daemon.invite_link(), ADA, Via::Any, &folder);
        for (width, height) in [(390, 844), (320, 568)] {
            ada.browser.resize(&ada.tab, (width, height), "light");
            ada.ask("document.documentElement.style.fontSize = '200%'");
            let visible = format!(
                "['mute', 'hand', 'leave', 'settings-open', 'copy'].every((id) => {{ \
                   const box = document.getElementById(id).getBoundingClientRect(); \
                   const inside = document.getElementById(id).scrollWidth <= document.getElementById(id).clientWidth; \
                   return inside && box.left >= 0 && box.right <= {width} && box.top >= 0 && box.bottom <= {height}; }})"
            );
            ada.wait("for every button to be on the screen", &visible);
        }
    }
}

/// Two pages, and a plain frontend that offers on each announcement; `protocol` is a script for the pages.
fn mute_states(protocol: &str, announcements: usize) {
    let (daemon, folder) = (Daemon::start(), folder());
    let link = daemon.invite_link();
    daemon.cli_json(&["user", "add", EMMY.0]);
    let issued = daemon.cli_json(&["token", "issue", EMMY.0]);
    let server = format!("http://{}", daemon.http());
    let mut emmy = opens(&server, EMMY, Via::Any, &folder);
    let offers_always = PLAIN_FRONTEND.replace("'user-joined' && !peer", "'user-joined'");
    let talk = format!(
        "{offers_always}\ntalk({server:?}, 'lobby', {})",
        issued["token"]
    );
    emmy.ask(&talk);
    let announced = "test.frames.filter((type) => type === 'user-joined').length";
    let scripts = prelude(Via::Any) + protocol;
    let mut ada = Person::enters_after(&link, ADA, &scripts, folder.path());
    let mut grace = Person::enters_after(&link, GRACE, &scripts, folder.path());
    let all = format!("{announced} === {announcements}");
    emmy.wait("for all announcements", &all);
    ada.hears(&[GRACE, EMMY]);
    grace.hears(&[ADA, EMMY]);
    shows(&mut grace, "");
    let empty =
        "[...document.querySelectorAll('.problem')].filter((e) => e.checkVisibility()).length";
    assert_eq!(grace.ask(empty), 0, "nothing is wrong");

    emmy.ask("test.frames = []");
    ada.click("#mute");
    shows(&mut grace, "muted");
    ada.click("#mute");
    shows(&mut grace, "");
    ada.click("#mute");
    shows(&mut grace, "muted");
    assert_eq!(emmy.ask(announced), 0);

    // A new participant receives it as well.
    grace.browser.tell(&grace.tab, "Page.reload", json!({}));
    grace.hears(&[("Ada", 0), EMMY]);
    shows(&mut grace, "muted");
    ada.click("#mute");
    shows(&mut grace, "");
    grace.hears(&[ADA, EMMY]);
    ada.hears(&[GRACE, EMMY]);
}

/// Waits until Ada's tile shows this state.
fn shows(person: &mut Person, state: &str) {
    let shown = format!(
        "[...document.querySelectorAll('.person.connected')].some((tile) => \
           tile.querySelector('.name bdi').textContent === 'Ada' && \
           tile.querySelector('.state').textContent === {state:?} && \
           tile.classList.contains('muted') === {})",
        state == "muted"
    );
    person.wait(&format!("for Ada's tile to say {state:?}"), &shown);
}
