//! The quality of links in `parlor sessions --quality`, over real sockets.

use serde_json::json;

use crate::open_relay;
use crate::support::turn::{Client, channel_data, connected};

/// A media packet of 20 ms.
pub(crate) fn media(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(sequence.to_be_bytes());
    packet.extend((960 * u32::from(sequence)).to_be_bytes());
    packet.extend(7_u32.to_be_bytes());
    packet.resize(100, 0);
    packet
}

#[test]
fn the_link_that_loses_packets_comes_first() {
    let daemon = open_relay().start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut bob, mut alice) = connected(client("bob"), client("alice"));
    // Every 20th packet of Bob is lost before the relay.
    for sequence in (0..400).filter(|sequence| sequence % 20 != 5) {
        bob.send(&channel_data(0x4001, &media(sequence), false));
        assert_eq!(
            alice.receive(),
            channel_data(0x4002, &media(sequence), false)
        );
    }
    for sequence in 0..400 {
        alice.send(&channel_data(0x4002, &media(sequence), false));
        assert_eq!(bob.receive(), channel_data(0x4001, &media(sequence), false));
    }

    let rows = daemon.cli_json(&["sessions", "--quality"]);
    let rows = rows.as_array().expect("rows");
    let users: Vec<_> = rows.iter().map(|row| row["user"]["id"].clone()).collect();
    assert_eq!(users, ["bob", "alice"]);
    let counts = |row: usize, link: &str| {
        let link = &rows[row][link];
        json!([link["packets"], link["lost"], link["lossPct"]])
    };
    assert_eq!(counts(0, "up"), json!([400, 20, 5.0]));
    assert_eq!(counts(1, "up"), json!([400, 0, 0.0]));
    assert_eq!(counts(1, "down"), json!([null, null, null]), "no reports");
    assert_eq!(rows[0]["pathLost"], false);

    let table = daemon.command(&["sessions", "--quality"]).output();
    let table = String::from_utf8(table.expect("a table").stdout).expect("text");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let header = [
        "NAME", "ROOM", "LINK", "LOSS", "JITTER", "RTT", "KBIT/S", "SILENT",
    ];
    assert_eq!(lines[0], header);
    assert_eq!(lines[1][..4], ["bob", "up", "5.0", "%"], "{table}");
    assert_eq!(lines.len(), 5, "{table}");

    let all = daemon.cli_json(&["sessions", "--quality", "--all"]);
    let ids = all.as_array().expect("rows").iter().map(|row| &row["id"]);
    let ids: Vec<_> = ids.filter(|id| id.is_string()).collect();
    assert_eq!(ids.len(), 2, "{all}");
}

#[test]
fn without_measurements_one_sentence_says_so() {
    let daemon = open_relay().env("PARLOR_TURN__QUALITY", "off").start();
    let client = |user| Client::udp(daemon.turn(), user, None);
    let (mut alice, mut bob) = connected(client("alice"), client("bob"));
    alice.send(&channel_data(0x4001, &media(1), false));
    bob.receive();
    let shown = daemon.command(&["sessions", "--quality"]).output();
    let shown = shown.expect("an answer");
    assert!(shown.status.success());
    let remark = String::from_utf8(shown.stderr).expect("text");
    assert!(remark.contains("turn.quality"), "{remark}");
    assert_eq!(daemon.cli_json(&["sessions", "--quality"]), json!([]));
}
