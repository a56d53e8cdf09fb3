//! The switch for discontinuous transmission.

use serde_json::json;

use crate::support::Daemon;
use crate::support::call::Via;
use crate::support::namespace::in_a_namespace;
use crate::{ADA, GRACE, enters, folder};

in_a_namespace! {
    fn silence_needs_few_packets_in_both_directions_after_one_person_has_chosen_to_save_data() {
        let (daemon, folder) = (Daemon::start(), folder());
        let link = daemon.invite_link();
        let mut ada = enters(&link, ADA, Via::RelayUdp, &folder);
        let mut grace = enters(&link, GRACE, Via::RelayUdp, &folder);
        for (person, other) in [(&mut ada, GRACE), (&mut grace, ADA)] {
            person.hears(&[other]);
        }
        for person in [&mut ada, &mut grace] {
            // Silence of the microphone itself: the page does not know of it.
            person.ask("test.connections[0].getSenders()[0].track.enabled = false");
            person.wait("to send silence in full", &rate("> 40"));
        }
        let ice = ada.ask("test.ice()");
        ada.click("#settings-open");
        ada.click("#save-data");
        for person in [&mut ada, &mut grace] {
            person.wait("to send little", &rate("< 15"));
        }
        ada.click("#save-data");
        for person in [&mut ada, &mut grace] {
            person.wait("to send silence in full again", &rate("> 40"));
            assert_eq!(person.ask("test.connections.length"), 1);
            person.has_seen_no_errors();
        }
        assert_eq!(ada.ask("test.ice()"), ice, "no path was taken for dead");

        ada.click("#save-data");
        ada.ask("test.before = true");
        ada.browser.tell(&ada.tab, "Page.reload", json!({}));
        ada.wait("for the page", "!test.before && document.querySelector('#save-data')?.checked");
        let answer = "test.sent.findLast(({ type }) => type === 'answer')?.data.sdp";
        ada.wait("to ask for little", &format!("/a=fmtp:.*usedtx=1/.test({answer})"));
    }
}

/// Compares the packets that are sent in a second.
fn rate(comparison: &str) -> String {
    format!(
        "(async () => {{
            const read = async () => [...(await test.open()[0].getStats()).values()].find(({{ type }}) => type === 'outbound-rtp');
            const before = await read();
            await new Promise((resolve) => setTimeout(resolve, 1_000));
            const after = await read();
            return 1000 * (after.packetsSent - before.packetsSent) / (after.timestamp - before.timestamp) {comparison};
        }})()"
    )
}
