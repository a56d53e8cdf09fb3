//! A kick during a call, against a page that was modified: it ignores the close of its WebSocket, and keeps its peer
//! connections and its microphone.

use std::time::Duration;

use parlor::clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;
use crate::support::{Daemon, http};
use crate::{ADA, EMMY, GRACE, OWN_ID, PLAIN_FRONTEND, enters, folder, opens};

/// The relay sends nothing of a kicked user later than this after the answer to the command.
const LIMIT: Duration = Duration::from_secs(1);
/// The counters of the relay are watched for this long.
const WATCHED: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(20);

in_a_namespace! {
    fn a_kicked_user_with_a_modified_page_is_not_heard_over_direct_paths() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = modified(&daemon, Via::Any, &folder);
        let mut grace = enters(&daemon.invite_link(), GRACE, Via::Any, &folder);
        let mut emmy = listens_plainly(&daemon, EMMY, Via::Any, &folder);
        grace.hears(&[ADA, EMMY]);
        ada.hears(&[GRACE, EMMY]);
        emmy.wait("to hear both", &format!("test.hearsExactly([{}, {}])", ADA.1, GRACE.1));
        // In the same order as the frames: a later timer of the page has not run then.
        grace.ask(
            "test.states = [], test.onFrame = ({ type, data }) => type === 'user-left' && setTimeout(() => \
               test.states.push([data.reason, test.connections[0].signalingState]))",
        );

        kick(&daemon, &mut ada);
        grace.wait("for the frame", "test.states.length === 1");
        assert_eq!(grace.ask("test.states"), json!([["kicked", "closed"]]));
        emmy.hears_as_documented(GRACE);
        grace.hears(&[EMMY]);
        // Ada's page would go on.
        assert_eq!(ada.ask(STILL_SENDS), true);
        for person in [&mut grace, &mut emmy] {
            person.has_seen_no_errors();
        }
    }

    fn a_kicked_user_with_a_modified_page_sends_nothing_through_the_relay() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = modified(&daemon, Via::RelayUdp, &folder);
        let mut emmy = listens_plainly(&daemon, EMMY, Via::RelayUdp, &folder);
        emmy.hears_as_documented(ADA);
        ada.is_relayed_over("udp");
        let before = relayed_packets(&daemon);

        kick(&daemon, &mut ada);
        let answered = clock::now().mono;
        let (mut packets, mut last) = (relayed_packets(&daemon), Duration::ZERO);
        assert!(packets > before, "the relay counts");
        loop {
            let (now, passed) = (relayed_packets(&daemon), clock::now().mono.since(answered));
            if now != packets {
                (packets, last) = (now, passed);
            }
            if passed > WATCHED {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        println!("the last packet was relayed {last:?} after the answer");
        assert!(last <= LIMIT, "the last packet was relayed {last:?} after the answer");
        emmy.wait("for silence", "test.hearsExactly([])");
        // Ada's page still sends, and gets no other relay.
        assert_eq!(ada.ask(STILL_SENDS), true);
        assert_eq!(ada.ask("test.allocatesAgain()"), 401);
        emmy.has_seen_no_errors();
    }

    fn everybody_who_listens_through_the_relay_stops_hearing_a_kicked_user_with_a_modified_page() {
        let (daemon, folder) = (Daemon::start(), folder());
        let mut ada = modified(&daemon, Via::RelayUdp, &folder);
        let mut grace = enters(&daemon.invite_link(), GRACE, Via::RelayUdp, &folder);
        // A listener that does not close its side either.
        let keeping = PLAIN_FRONTEND.replace("peer?.close();", "");
        assert_ne!(keeping, PLAIN_FRONTEND);
        let mut emmy = listens_by(&keeping, &daemon, EMMY, Via::RelayUdp, &folder);
        grace.hears(&[ADA, EMMY]);
        emmy.wait("to hear both", &format!("test.hearsExactly([{}, {}])", ADA.1, GRACE.1));
        ada.is_relayed_over("udp");
        let id = ada.ask(OWN_ID);
        assert!(relayed_bytes(&daemon, &id) > Some(0), "the relay counts");

        kick(&daemon, &mut ada);
        let answered = clock::now().mono;
        let (mut bytes, mut last) = (relayed_bytes(&daemon, &id), Duration::ZERO);
        loop {
            let passed = clock::now().mono.since(answered);
            let now = relayed_bytes(&daemon, &id);
            if now != bytes {
                (bytes, last) = (now, passed);
            }
            if passed > WATCHED {
                break;
            }
        }
        println!("the last packet was relayed {last:?} after the answer");
        assert!(last <= LIMIT, "the last packet was relayed {last:?} after the answer");
        assert_eq!(bytes, None, "the relay is freed");
        grace.hears(&[EMMY]);
        emmy.hears_as_documented(GRACE);
        assert_eq!(ada.ask(STILL_SENDS), true);
        assert_eq!(ada.ask("test.allocatesAgain()"), 401);
        for person in [&mut grace, &mut emmy] {
            person.has_seen_no_errors();
        }
    }
}

/// Whether the modified page has kept its connections and its microphone.
const STILL_SENDS: &str = "test.connections.every((one) => one.signalingState !== 'closed' \
     && one.getSenders()[0].track.readyState === 'live' && one.getSenders()[0].track.enabled)";

/// Does not report a close to the page, whose calls continue then.
const IGNORES_CLOSES: &str =
    "window.WebSocket = class extends WebSocket { set onclose(handler) {} };";

/// Ada, in the room with a modified page.
fn modified(daemon: &Daemon, via: Via, folder: &TempDir) -> Person {
    let clinging = "RTCPeerConnection.prototype.close = () => {};";
    let prelude = prelude(via) + clinging + IGNORES_CLOSES;
    Person::enters_after(&daemon.invite_link(), ADA, &prelude, folder.path())
}

/// A user of a plain frontend.
fn listens_plainly(
    daemon: &Daemon,
    person: (&'static str, u32),
    via: Via,
    folder: &TempDir,
) -> Person {
    listens_by(PLAIN_FRONTEND, daemon, person, via, folder)
}

/// A user of the frontend with this source.
fn listens_by(
    frontend: &str,
    daemon: &Daemon,
    person: (&'static str, u32),
    via: Via,
    folder: &TempDir,
) -> Person {
    daemon.cli_json(&["user", "add", person.0]);
    let issued = daemon.cli_json(&["token", "issue", person.0]);
    let server = format!("http://{}", daemon.http());
    let mut listener = opens(&server, person, via, folder);
    let talk = format!("{frontend}\ntalk({server:?}, 'lobby', {})", issued["token"]);
    listener.ask(&talk);
    listener
}

fn kick(daemon: &Daemon, person: &mut Person) {
    let id = person.ask(OWN_ID);
    daemon.cli_json(&["room", "kick", "lobby", id.as_str().expect("an id")]);
}

/// All packets that the relay has sent.
fn relayed_packets(daemon: &Daemon) -> u64 {
    let metrics = http::Client::new(daemon.metrics()).get("/metrics").body;
    let metrics = String::from_utf8(metrics).expect("text");
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("parlor_turn_relayed_packets_total"));
    let values = lines.filter_map(|line| line.rsplit(' ').next());
    values
        .map(|value| value.parse::<u64>().expect("a number"))
        .sum()
}

/// All bytes that the relay has sent for a user, over the allocations that exist; `None` without one.
fn relayed_bytes(daemon: &Daemon, user: &Value) -> Option<u64> {
    let sessions = daemon.cli_json(&["sessions", "--all"]);
    let sessions = sessions.as_array().expect("a list").iter();
    let relays = sessions.filter(|row| row["user"]["id"] == *user && row["relayed"].is_string());
    let bytes = relays.map(|row| {
        let count = |key: &str| row[key].as_u64().expect("a number");
        count("bytes_sent") + count("bytes_received")
    });
    bytes.reduce(|sum, more| sum + more)
}
