//! Measurements for `tests/long/loss`: what redundant audio saves at random loss.

use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::links::{Call, nft};
use crate::support::namespace::in_a_namespace;

const LOSSES_PERCENT: [u32; 4] = [0, 5, 10, 20];
const MEASURED: Duration = Duration::from_secs(24);

/// The page then believes that this browser has no redundant audio.
const WITHOUT_RED: &str = "for (const side of [RTCRtpSender, RTCRtpReceiver]) {
    const capabilities = side.getCapabilities.bind(side);
    side.getCapabilities = (kind) => ({ codecs: capabilities(kind).codecs.filter(({ mimeType }) => mimeType !== 'audio/red') });
}";

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
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
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
