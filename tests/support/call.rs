//! A person in a call: a browser whose microphone plays a tone, and what can be measured in it.
//!
//! The page has no hooks for tests. What is needed is wrapped around the browser's own functions
//! before the page's scripts run.

use std::path::Path;

use serde_json::Value;

use crate::support::browser::{Browser, Microphone, Tab};
use crate::support::hosts::Host;

/// How media may travel.
#[derive(Clone, Copy)]
pub(crate) enum Via {
    /// As the page configures it.
    Any,
    /// Through the relay, reached over UDP.
    RelayUdp,
    /// Through the relay, reached over TCP.
    RelayTcp,
    /// Through the relay, reached over TLS.
    RelayTls,
    /// Not at all: relay only, without a relay.
    Nothing,
}

/// One browser with one person in it.
pub(crate) struct Person {
    pub browser: Browser,
    pub tab: Tab,
    pub name: &'static str,
}

impl Person {
    /// A person whose voice is a `tone` (in hertz) opens a link.
    pub(crate) fn opens(
        link: &str,
        name: &'static str,
        tone: u32,
        via: Via,
        folder: &Path,
    ) -> Person {
        Person::opens_after(link, (name, tone), &prelude(via), folder)
    }

    /// A person opens a link and joins the room.
    pub(crate) fn enters(
        link: &str,
        name: &'static str,
        tone: u32,
        via: Via,
        folder: &Path,
    ) -> Person {
        Person::opens(link, name, tone, via, folder).into_the_room()
    }

    /// A person in the room whose connections the page cannot close, as in a modified browser that keeps
    /// them open.
    pub(crate) fn clings(
        link: &str,
        person: (&'static str, u32),
        via: Via,
        folder: &Path,
    ) -> Person {
        let clinging = prelude(via) + "RTCPeerConnection.prototype.close = () => {};";
        Person::enters_after(link, person, &clinging, folder)
    }

    /// A person opens a link and joins the room; the page has run a script before.
    pub(crate) fn enters_after(
        link: &str,
        person: (&'static str, u32),
        prelude: &str,
        folder: &Path,
    ) -> Person {
        Person::opens_after(link, person, prelude, folder).into_the_room()
    }

    /// A person opens a link; the page runs a script first.
    pub(crate) fn opens_after(
        link: &str,
        (name, tone): (&'static str, u32),
        prelude: &str,
        folder: &Path,
    ) -> Person {
        let file = folder.join(format!("{name}.wav"));
        std::fs::write(&file, wav(tone)).expect("the tone is written");
        let mut browser = Browser::start(folder, name, &Microphone::Plays(&file));
        let tab = browser.open(link, prelude);
        Person { browser, tab, name }
    }

    /// A person on a host of its own joins the room.
    pub(crate) fn enters_from(
        host: Host,
        link: &str,
        (name, tone): (&'static str, u32),
        prelude: &str,
        folder: &Path,
    ) -> Person {
        let file = folder.join(format!("{name}.wav"));
        std::fs::write(&file, wav(tone)).expect("the tone is written");
        let origin = link.split("/r/").next().expect("a link");
        let microphone = Microphone::Plays(&file);
        let mut browser = Browser::start_on(host, folder, name, &microphone, origin);
        let tab = browser.open(link, prelude);
        Person { browser, tab, name }.into_the_room()
    }

    fn into_the_room(mut self) -> Person {
        self.gives_name();
        self.click("#enter");
        self.is_in_the_room();
        self
    }

    pub(crate) fn gives_name(&mut self) {
        self.browser.type_into(&self.tab, "#name", self.name);
        self.click("#name-form button");
    }

    /// Waits until the server has admitted this person.
    pub(crate) fn is_in_the_room(&mut self) {
        let there =
            "!document.querySelector('#room').hidden && document.querySelector('#link').hidden";
        self.wait("to be in the room", there);
    }

    pub(crate) fn click(&mut self, selector: &str) {
        self.browser.click(&self.tab, selector);
    }

    pub(crate) fn sees(&mut self, words: &str) {
        self.browser.sees(&self.tab, words);
    }

    pub(crate) fn wait(&mut self, what: &str, expression: &str) -> Value {
        let what = format!("{} waits {what}", self.name);
        self.browser.wait(&self.tab, &what, expression)
    }

    pub(crate) fn ask(&mut self, expression: &str) -> Value {
        let answer = self.browser.evaluate(&self.tab, expression);
        answer.unwrap_or_else(|error| panic!("{}: {expression}: {error}", self.name))
    }

    /// Waits until the tones of exactly these people arrive, a stream each, and until the page
    /// shows no other participant.
    pub(crate) fn hears(&mut self, others: &[(&str, u32)]) {
        let mut tones: Vec<u32> = others.iter().map(|(_, tone)| *tone).collect();
        tones.sort_unstable();
        let what = format!("to hear {others:?}");
        self.wait(&what, &format!("test.hearsExactly({tones:?})"));
        let mut names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        self.wait(&what, &format!("test.showsExactly({names:?})"));
    }

    /// Waits until the tone of exactly this person arrives, outside the page.
    pub(crate) fn hears_as_documented(&mut self, (name, tone): (&str, u32)) {
        let tone = format!("test.hearsExactly([{tone}])");
        self.wait(&format!("to hear {name}"), &tone);
    }

    /// Waits until every connection is relayed at both ends, by the protocol under test, and until
    /// packets have come and gone since.
    pub(crate) fn is_relayed_over(&mut self, protocol: &str) {
        self.is_relayed(&format!("local.relayProtocol === {protocol:?}"));
    }

    /// Waits until every connection is relayed at both ends, by any protocol.
    pub(crate) fn is_relayed_by_any_way(&mut self) {
        self.is_relayed("true");
    }

    fn is_relayed(&mut self, and: &str) {
        let pair = format!(
            "test.everyPair((local, remote) => local.candidateType === 'relay' \
             && remote.candidateType === 'relay' && {and})"
        );
        self.wait("for relay/relay pairs", &pair);
        let before = self.ask("test.packets()");
        let more = format!(
            "test.packets().then((now) => now.received > {} + 50 && now.sent > {} + 50)",
            before["received"], before["sent"]
        );
        self.wait("for packets both ways", &more);
    }

    /// Asserts that the page broke no rule of its content security policy and threw no exception.
    pub(crate) fn has_seen_no_errors(&mut self) {
        assert_eq!(self.ask("test.trouble"), serde_json::json!([]));
    }
}

/// The script that runs in a tab before the page's own scripts.
pub(crate) fn prelude(via: Via) -> String {
    let filter = match via {
        Via::Any => "null",
        Via::Nothing => "() => false",
        Via::RelayUdp => "(url) => url.startsWith('turn:') && !url.includes('transport=tcp')",
        Via::RelayTls => "(url) => url.startsWith('turns:')",
        Via::RelayTcp => "(url) => url.startsWith('turn:') && url.includes('transport=tcp')",
    };
    PRELUDE.replace("$RELAY_URLS", filter)
}

/// Two seconds of a sine at 48 kHz, 16 bit, mono. Chromium plays it over and over; whole periods
/// fit, so that the seam does not click.
fn wav(tone: u32) -> Vec<u8> {
    const RATE: u32 = 48_000;
    let samples = (0..2 * RATE).map(|n| {
        let phase = f64::from(n) * f64::from(tone) * std::f64::consts::TAU / f64::from(RATE);
        (phase.sin() * 12_000.0) as i16
    });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    [wav_header(RATE, data.len() as u32), data].concat()
}

/// The head of a WAV file with `length` bytes of 16 bit, mono.
pub(crate) fn wav_header(rate: u32, length: u32) -> Vec<u8> {
    let header: [&[u8]; 13] = [
        b"RIFF",
        &(36 + length).to_le_bytes(),
        b"WAVE",
        b"fmt ",
        &16u32.to_le_bytes(),
        &1u16.to_le_bytes(), // PCM
        &1u16.to_le_bytes(), // one channel
        &rate.to_le_bytes(),
        &(rate * 2).to_le_bytes(),
        &2u16.to_le_bytes(),  // bytes a frame
        &16u16.to_le_bytes(), // bits a sample
        b"data",
        &length.to_le_bytes(),
    ];
    header.concat()
}

const PRELUDE: &str = r"
window.test = { connections: [], trouble: [], frames: [], sent: [], closes: [] };
{
  const relayUrls = $RELAY_URLS;
  const relayOnly = (configuration) => relayUrls === null ? configuration : {
    ...configuration,
    iceTransportPolicy: 'relay',
    iceServers: configuration.iceServers
      .map((server) => ({ ...server, urls: [server.urls].flat().filter(relayUrls) }))
      .filter((server) => server.urls.length > 0),
  };
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration) {
      super(relayOnly(configuration));
      test.connections.push(this);
    }
    setConfiguration(configuration) {
      super.setConfiguration(relayOnly(configuration));
    }
  };

  window.WebSocket = class extends WebSocket {
    constructor(...address) {
      super(...address);
      test.socket = this;
      this.addEventListener('message', ({ data }) => {
        const frame = JSON.parse(data);
        test.frames.push(frame.type);
        test.onFrame?.(frame);
      });
      this.addEventListener('close', ({ code }) => test.closes.push(code));
    }
    send(text) {
      test.sent.push(JSON.parse(text));
      super.send(text);
    }
  };

  // A steady tone is just what noise suppression removes.
  const media = navigator.mediaDevices;
  const getUserMedia = media.getUserMedia.bind(media);
  media.getUserMedia = ({ audio }) => getUserMedia({
    audio: { ...audio, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });

  addEventListener('securitypolicyviolation', (event) => test.trouble.push(event.violatedDirective));
  addEventListener('error', (event) => test.trouble.push(event.message));
  addEventListener('unhandledrejection', (event) => test.trouble.push(String(event.reason)));
}

test.open = () => test.connections.filter((pc) => pc.connectionState === 'connected');

// One entry for each stream: the loudest frequency in Hz, 0 for silence.
test.heard = () => test.open().map((pc) => {
  const track = pc.getReceivers()[0].track;
  const analyser = track.analyser ??= test.analyse(track);
  const decibels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(decibels);
  const loudest = decibels.indexOf(Math.max(...decibels));
  return decibels[loudest] > -50 ? loudest * analyser.context.sampleRate / analyser.fftSize : 0;
});

test.analyse = (track) => {
  const context = test.context ??= new AudioContext();
  const analyser = context.createAnalyser();
  analyser.fftSize = 8192;
  context.createMediaStreamSource(new MediaStream([track])).connect(analyser);
  return analyser;
};

// Listens to the first stream with an analyser of the test's own, independent of the page.
test.listens = () => {
  const track = test.connections[0].getReceivers()[0].track;
  test.ear = new Audio();
  test.ear.srcObject = new MediaStream([track]);
  test.ear.analyser = test.analyse(track);
  return test.ear.play().then(() => true);
};

// The current level of that analyser, in decibels of full scale.
test.level = () => {
  const samples = new Float32Array(test.ear.analyser.fftSize);
  test.ear.analyser.getFloatTimeDomainData(samples);
  const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
  return Math.max(10 * Math.log10(power), -200);
};

// From now on, the longest times in milliseconds without a packet and without a sound. Where this
// page itself was kept from looking, nobody knows what it would have seen.
test.watches = () => {
  const samples = new Float32Array(256);
  const ear = test.ear.analyser.context.createAnalyser();
  ear.fftSize = samples.length;
  test.ear.analyser.context.createMediaStreamSource(test.ear.srcObject).connect(ear);
  const start = performance.now();
  const seen = test.seen = { silence: 0, pause: 0, received: 0, sound: start, packet: start, looked: start };
  const longer = (what, since, now, asleep) => (seen[what] = Math.max(seen[what], now - since - asleep));
  setInterval(async () => {
    const before = seen.received;
    const { received } = await test.packets();
    const now = performance.now();
    const asleep = Math.max(0, now - seen.looked - 20);
    seen.looked = now;
    ear.getFloatTimeDomainData(samples);
    if (samples.some((sample) => Math.abs(sample) > 0.003)) {
      longer('silence', seen.sound, now, asleep);
      seen.sound = now;
    }
    if (received > before) {
      longer('pause', seen.packet, now, asleep);
      seen.packet = now;
      seen.received = received;
    }
  }, 10);
  return true;
};

// Measures from now on how many milliseconds each stream is silent. While this page itself is suspended,
// the silence is unknown.
test.records = () => {
  const samples = new Float32Array(256);
  const streams = test.connections.map((pc) => {
    const track = pc.getReceivers()[0].track;
    return { analyser: track.analyser ??= test.analyse(track), silent: 0 };
  });
  test.silent = () => streams.map(({ silent }) => silent);
  setInterval(() => {
    for (const stream of streams) {
      stream.analyser.getFloatTimeDomainData(samples);
      const sound = samples.some((sample) => Math.abs(sample) > 0.003);
      stream.silent = sound ? 0 : stream.silent + 20;
    }
  }, 20);
  return true;
};

// The code of the error that an Allocate with the credentials of the first connection meets.
test.allocatesAgain = () => new Promise((resolve) => {
  const pc = new RTCPeerConnection({ ...test.connections[0].getConfiguration(), iceTransportPolicy: 'relay' });
  pc.onicecandidateerror = (event) => resolve(event.errorCode);
  pc.onicecandidate = (event) => event.candidate && resolve(0);
  pc.createDataChannel('any');
  pc.createOffer().then((offer) => pc.setLocalDescription(offer));
});

test.hearsExactly = (tones) => {
  const heard = test.heard().sort((a, b) => a - b);
  return heard.length === tones.length && heard.every((tone, index) => Math.abs(tone - tones[index]) < 12);
};

// Whether a tone stands out in any stream, even softly.
test.hearsTraceOf = (tone) => test.open().some((pc) => {
  const analyser = pc.getReceivers()[0].track.analyser;
  const decibels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(decibels);
  const bin = Math.round(tone * analyser.fftSize / analyser.context.sampleRate);
  return Math.max(...decibels.slice(bin - 2, bin + 3)) > -70;
});

test.showsExactly = (names) => {
  const shown = [...document.querySelectorAll('.person.connected:not(.me) .name')].map((e) => e.textContent);
  const all = document.querySelectorAll('.person').length - 1;
  return all === names.length && JSON.stringify(shown.sort()) === JSON.stringify(names);
};

// Names our side of ICE until it is restarted.
test.ice = () => /a=ice-ufrag:(.*)/.exec(test.connections[0].localDescription.sdp)[1];

test.everyPair = async (holds) => {
  for (const pc of test.open()) {
    const stats = await pc.getStats();
    const transport = [...stats.values()].find((one) => one.type === 'transport');
    const pair = stats.get(transport?.selectedCandidatePairId);
    if (!pair || !holds(stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId))) return false;
  }
  return test.open().length > 0;
};

// The allocations that our own side has candidates of.
test.relays = async () => {
  const stats = await test.connections[0].getStats();
  return [...stats.values()].filter((one) => one.type === 'local-candidate' && one.candidateType === 'relay').length;
};

test.packets = async () => {
  const packets = { received: 0, sent: 0 };
  for (const pc of test.open()) {
    for (const one of (await pc.getStats()).values()) {
      if (one.type === 'inbound-rtp') packets.received += one.packetsReceived;
      if (one.type === 'outbound-rtp') packets.sent += one.packetsSent;
    }
  }
  return packets;
};
";
