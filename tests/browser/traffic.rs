//! Calls of browsers with `turn.traffic = "webrtc"`: the relay carries all that they send.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::call::{Person, Via, prelude};
use crate::support::firefox::{Firefox, TONE};
use crate::support::namespace::{add_interface, in_a_namespace};
use crate::support::{Builder, Daemon, http};
use crate::{ADA, GRACE, folder};

/// The calls in CI, which take less than ten seconds.
const CALLS: usize = 10;

/// The calls of `tests/long/traffic` in each of its cases.
const MANY_CALLS: usize = 40;

/// A version of DTLS: as a preference of Firefox and in the statistics of the transport.
type Version = (&'static str, &'static str);

const DTLS_1_2: Version = ("771", "FEFD");
const DTLS_1_3: Version = ("772", "FEFC");

/// Sets the clock of the page forward, since it limits the calls that another participant may begin.
const CLOCK: &str = "
    const now = performance.now.bind(performance);
    test.ahead = 0;
    performance.now = () => now() + test.ahead;
";

/// The types of the candidates in use, and the version of DTLS.
const PATH: &str = "test.open()[0].getStats().then((stats) => {
    const transport = [...stats.values()].find(({ type }) => type === 'transport');
    const pair = stats.get(transport.selectedCandidatePairId);
    const types = [pair.localCandidateId, pair.remoteCandidateId].map((id) => stats.get(id).candidateType);
    return { types, version: transport.tlsVersion };
})";

in_a_namespace! {
    fn ten_calls_in_a_row_pass_where_only_webrtc_may() {
        let (daemon, folder) = (relay(), folder());
        let link = daemon.invite_link();
        let mut callers = [ADA, GRACE].map(|person| Caller::chromium(person, &link, folder.path()));
        has_calls(&mut callers, CALLS);
        nothing_was_dropped(&daemon);
    }

    #[ignore = "tests/long/traffic"]
    fn two_hundred_calls_in_a_row_pass_where_only_webrtc_may() {
        add_interface();
        let daemon = relay();
        let link = daemon.invite_link();
        let chromium = |person| {
            let folder = folder();
            (Caller::chromium(person, &link, folder.path()), folder)
        };
        let firefox = |(name, _), version| {
            let folder = folder();
            (Caller::firefox(name, version, &link, folder.path()), folder)
        };
        let report = |case: &str, callers: [(Caller, _); 2], version: Option<Version>| {
            let [(ada, _of_ada), (grace, _of_grace)] = callers;
            let seen = has_calls(&mut [ada, grace], MANY_CALLS);
            println!("{case}: {MANY_CALLS} calls, DTLS {seen:?}");
            if let Some((_, expected)) = version {
                assert_eq!(seen, [expected], "{case}");
            }
        };
        report("two Chromiums", [chromium(ADA), chromium(GRACE)], None);
        for version in [DTLS_1_2, DTLS_1_3] {
            report("Firefox and Chromium", [firefox(ADA, version), chromium(GRACE)], Some(version));
            report("two Firefoxes", [firefox(ADA, version), firefox(GRACE, version)], Some(version));
        }
        nothing_was_dropped(&daemon);
    }
}

/// A browser in the room, which uses the relay alone, over UDP.
enum Caller {
    Chromium(Box<Person>, u32),
    Firefox(Box<Firefox>),
}

impl Caller {
    fn chromium(person: (&'static str, u32), link: &str, folder: &Path) -> Caller {
        let entered = Person::enters_after(link, person, &script(), folder);
        Caller::Chromium(Box::new(entered), person.1)
    }

    fn firefox(name: &str, (version, _): Version, link: &str, folder: &Path) -> Caller {
        let versions = [
            ("media.peerconnection.dtls.version.min", version),
            ("media.peerconnection.dtls.version.max", version),
        ];
        let mut firefox = Firefox::open_with(&versions, link, &script(), folder);
        firefox.enters_as(name);
        Caller::Firefox(Box::new(firefox))
    }

    fn tone(&self) -> u32 {
        match self {
            Caller::Chromium(_, tone) => *tone,
            Caller::Firefox(_) => TONE,
        }
    }

    fn click(&mut self, selector: &str) {
        match self {
            Caller::Chromium(person, _) => person.click(selector),
            Caller::Firefox(firefox) => firefox.click(selector),
        }
    }

    fn wait(&mut self, what: &str, expression: &str) -> Value {
        match self {
            Caller::Chromium(person, _) => person.wait(what, expression),
            Caller::Firefox(firefox) => firefox.wait(what, expression),
        }
    }

    fn hears(&mut self, tone: u32) {
        match self {
            Caller::Chromium(person, _) => {
                let heard = format!("test.hearsExactly([{tone}])");
                person.wait("to hear the other", &heard);
            }
            Caller::Firefox(firefox) => firefox.hears(tone),
        }
    }
}

fn script() -> String {
    prelude(Via::RelayUdp) + CLOCK
}

fn relay() -> Daemon {
    Builder::new().env("PARLOR_TURN__TRAFFIC", "webrtc").start()
}

/// Makes calls in a row, for which one of the two leaves the room and joins it again in turn, so that each side begins
/// half of them. Returns the versions of DTLS that they used.
fn has_calls(callers: &mut [Caller; 2], calls: usize) -> Vec<Value> {
    let tones = callers.each_ref().map(Caller::tone);
    let mut versions = Vec::new();
    for call in 0..calls {
        if call > 0 {
            let [stays, leaves] = [call % 2, 1 - call % 2];
            callers[leaves].click("#leave");
            callers[stays].wait("for the call to end", "test.open().length === 0");
            for caller in callers.iter_mut() {
                caller.wait("for the budget of calls", "test.ahead += 10_000");
            }
            callers[leaves].click("#again");
        }
        for (caller, tone) in callers.iter_mut().zip([tones[1], tones[0]]) {
            caller.wait("for a call", "test.open().length === 1");
            let path = caller.wait("for the path", PATH);
            assert_eq!(path["types"], json!(["relay", "relay"]), "{path}");
            if !versions.contains(&path["version"]) {
                versions.push(path["version"].clone());
            }
            caller.hears(tone);
        }
    }
    versions
}

fn nothing_was_dropped(daemon: &Daemon) {
    let metrics = http::Client::new(daemon.metrics()).get("/metrics").body;
    let metrics = String::from_utf8(metrics).expect("text");
    let dropped = "parlor_turn_dropped_total{reason=\"traffic\"} 0";
    assert!(metrics.lines().any(|line| line == dropped), "{metrics}");
}
