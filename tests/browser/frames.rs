//! The page of a room in a frame of another origin's page.

use serde_json::json;

use crate::client::bare_page;
use crate::support::Builder;
use crate::support::call::Via;
use crate::support::namespace::in_a_namespace;
use crate::{ADA, GRACE, enters, folder};

/// Runs in the page around and in the frame. In the frame, it enters the room as a person does, and
/// reports to the page around.
const FRAME: &str = r"
    if (window === top) {
        window.reports = [];
        addEventListener('message', ({ origin, data }) => reports.push([origin, data]));
        window.show = (link) => new Promise((resolve) => {
            const frame = document.createElement('iframe');
            frame.allow = 'microphone; autoplay; speaker-selection';
            frame.onload = () => resolve(true);
            frame.src = link;
            document.body.replaceChildren(frame);
        });
    } else {
        const report = (text) => top.postMessage(text, '*');
        report('begins');
        const until = async (condition) => {
            while (!(await condition())) await new Promise((done) => setTimeout(done, 50));
        };
        const seen = (selector) => {
            const element = document.querySelector(selector);
            return element?.checkVisibility() && !element.disabled ? element : undefined;
        };
        (async () => {
            await until(() => seen('#name'));
            seen('#name').value = 'Ada';
            await until(() => seen('#name-form button'));
            seen('#name-form button').click();
            await until(() => seen('#enter'));
            seen('#enter').click();
            await until(() => seen('#room'));
            report('in the room');
            await until(() => test.hearsExactly([787]));
            report('hears Grace');
        })();
    }
";

in_a_namespace! {
    fn a_room_works_in_a_frame_of_an_allowed_origin_and_is_not_shown_in_others() {
        let folder = folder();
        let mut ada = bare_page(ADA, FRAME, folder.path());
        ada.wait("for the page", "document.title === 'another origin'");
        let origin = ada.ask("location.origin");
        let origin = origin.as_str().expect("a text");

        let other = Builder::new()
            .env("PARLOR_HTTP__FRAME_ANCESTORS", "https://cloud.example.org")
            .start();
        ada.ask(&format!("show({:?})", other.invite_link()));
        let from = format!("http://{}", other.http());
        assert_eq!(ada.ask(&format!("reports.filter(([origin]) => origin === {from:?})")), json!([]));

        let daemon = Builder::new().env("PARLOR_HTTP__FRAME_ANCESTORS", origin).start();
        let link = daemon.invite_link();
        ada.ask(&format!("show({link:?})"));
        ada.wait("to be in the room", "reports.some(([, text]) => text === 'in the room')");
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        grace.hears(&[ADA]);
        ada.wait("to hear Grace", "reports.some(([, text]) => text === 'hears Grace')");
        grace.has_seen_no_errors();
    }
}
