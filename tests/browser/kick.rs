//! A kick during a call, against a page that was modified: it ignores the close of its WebSocket, and keeps its peer
//! connections and its microphone.

use std::time::Duration;

use parlor::clock;
use serde_json::json;
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
    daemon.cli_json(&["user", "add", person.0]);
    let issued = daemon.cli_json(&["token", "issue", person.0]);
    let server = format!("http://{}", daemon.http());
    let mut listener = opens(&server, person, via, folder);
    let talk = format!(
        "{PLAIN_FRONTEND}\ntalk({server:?}, 'lobby', {})",
        issued["token"]
    );
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
