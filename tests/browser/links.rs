//! The relay names the link of a call that loses packets, and measures round trips, beside what the browsers
//! report.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use parlor::clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::call::{Person, Via, prelude};
use crate::support::delayed_udp;
use crate::support::namespace::in_a_namespace;
use crate::support::{Builder, DEADLINE, Daemon};
use crate::{ADA, GRACE, OWN_ID, folder};

/// The delay of each datagram between a client and the relay.
const DELAY: Duration = Duration::from_millis(10);

/// A link of the call: whose, and the direction.
type Link = (usize, &'static str);

const LINKS: [Link; 4] = [(0, "up"), (0, "down"), (1, "up"), (1, "down")];

/// The limits of a run.
struct Limits {
    time: Duration,
    /// Difference between the loss that the relay and that the browsers measure, in percentage points.
    loss_points: f64,
    /// Difference between the round trips that they measure.
    round_trip: Duration,
}

in_a_namespace! {
    fn the_link_that_loses_packets_is_named() {
        let limits = Limits {
            time: Duration::from_secs(8),
            loss_points: 2.0,
            round_trip: Duration::from_secs(1),
        };
        let mut call = Call::start();
        call.run((0, "up"), 10, &limits);
        call.run((1, "down"), 10, &limits);
        // Grace has lost packets of Ada both times, Ada none.
        call.sends_redundant_audio(0);
        let [ada, grace] = &mut call.people;
        let codecs = (ada.ask(FIRST_CODECS), grace.ask(FIRST_CODECS));
        assert_eq!(codecs, (json!(["opus"]), json!(["red"])));
        for person in [ada, grace] {
            assert_eq!(person.ask("test.connections.length"), 1);
            person.has_seen_no_errors();
        }
    }

    #[ignore = "tests/long/quality"]
    fn the_link_that_loses_packets_is_named_a_hundred_times() {
        let limits = Limits {
            time: Duration::from_secs(30),
            loss_points: 0.5,
            round_trip: Duration::from_millis(5),
        };
        let runs: usize = std::env::var("RUNS").map_or(100, |runs| runs.parse().expect("a number"));
        let mut call = Call::start();
        for run in 0..runs {
            call.run(LINKS[run % LINKS.len()], 3, &limits);
        }
    }
}

/// A relayed call of two people, with a delay between each and the relay.
pub(crate) struct Call {
    daemon: Daemon,
    pub people: [Person; 2],
    ids: [Value; 2],
    _folder: TempDir,
}

/// The counts of one moment.
struct Snapshot {
    /// Of the relay: packets and lost ones, and the round trip in milliseconds, by person and direction.
    relay: [[(i64, i64); 2]; 2],
    round_trips_ms: [f64; 2],
    /// Of the browsers: received and lost packets.
    browsers: [(i64, i64); 2],
    /// As the first browser measures it, over both links.
    round_trip_ms: f64,
}

impl Call {
    fn start() -> Call {
        Call::start_with("")
    }

    /// A call in which both pages run a script first.
    pub(crate) fn start_with(script: &str) -> Call {
        let (daemon, folder) = (Builder::new().start(), folder());
        let turn = daemon.turn();
        let forwarder = delayed_udp::forward(turn, DELAY);
        let through = format!(
            ".filter(relayUrls).map((url) => url.replace(':{}', ':{}'))",
            turn.port(),
            forwarder.port()
        );
        let prelude = prelude(Via::RelayUdp).replace(".filter(relayUrls)", &through) + script;
        let link = daemon.invite_link();
        let mut ada = Person::enters_after(&link, ADA, &prelude, folder.path());
        let mut grace = Person::enters_after(&link, GRACE, &prelude, folder.path());
        ada.hears(&[GRACE]);
        grace.hears(&[ADA]);
        ada.is_relayed_over("udp");
        nft(
            "add table inet loss; add chain inet loss input { type filter hook input priority 0; }",
        );
        Call {
            daemon,
            ids: [ada.ask(OWN_ID), grace.ask(OWN_ID)],
            people: [ada, grace],
            _folder: folder,
        }
    }

    /// Counts the packets of a person by their payload type until many have come: all must be `audio/red`.
    fn sends_redundant_audio(&mut self, person: usize) {
        let types = self.people[person].ask(PAYLOAD_TYPES);
        let (client, turn) = (self.client(person).port(), self.daemon.turn().port());
        nft("add chain inet loss codecs { type filter hook input priority 1; }");
        for name in ["opus", "red"] {
            // The second byte of RTP, behind the headers of UDP and of ChannelData.
            let payload_type = format!("@th,104,8 & 0x7f == {}", types[name]);
            nft(&format!(
                "add counter inet loss {name}; add rule inet loss codecs udp sport {client} udp dport {turn} \
                 {payload_type} counter name {name}"
            ));
        }
        let start = clock::now().mono;
        while packets("red") < 50 {
            let counted = format!("{} red, {} opus", packets("red"), packets("opus"));
            assert!(clock::now().mono.since(start) < DEADLINE, "{counted}");
            std::thread::sleep(Duration::from_millis(50));
        }
        assert_eq!(packets("opus"), 0);
    }

    /// Drops `percent` of the packets of a link for a time, and checks what the relay says of it.
    fn run(&mut self, link: Link, percent: u32, limits: &Limits) {
        let (person, direction) = link;
        let (client, turn) = (self.client(person).port(), self.daemon.turn().port());
        let (from, to) = if direction == "up" {
            (client, turn)
        } else {
            (turn, client)
        };
        nft(&format!(
            "add rule inet loss input udp sport {from} udp dport {to} numgen random mod 1000 < {} drop",
            percent * 10
        ));
        self.settle();
        let before = self.snapshot();
        std::thread::sleep(limits.time);
        let after = self.snapshot();
        nft("flush chain inet loss input");
        check(link, &before, &after, limits);
    }

    /// Waits until both clients have reported twice, so that no report spans a change of the loss.
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(4_500));
    }

    /// The address from which a person's packets come to the relay.
    pub(crate) fn client(&self, person: usize) -> SocketAddr {
        let row = self.row(person);
        let client = row["client"].as_str().expect("an address");
        client.parse().expect("an address")
    }

    /// The row of a person's allocation that carries the call.
    fn row(&self, person: usize) -> Value {
        let rows = self.daemon.cli_json(&["sessions", "--all", "--quality"]);
        let rows = rows.as_array().expect("a list").iter();
        let of_person = rows.filter(|row| {
            row["user"]["id"] == self.ids[person] && row["up"]["packets"].as_i64() > Some(0)
        });
        of_person
            .max_by_key(|row| row["up"]["packets"].as_i64())
            .expect("a relayed person")
            .clone()
    }

    fn snapshot(&mut self) -> Snapshot {
        let browsers = [0, 1].map(|person| {
            let stats = self.people[person].ask(STATS);
            (number(&stats["received"]), number(&stats["lost"]))
        });
        let rows = [self.row(0), self.row(1)];
        let relay = rows.each_ref().map(|row| {
            ["up", "down"].map(|link| (number(&row[link]["packets"]), number(&row[link]["lost"])))
        });
        let round_trip = |row: &Value| row["rttMs"].as_f64().expect("a round trip");
        Snapshot {
            relay,
            round_trips_ms: rows.each_ref().map(round_trip),
            browsers,
            round_trip_ms: self.people[0]
                .ask(ROUND_TRIP)
                .as_f64()
                .expect("a round trip"),
        }
    }
}

/// Compares what the relay and the browsers have measured between two moments.
fn check((person, direction): Link, before: &Snapshot, after: &Snapshot, limits: &Limits) {
    let mut losses = Vec::new();
    for (person, direction) in LINKS {
        let which = usize::from(direction == "down");
        let (earlier, later) = (before.relay[person][which], after.relay[person][which]);
        let packets = later.0 - earlier.0;
        assert!(packets > 100, "{person} {direction}: {packets} packets");
        losses.push((
            100.0 * (later.1 - earlier.1) as f64 / packets as f64,
            person,
            direction,
        ));
    }
    losses.sort_by(|one, other| other.0.total_cmp(&one.0));
    let (loss, ..) = losses[0];
    assert_eq!(
        (losses[0].1, losses[0].2),
        (person, direction),
        "{losses:?}"
    );
    // The one who hears the loss: the other for a link to the relay.
    let hearer = if direction == "up" {
        1 - person
    } else {
        person
    };
    let (earlier, later) = (before.browsers[hearer], after.browsers[hearer]);
    let lost = (later.1 - earlier.1) as f64;
    let heard = 100.0 * lost / ((later.0 - earlier.0) as f64 + lost);
    let round_trip: f64 = after.round_trips_ms.iter().sum();
    println!(
        "{} {direction}: {loss:.2} % by the relay, {heard:.2} % by the browser, others at most {:.2} %; \
         round trip {round_trip:.1} ms by the relay, {:.1} ms by the browser",
        [ADA, GRACE][person].0,
        losses[1].0,
        after.round_trip_ms
    );
    assert!((loss - heard).abs() <= limits.loss_points, "{loss} {heard}");
    let delay = 4.0 * DELAY.as_secs_f64() * 1_000.0;
    assert!(round_trip >= delay - 1.0, "{round_trip}");
    let difference = (round_trip - after.round_trip_ms).abs();
    assert!(
        difference <= limits.round_trip.as_secs_f64() * 1_000.0,
        "{round_trip} {}",
        after.round_trip_ms
    );
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or(0)
}

pub(crate) fn nft(commands: &str) {
    let done = Command::new("nft").arg(commands).status();
    assert!(done.expect("nft runs").success(), "{commands}");
}

/// The packets that a named counter has counted.
fn packets(counter: &str) -> u64 {
    let listed = Command::new("nft")
        .args(["-j", "list", "counter", "inet", "loss", counter])
        .output();
    let listed: Value = serde_json::from_slice(&listed.expect("nft runs").stdout).expect("JSON");
    listed["nftables"][1]["counter"]["packets"]
        .as_u64()
        .expect("a count")
}

const STATS: &str = "test.open()[0].getStats().then((stats) => {
    const { packetsReceived, packetsLost } = [...stats.values()].find(({ type }) => type === 'inbound-rtp');
    return { received: packetsReceived, lost: packetsLost };
})";

/// The mean of the round trips that the browser measures meanwhile would hide changes: this is the last one.
const ROUND_TRIP: &str = "test.open()[0].getStats().then((stats) => {
    const pairs = [...stats.values()].filter(({ type, nominated }) => type === 'candidate-pair' && nominated);
    return 1000 * pairs.sort((a, b) => b.bytesSent - a.bytesSent)[0].currentRoundTripTime;
})";

/// The payload types of the codecs in our last description.
const PAYLOAD_TYPES: &str = "Object.fromEntries(['opus', 'red'].map((name) =>
    [name, Number(new RegExp(`^a=rtpmap:(\\\\d+) ${name}/`, 'm').exec(test.open()[0].localDescription.sdp)[1])]))";

/// The codec that each offer of this person prefers.
const FIRST_CODECS: &str =
    "test.sent.filter(({ type }) => type === 'offer').map(({ data: { sdp } }) => {
    const [, first] = /^m=audio \\S+ \\S+ (\\d+)/m.exec(sdp);
    return new RegExp(`^a=rtpmap:${first} (\\\\w+)/`, 'm').exec(sdp)[1];
})";
