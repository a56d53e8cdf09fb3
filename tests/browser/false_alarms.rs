//! An hour of conversation without a dead path: no `path-lost` is sent, and no page restarts ICE.
//!
//! Ada and Mary use the relay alone, Grace saves data (DTX), Mary only listens. Tom joins and closes his tab, again and again:
//! his path to Grace leads through the relay first, and directly some seconds later.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use parlor::clock;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::folder;
use crate::support::Daemon;
use crate::support::browser::{Browser, Microphone};
use crate::support::call::{Person, Via, prelude};
use crate::support::namespace::in_a_namespace;

/// The sampling rate of espeak-ng's files.
const RATE: usize = 22_050;
const HEADER: usize = 44;

/// The voices of Ada, Grace and Tom, who speak in turn.
const VOICES: [(&str, &str); 3] = [("Ada", "en+f2"), ("Grace", "en+f4"), ("Tom", "en+m3")];
const SENTENCES: [&str; 9] = [
    "Good morning. Can you hear me?",
    "Yes, very well. Where are the others?",
    "One moment. I am looking for the figures of last week.",
    "We have measured it again, with the same result on both machines, and nobody could say why.",
    "Hm.",
    "Then let us look at the beginning of the recording once more before we decide.",
    "I would rather wait until Friday, since the new cable arrives only on Thursday afternoon.",
    "No.",
    "That is fine with me. Who writes it down, and who tells the people in the other room?",
];
/// The pauses after the sentences, in milliseconds.
const PAUSES: [usize; 7] = [250, 1_200, 600, 4_000, 400, 2_500, 9_000];

/// The length of a case that lasts.
const CASE: Duration = Duration::from_secs(12);
/// The pages are asked for alarms at this interval.
const LOOK: Duration = Duration::from_secs(2);

const ALARMS: &str = "
    test.alarms = [];
    test.onFrame = ({ type }) => type === 'path-lost' && test.alarms.push('path-lost');
    const restartIce = RTCPeerConnection.prototype.restartIce;
    RTCPeerConnection.prototype.restartIce = function () {
      test.alarms.push('restart of ICE');
      return restartIce.call(this);
    };
";

/// The other side learns of all candidates but those of the relay three seconds later.
const DIRECT_LATER: &str = "
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) {
      const { id, again, ...frame } = JSON.parse(text);
      const later = (data) => setTimeout(() => send.call(this, JSON.stringify({ ...frame, type: 'ice-candidate', data })), 3000);
      const isDirect = (line) => line.startsWith('a=candidate:') && !line.includes(' typ relay');
      if (frame.type === 'ice-candidate' && !frame.data.candidate.includes(' typ relay')) return later(frame.data);
      if (!frame.data?.sdp) return send.call(this, text);
      const lines = frame.data.sdp.split('\\r\\n');
      for (const line of lines.filter(isDirect)) later({ candidate: line.slice(2), sdpMLineIndex: 0 });
      const sdp = lines.filter((line) => !isDirect(line)).join('\\r\\n');
      send.call(this, JSON.stringify({ ...JSON.parse(text), data: { ...frame.data, sdp } }));
    };
";

/// Notes the types of the candidates that each connection uses, one after the other.
const TYPES: &str = "
    setInterval(() => test.open().forEach(async (pc) => {
      const stats = await pc.getStats();
      const transport = [...stats.values()].find(({ type }) => type === 'transport');
      const pair = stats.get(transport?.selectedCandidatePairId);
      const ends = [pair?.localCandidateId, pair?.remoteCandidateId].map((id) => stats.get(id)?.candidateType);
      const way = ends.includes('relay') ? 'relay' : 'direct';
      pc.ways ??= [];
      if (pair && pc.ways.at(-1) !== way) pc.ways.push(way);
    }), 200);
";

/// Whether a path has led through the relay and then become direct.
const BECAME_DIRECT: &str = "test.connections.some(({ ways }) => ways?.join() === 'relay,direct')";

in_a_namespace! {
    #[ignore = "tests/long/false-alarms"]
    fn an_hour_of_conversation_raises_no_false_alarm() {
        let minutes = std::env::var("MINUTES").map_or(60, |minutes| minutes.parse().expect("a number"));
        Conversation::start().raises_an_alarm_for_a_dead_path();
        let mut call = Conversation::start();
        let end = clock::now().mono + Duration::from_secs(60 * minutes);
        let mut rounds = 0;
        while clock::now().mono < end {
            rounds += 1;
            call.has_all_cases(rounds);
        }
        println!("{rounds} rounds in {minutes} minutes, alarms: {:?}", call.alarms);
        assert!(call.alarms.is_empty(), "{:?}", call.alarms);
    }
}

/// The people who stay, and the alarms so far.
struct Conversation {
    daemon: Daemon,
    link: String,
    /// Ada, Grace and Mary.
    people: [Person; 3],
    alarms: Vec<String>,
    voices: [PathBuf; 3],
    folder: TempDir,
}

impl Conversation {
    fn start() -> Conversation {
        let (daemon, folder) = (Daemon::start(), folder());
        let voices = conversation(folder.path());
        let link = daemon.invite_link();
        let ada = enters(&link, "Ada", &voices[0], Via::RelayUdp, ALARMS, &folder);
        let script = [ALARMS, DIRECT_LATER].concat();
        let mut grace = enters(&link, "Grace", &voices[1], Via::Any, &script, &folder);
        for button in ["#settings-open", "#save-data", "#settings button"] {
            grace.click(button); // DTX
        }
        let mut browser = Browser::start(folder.path(), "Mary", &Microphone::Refused);
        let tab = browser.open(&link, &(prelude(Via::RelayUdp) + ALARMS));
        let mut mary = Person {
            browser,
            tab,
            name: "Mary",
        };
        mary.gives_name();
        mary.click("#listen");
        mary.is_in_the_room();
        nft(
            "add table inet path; add chain inet path input { type filter hook input priority 0; }; flush chain inet path input",
        );
        Conversation {
            daemon,
            link,
            people: [ada, grace, mary],
            alarms: Vec::new(),
            voices,
            folder,
        }
    }

    /// One round: every case, some of them for Ada and Grace in turn.
    fn has_all_cases(&mut self, round: usize) {
        let name = format!("Tom{round}");
        let voice = self.voices[2].clone();
        let script = [ALARMS, DIRECT_LATER, TYPES].concat();
        let mut tom = enters(&self.link, "Tom", &voice, Via::Any, &script, &self.folder);
        tom.wait("for a relayed path to become direct", BECAME_DIRECT);
        self.passes(&format!("{name}: relay, then direct"), CASE);

        let person = round % 2;
        self.case(
            person,
            "muted",
            "document.querySelector('#mute').click()",
            "document.querySelector('#mute').click()",
        );
        let senders = "Promise.all(test.open().map((pc) => pc.getSenders()[0]).map((sender)";
        let without =
            format!("{senders} => (sender.before = sender.track, sender.replaceTrack(null))))");
        let with = format!("{senders} => sender.replaceTrack(sender.before)))");
        self.case(person, "without a track", &without, &with);
        let another = format!(
            "navigator.mediaDevices.getUserMedia({{ audio: true }}).then((stream) => \
             {senders} => sender.replaceTrack(stream.getAudioTracks()[0].clone()))))"
        );
        self.case(
            person,
            "another device",
            &another,
            "navigator.mediaDevices.dispatchEvent(new Event('devicechange'))",
        );
        for seconds in [1, 5] {
            let stall = format!(
                "{{ const end = Date.now() + {seconds} * 1000; while (Date.now() < end); }}"
            );
            let stalled = format!("stalled for {seconds} s");
            self.case(person, &stalled, &format!("(() => {stall})()"), "0");
        }
        self.is_in_the_background(person);
        nft("add rule inet path input udp sport 1-65535 numgen random mod 100 < 10 drop");
        self.passes("10 % loss", CASE);
        nft("flush chain inet path input");
        self.is_loaded();
        let own = alarms_of(&mut tom);
        self.alarms
            .extend(own.iter().map(|alarm| format!("{name}: {alarm}")));
        drop(tom); // closes his tab
        self.passes(&format!("{name} has closed the tab"), CASE);
    }

    fn case(&mut self, person: usize, name: &str, begin: &str, end: &str) {
        self.people[person].ask(&format!("({begin}, true)"));
        let what = format!("{} {name}", self.people[person].name);
        self.passes(&what, CASE);
        self.people[person].ask(&format!("({end}, true)"));
        self.passes(&format!("after: {what}"), LOOK);
    }

    /// Another tab is in front, then the page's again.
    fn is_in_the_background(&mut self, person: usize) {
        let one = &mut self.people[person];
        let front = one.browser.open("about:blank", "");
        one.browser.tell(&front, "Page.bringToFront", json!({}));
        let what = format!("{} in the background", one.name);
        self.passes(&what, CASE);
        let one = &mut self.people[person];
        one.browser.tell(&front, "Page.close", json!({}));
        one.browser
            .tell(&one.tab.clone(), "Page.bringToFront", json!({}));
    }

    /// Other programs use all cores.
    fn is_loaded(&mut self) {
        let stop = Arc::new(AtomicBool::new(false));
        let busy = (0..4).map(|_| {
            let stop = stop.clone();
            thread::spawn(move || while !stop.load(Ordering::Relaxed) {})
        });
        let busy: Vec<_> = busy.collect();
        self.passes("busy machine", CASE);
        stop.store(true, Ordering::Relaxed);
        for thread in busy {
            thread.join().expect("it ends");
        }
    }

    /// Waits, and notes the alarms of the time.
    fn passes(&mut self, what: &str, time: Duration) {
        let end = clock::now().mono + time;
        while clock::now().mono < end {
            thread::sleep(LOOK);
            for person in &mut self.people {
                let alarms = alarms_of(person);
                let new = alarms
                    .iter()
                    .map(|alarm| format!("{what}: {}: {alarm}", person.name));
                self.alarms.extend(new);
            }
        }
    }

    /// Cuts Ada's paths: without this, an hour without alarms would show nothing.
    fn raises_an_alarm_for_a_dead_path(mut self) {
        self.passes("the beginning", CASE);
        let turn = self.daemon.turn().port();
        let rows = self.daemon.cli_json(&["sessions", "--all", "--quality"]);
        let id = self.people[0].ask(crate::OWN_ID);
        let rows = rows.as_array().expect("a list").iter();
        for row in rows.filter(|row| row["user"]["id"] == id) {
            let client = row["client"].as_str().expect("an address");
            let port = client.rsplit(':').next().expect("a port");
            nft(&format!(
                "add rule inet path input udp sport {port} udp dport {turn} drop"
            ));
            nft(&format!(
                "add rule inet path input udp sport {turn} udp dport {port} drop"
            ));
        }
        self.people[0].wait("for path-lost", "test.alarms.includes('path-lost')");
        self.people[0].wait(
            "for a restart of ICE",
            "test.alarms.includes('restart of ICE')",
        );
    }
}

/// The alarms since the last time.
fn alarms_of(person: &mut Person) -> Vec<String> {
    let alarms: Value = person.ask("test.alarms.splice(0)");
    serde_json::from_value(alarms).expect("a list")
}

fn enters(
    link: &str,
    name: &'static str,
    voice: &Path,
    via: Via,
    script: &str,
    folder: &TempDir,
) -> Person {
    let mut browser = Browser::start(folder.path(), name, &Microphone::Plays(voice));
    let tab = browser.open(link, &(prelude(via) + script));
    let mut person = Person { browser, tab, name };
    person.gives_name();
    person.click("#enter");
    person.is_in_the_room();
    person
}

/// A sound file for each voice, as long as the conversation and silent while another one speaks.
fn conversation(folder: &Path) -> [PathBuf; 3] {
    let mut tracks = [const { Vec::new() }; 3];
    for (number, sentence) in SENTENCES.iter().cycle().take(63).enumerate() {
        let speaker = number % 3;
        let spoken = speech(VOICES[speaker].1, sentence, &folder.join("sentence.wav"));
        let pause = PAUSES[number % PAUSES.len()] * RATE / 1_000;
        tracks[speaker].extend_from_slice(&spoken);
        let end = tracks[speaker].len() + 2 * pause;
        for track in &mut tracks {
            track.resize(end, 0);
        }
    }
    let seconds = tracks[0].len() / 2 / RATE;
    println!("a conversation of {seconds} s");
    let files = VOICES.map(|(name, _)| folder.join(format!("{name}.wav")));
    for (file, samples) in files.iter().zip(tracks) {
        let bytes = [
            crate::support::call::wav_header(RATE as u32, samples.len() as u32),
            samples,
        ]
        .concat();
        std::fs::write(file, bytes).expect("a file");
    }
    files
}

/// The samples of a spoken sentence: 16 bit, mono.
fn speech(voice: &str, sentence: &str, file: &Path) -> Vec<u8> {
    let mut command = Command::new("espeak-ng");
    let spoken = command
        .args(["-v", voice, "-w"])
        .arg(file)
        .arg(sentence)
        .status();
    assert!(spoken.expect("espeak-ng runs").success());
    std::fs::read(file).expect("a sound file").split_off(HEADER)
}

fn nft(commands: &str) {
    let done = Command::new("nft").arg(commands).status();
    assert!(done.expect("nft runs").success(), "{commands}");
}
