//! The page says whose connection is weak, and reports what it receives.

use serde_json::json;

use crate::support::Daemon;
use crate::support::call::Via;
use crate::support::namespace::in_a_namespace;
use crate::{ADA, GRACE, enters, folder};

in_a_namespace! {
    fn the_page_says_whose_connection_is_weak_until_it_recovers() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::Any, &folder);
        let mut grace = enters(&link, GRACE, Via::Any, &folder);
        ada.hears(&[GRACE]);
        let reported = "test.sent.find(({ type, data }) => type === 'stats' && data.received[0].packets > 0)";
        let report = ada.wait("to report what it receives", reported);
        let stream = &report["data"]["received"][0];
        assert!(stream["ssrc"].as_u64().is_some(), "{report}");
        assert_eq!(stream["lost"], json!(0));
        assert!(stream["jitterMs"].as_u64().is_some(), "{report}");

        let id = "JSON.parse(Object.values(sessionStorage)[0]).id";
        let ids = [&mut ada, &mut grace].map(|person| person.ask(id));
        let arrives = |links: serde_json::Value| {
            let frame = json!({"type": "quality", "data": {"links": links}}).to_string();
            format!("test.socket.dispatchEvent(new MessageEvent('message', {{ data: {frame:?} }}))")
        };
        let weak = json!([
            {"userId": ids[0], "direction": "up", "level": "weak", "lossPct": 4.0},
            {"userId": ids[1], "direction": "up", "level": "bad", "lossPct": null, "jitterMs": 90.0},
        ]);
        ada.ask(&arrives(weak));
        let shown = "[...document.querySelectorAll('[role=status].quality')].map((e) => e.textContent)";
        let words = ["Your upload is losing packets", "The connection of this person is weak"];
        assert_eq!(ada.ask(shown), json!(words));
        let better = |own_level: &str| json!([
            {"userId": ids[0], "direction": "up", "level": own_level, "lossPct": 1.2},
            {"userId": ids[1], "direction": "up", "level": "good", "lossPct": 0.0},
        ]);
        ada.ask(&arrives(better("weak")));
        assert_eq!(ada.ask(shown), json!([words[0], ""]));
        ada.ask(&arrives(better("good")));
        assert_eq!(ada.ask(shown), json!(["", ""]));
        ada.has_seen_no_errors();
    }
}
