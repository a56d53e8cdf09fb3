//! Measurements for `tests/long/loss`: what redundant audio saves at random loss, and what candidates that are gathered
//! early save before the first sound.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use parlor::clock::{self, Mono};
use serde_json::Value;

use crate::links::{Call, nft};
use crate::support::Daemon;
use crate::support::call::{Person, Via, prelude};
use crate::support::delayed_udp;
use crate::support::namespace::in_a_namespace;
use crate::{ADA, GRACE, folder};

const LOSSES_PERCENT: [u32; 4] = [0, 5, 10, 20];
const MEASURED: Duration = Duration::from_secs(24);

/// The page then believes that this browser has no redundant audio.
const WITHOUT_RED: &str = "for (const side of [RTCRtpSender, RTCRtpReceiver]) {
    const capabilities = side.getCapabilities.bind(side);
    side.getCapabilities = (kind) => ({ codecs: capabilities(kind).codecs.filter(({ mimeType }) => mimeType !== 'audio/red') });
}";

/// Without a pool, nothing is gathered before the description is set.
const WITHOUT_POOL: &str = "{ const Connection = RTCPeerConnection;
    window.RTCPeerConnection = class extends Connection {
        constructor(configuration) { super({ ...configuration, iceCandidatePoolSize: 0 }); }
    }; }";

/// The delay of each datagram and each part of a TCP stream, one way.
const DELAYS_MS: [u64; 2] = [10, 40];
const ROUNDS: usize = 9;

in_a_namespace! {
    #[ignore = "tests/long/loss"]
    fn redundant_audio_leaves_less_to_conceal() {
        for (what, script) in [("without", WITHOUT_RED), ("with", "")] {
            let mut call = Call::start_with(script);
            let client = call.client(0).port();
            for percent in LOSSES_PERCENT {
                nft(&format!(
                    "add rule inet loss input udp sport {client} numgen random mod 1000 < {} drop",
                    percent * 10
                ));
                // The page notices the loss within six seconds; Opus and the jitter buffer adapt, too.
                thread::sleep(Duration::from_secs(9));
                let grace = &mut call.people[1];
                let asks = grace.ask("test.sent.filter(({ type }) => type === 'offer').length");
                assert_eq!(asks, u32::from(percent > 0 && script.is_empty()), "offers");
                grace.ask(BEGIN);
                thread::sleep(MEASURED);
                let heard = grace.ask(HEARD);
                let share = |part: &str, all: &[&str]| {
                    100.0 * number(&heard[part]) / all.iter().map(|key| number(&heard[*key])).sum::<f64>()
                };
                println!(
                    "{percent} % {what} redundant audio: {:.1} % lost, {:.2} % concealed, {:.0} bytes a packet ({} of {} seconds)",
                    share("lost", &["lost", "packets"]),
                    share("concealed", &["samples"]),
                    share("bytes", &["packets"]) / 100.0,
                    heard["used"],
                    heard["seconds"],
                );
                nft("flush chain inet loss input");
            }
        }
    }

    #[ignore = "tests/long/loss"]
    fn candidates_that_are_gathered_early_bring_the_first_sound_sooner() {
        for delay in DELAYS_MS.map(Duration::from_millis) {
            let (daemon, folder) = (Daemon::start(), folder());
            let (turn, http) = (daemon.turn(), daemon.http());
            let (udp, tcp) = (delayed_udp::forward(turn, delay), delayed_tcp(http, delay));
            let link = daemon.invite_link().replace(&format!(":{}", http.port()), &format!(":{}", tcp.port()));
            let through = format!(
                ".filter(relayUrls).map((url) => url.replace(':{}', ':{}'))",
                turn.port(),
                udp.port()
            );
            let early = prelude(Via::RelayUdp).replace(".filter(relayUrls)", &through) + FIRST_SOUND;
            let late = early.clone() + WITHOUT_POOL;
            let mut ada = Person::opens_after(&link, ADA, &early, folder.path());
            let mut grace = Person::opens_after(&link, GRACE, &early, folder.path());
            // Ada's candidates are gone after 25 seconds: as if she had gathered none early.
            let variants = [("nobody", &late, &late), ("the newcomer", &late, &early), ("both", &early, &early)];
            let mut times = variants.map(|_| [vec![], vec![]]);
            for _ in 0..ROUNDS {
                for ((_, hers, script), [at_ada, at_grace]) in variants.iter().zip(&mut times) {
                    ada.tab = ada.browser.open(&link, hers);
                    grace.tab = grace.browser.open(&link, script);
                    let [ada_hears, grace_hears] = first_sounds(&mut ada, &mut grace);
                    at_ada.push(ada_hears);
                    at_grace.push(grace_hears);
                }
            }
            for ((who, ..), [at_ada, at_grace]) in variants.iter().zip(times) {
                println!(
                    "{} ms each way, {who} gathered early: Ada hears after {} ms, the newcomer after {} ms",
                    delay.as_millis(),
                    summary(at_ada),
                    summary(at_grace)
                );
            }
        }
    }
}

/// Ada joins, then Grace, and both leave. Returns after how many milliseconds from Grace's click each heard the other.
fn first_sounds(ada: &mut Person, grace: &mut Person) -> [f64; 2] {
    for person in [&mut *ada, &mut *grace] {
        person.gives_name();
        person.wait(
            "for the microphone",
            "document.querySelector('#enter').checkVisibility()",
        );
    }
    ada.click("#enter");
    ada.is_in_the_room();
    thread::sleep(Duration::from_secs(1));
    ada.ask("test.sound = test.firstSound(), true");
    let click =
        "test.sound = test.firstSound(), document.querySelector('#enter').click(), test.now()";
    let clicked = number(&grace.ask(click));
    let heard = [&mut *ada, &mut *grace].map(|person| number(&person.ask("test.sound")));
    for person in [ada, grace] {
        person.click("#leave");
        person.sees("You left the room");
        person
            .browser
            .tell(&person.tab, "Page.close", serde_json::json!({}));
    }
    heard.map(|time| time - clicked)
}

/// The least and the median of the times.
fn summary(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    format!("{:.0} to {:.0}", times[0], times[times.len() / 2])
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// Starts a forwarder of TCP connections to `server`, and returns its address. It runs until the process ends.
fn delayed_tcp(server: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let Ok(upstream) = TcpStream::connect(server) else {
                continue;
            };
            let copies = (
                client.try_clone().expect("a socket"),
                upstream.try_clone().expect("a socket"),
            );
            copy(client, upstream, delay);
            copy(copies.1, copies.0, delay);
        }
    });
    address
}

/// Copies one direction of a stream, each part at its time.
fn copy(mut from: TcpStream, mut to: TcpStream, delay: Duration) {
    let (queue, parts) = mpsc::channel::<(Mono, Vec<u8>)>();
    to.set_nodelay(true).expect("a socket");
    thread::spawn(move || {
        for (at, part) in parts {
            thread::sleep(at.since(clock::now().mono));
            if to.write_all(&part).is_err() {
                return;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Write);
    });
    thread::spawn(move || {
        let mut buffer = vec![0; 65_536];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            if queue
                .send((clock::now().mono + delay, buffer[..len].to_vec()))
                .is_err()
            {
                return;
            }
        }
    });
}

/// Reads each second what has arrived.
const BEGIN: &str = "test.read = async () => {
    const one = [...(await test.open()[0].getStats()).values()].find(({ type }) => type === 'inbound-rtp');
    return { time: one.timestamp, packets: one.packetsReceived, lost: one.packetsLost, bytes: one.bytesReceived,
             concealed: one.concealedSamples, samples: one.totalSamplesReceived };
};
test.reports = [];
clearInterval(test.reading);
test.reading = setInterval(async () => test.reports.push(await test.read()), 1_000);
true";

/// The sums over those seconds in which audio came evenly: a machine that stalls makes the other side conceal, too.
const HEARD: &str = "(() => {
    const sums = { used: 0, seconds: test.reports.length - 1 };
    for (const [index, after] of test.reports.entries()) {
        if (index === 0) continue;
        const before = test.reports[index - 1];
        const grown = Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]]));
        const due = grown.time / 20;
        if (grown.time > 1_200 || Math.abs(grown.packets + grown.lost - due) > 3) continue;
        sums.used++;
        for (const key of Object.keys(grown)) sums[key] = (sums[key] ?? 0) + grown[key];
    }
    return sums;
})()";

/// Adds the time of the first sample of a peer that is played.
const FIRST_SOUND: &str = "
test.now = () => performance.timeOrigin + performance.now();
test.firstSound = () => new Promise((resolve) => {
    const plays = (pc) => pc.signalingState !== 'closed'
        && pc.getReceivers().some((receiver) => receiver.getSynchronizationSources().length > 0);
    const timer = setInterval(() => {
        if (!test.connections.some(plays)) return;
        clearInterval(timer);
        resolve(test.now());
    }, 4);
});";
