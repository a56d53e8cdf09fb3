//! The own state of a user of the page, as others see it: a raised hand, a microphone that a moderator has muted.

use serde_json::json;

use crate::client::{PLAIN, bare_page, starts};
use crate::support::Daemon;
use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;
use crate::{ADA, EMMY, GRACE, OWN_ID, enters, folder};

const PRESSED: &str = "document.querySelector('#hand').ariaPressed";
const OWN_STATE: &str = "document.querySelector('.me .state').textContent";

in_a_namespace! {
    fn a_hand_is_raised_and_lowered_by_keyboard_and_others_see_it() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        grace.hears(&[ADA]);
        let shows_hand = |text: &str| {
            format!("document.querySelector('.person:not(.me) .state').textContent === '{text}'")
        };
        press(&mut ada, "h", "h");
        ada.wait("for the button", &format!("{PRESSED} === 'true'"));
        ada.sees("You raised your hand.");
        assert_eq!(ada.ask(OWN_STATE), "you, hand raised");
        grace.sees("Ada raised a hand.");
        grace.wait("to see the hand", &shows_hand("hand raised"));

        // The button follows that for the microphone, has a name and a state, and works by the space bar.
        ada.ask("document.querySelector('#mute').focus()");
        press(&mut ada, "Tab", "");
        assert_eq!(ada.ask("document.activeElement.id"), "hand");
        let tree = ada.browser.tell(&ada.tab, "Accessibility.getFullAXTree", json!({}));
        let nodes = tree["nodes"].as_array().expect("a list");
        let button = nodes.iter().find(|node| node["name"]["value"] == "Raise hand").expect("a button");
        assert_eq!(button["role"]["value"], "button");
        let pressed = json!({"name": "pressed", "value": {"type": "tristate", "value": "true"}});
        assert!(button["properties"].as_array().expect("a list").contains(&pressed), "{button}");
        press(&mut ada, " ", " ");
        ada.wait("for the button", &format!("{PRESSED} === 'false'"));
        assert_eq!(ada.ask(OWN_STATE), "you");
        grace.wait("to see no hand", &shows_hand(""));

        // A new session begins without a raised hand.
        ada.click("#hand");
        grace.wait("to see the hand", &shows_hand("hand raised"));
        ada.click("#leave");
        ada.click("#again");
        ada.is_in_the_room();
        assert_eq!(ada.ask(PRESSED), "false");
        grace.hears(&[ADA]);
        grace.wait("to see no hand", &shows_hand(""));
        for person in [&mut ada, &mut grace] {
            person.has_seen_no_errors();
        }
    }

    fn no_hand_can_be_raised_in_the_plain_protocol() {
        let (daemon, folder) = (Daemon::start(), folder());
        let scripts = prelude(Via::Any) + PLAIN;
        let mut ada = Person::enters_after(&daemon.invite_link(), ADA, &scripts, folder.path());
        ada.wait("for no button", "document.querySelector('#hand').hidden");
        press(&mut ada, "h", "h");
        assert_eq!(ada.ask(PRESSED), "false");
        ada.has_seen_no_errors();
    }

    fn a_user_sees_which_moderator_has_muted_them_until_they_unmute() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut grace = enters(&daemon.invite_link(), GRACE, Via::Any, &folder);
        let mut emmy = bare_page(EMMY, "", folder.path());
        starts(&mut emmy, &daemon);
        daemon.cli_json(&["room", "role", "lobby", EMMY.0, "moderator"]);
        grace.sees("Emmy joined.");
        let id = grace.ask(OWN_ID);
        emmy.ask(&format!("client.moderate('mute', {id})"));
        grace.sees("Emmy muted you.");
        let own = |text: &str| format!("{OWN_STATE} === '{text}'");
        grace.wait("for the own state", &own("you, muted by a moderator"));
        assert_eq!(grace.ask("document.querySelector('#mute').ariaPressed"), "true");
        grace.click("#mute");
        grace.wait("for the own state", &own("you"));
        grace.click("#mute");
        grace.wait("for the own state", &own("you, muted"));
        for person in [&mut grace, &mut emmy] {
            person.has_seen_no_errors();
        }
    }
}

/// Presses and releases a key, which types `text`.
fn press(person: &mut Person, key: &str, text: &str) {
    let code = match key {
        "Tab" => 9,
        " " => 32,
        _ => 72,
    };
    for kind in ["keyDown", "keyUp"] {
        let mut event = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code});
        if !text.is_empty() {
            event["text"] = text.into();
        }
        person
            .browser
            .tell(&person.tab, "Input.dispatchKeyEvent", event);
    }
}
