//! `parlor session kill`: exactly one WebSocket or one allocation ends.

use serde_json::{Value, json};

use crate::commands::{Guest, row, start};
use crate::support::Daemon;
use crate::support::turn::{Client, channel_data, minted};

/// Returns the id of the only matching row.
fn id(sessions: &Value, fits: impl Fn(&Value) -> bool) -> String {
    let rows = sessions.as_array().expect("a list").iter();
    let rows: Vec<_> = rows.filter(|row| fits(row)).collect();
    assert_eq!(rows.len(), 1, "{sessions}");
    rows[0]["id"].as_str().expect("an id").to_owned()
}

/// Returns exit code, standard output and standard error.
fn kill(daemon: &Daemon, id: &str) -> (Option<i32>, String, String) {
    let output = daemon.cli(&["session", "kill", id]);
    let [said, errors] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code(), said, errors)
}

fn ended(said: &str) -> (Option<i32>, String, String) {
    (Some(0), format!("{said}\n"), String::new())
}

#[test]
fn killing_a_session_ends_no_other() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let mut other = Client::udp(daemon.turn(), &alice.id, None);
    let relayed = other.allocated();
    let sessions = daemon.cli_json(&["sessions", "--all"]);
    assert_eq!(
        daemon.cli_json(&["sessions", "--all"]),
        sessions,
        "ids stay"
    );
    let killed = id(&sessions, |row| row["relayed"] == alice.relayed.to_string());
    let said = String::from_utf8(daemon.cli(&["sessions", "--all"]).stdout).unwrap();
    assert!(said.contains(&killed), "{said}");

    assert_eq!(
        kill(&daemon, &killed),
        ended("Freed 1 relay of alice in Lobby")
    );
    assert!(!alice.has_relay());
    let left = daemon.cli_json(&["sessions", "--all"]);
    assert_eq!(left.as_array().map(Vec::len), Some(2), "{left}");
    row(&left, &alice.id, "websocket");
    assert_eq!(
        row(&left, &alice.id, "turn/udp")["relayed"],
        relayed.to_string()
    );

    // The client may reconnect, and the other allocation still relays.
    let mut back = Client::udp(daemon.turn(), &alice.id, Some("lobby"));
    let peer = back.allocated();
    assert_eq!(other.bind(0x4001, peer).code(), None);
    assert_eq!(back.bind(0x4001, relayed).code(), None);
    let hello = channel_data(0x4001, b"\x80 hello, hello", false);
    other.send(&hello);
    assert_eq!(back.receive(), hello);
}

#[test]
fn an_allocation_without_a_user_is_listed_with_its_address_and_can_be_killed() {
    let daemon = start();
    let mut client = Client::udp(daemon.turn(), "nobody", None);
    client.minted = minted("4000000000");
    client.allocated();
    for (all, address) in [(true, "127.0.0.1:"), (false, "127.0.0.1")] {
        let args = ["sessions", "--all"];
        let args = &args[..1 + usize::from(all)];
        let said = String::from_utf8(daemon.cli(args).stdout).unwrap();
        assert!(
            said.contains("(no user)") && said.contains(address),
            "{said}"
        );
        assert!(!said.contains("/127"), "{said}");
        let user = daemon.cli_json(args)[0]["user"].take();
        assert_eq!(
            (&user["id"], &user["address"]),
            (&Value::Null, &json!("127.0.0.1"))
        );
    }
    let sessions = daemon.cli_json(&["sessions", "--all"]);
    let id = id(&sessions, |_| true);
    let done = daemon.cli_json(&["session", "kill", &id]);
    assert_eq!(
        (&done["connections"], &done["relays"]),
        (&json!(0), &json!(1))
    );
    assert_eq!(
        (&done["id"], &done["client"]),
        (&json!(id), &sessions[0]["client"])
    );
    let refresh = client.request(parlor::stun::Method::REFRESH, &[]);
    assert_eq!(refresh.code(), Some(437));
    assert_eq!(client.allocate().code(), None);
}

#[test]
fn a_websocket_that_is_killed_is_closed_with_4005_and_its_user_keeps_the_relay() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let sessions = daemon.cli_json(&["sessions", "--all"]);
    let socket = row(&sessions, &alice.id, "websocket")["id"].clone();
    let socket = socket.as_str().expect("an id");
    let closed = ended("Closed 1 connection of alice in Lobby");
    assert_eq!(kill(&daemon, &socket[..8]), closed);
    assert_eq!(alice.close_code(), 4005);
    assert!(alice.has_relay());
    daemon.wait_for_log("session killed");
}

#[test]
fn an_unknown_session_id_ends_nothing() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    for wrong in ["", "a", "zzzz", "0123456789ab", "%\u{1b}[2J"] {
        let (code, said, errors) = kill(&daemon, wrong);
        assert_eq!((code, &said[..]), (Some(1), ""), "{errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
        assert!(errors.contains("`parlor sessions --all` shows"), "{errors}");
    }
    assert!(alice.has_relay());
}
