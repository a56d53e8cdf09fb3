//! Kicks and bans end connections and relays, by the server or by the database.

use parlor::stun::Method;
use serde_json::json;

use crate::commands::{Guest, start};

/// Returns the error code of a Refresh.
fn refreshed(guest: &mut Guest) -> Option<u16> {
    guest.relay.request(Method::REFRESH, &[]).code()
}

#[test]
fn a_kick_ends_the_connection_and_the_relay_of_the_room() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let mut bob = Guest::enters(&daemon, "lobby", "bob");
    let said = daemon.cli(&["room", "kick", "lobby", "alice"]).stdout;
    assert_eq!(
        String::from_utf8(said).unwrap(),
        "Kicked user alice from Lobby: 1 connection closed, 1 relay freed\n"
    );
    assert_eq!(alice.close_code(), 4005);
    assert!(!alice.has_relay());
    assert_eq!(alice.relay.allocate().code(), Some(401));
    assert!(bob.has_relay(), "nobody else lost anything");
    let again = daemon.cli(&["room", "kick", "lobby", "alice"]);
    assert_eq!(
        String::from_utf8(again.stderr).unwrap(),
        "error: user alice is not in the room Lobby\n"
    );
}

#[test]
fn a_ban_ends_connection_and_relay_and_survives_a_restart() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let banned = daemon.cli_json(&["room", "ban", "lobby", "alice"]);
    assert_eq!(
        (&banned["connections"], &banned["relays"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(alice.close_code(), 4005);
    assert!(!alice.has_relay());
    daemon.cli_json(&["user", "add", "never-here"]);
    let never = daemon.cli_json(&["room", "ban", "lobby", "never-here"]);
    let never = never["user"]["id"].as_str().expect("an id").to_owned();
    daemon.signal("KILL");
    let daemon = daemon.restart();
    for id in [&alice.id, &never] {
        let mut relay = crate::commands::Client::udp(daemon.turn(), id, Some("lobby"));
        assert_eq!(relay.allocate().code(), Some(401));
    }
    let mut elsewhere = crate::commands::Client::udp(daemon.turn(), &alice.id, None);
    assert_eq!(elsewhere.allocate().code(), None);
}

#[test]
fn a_kick_and_a_ban_on_the_database_reach_the_server() {
    for command in ["kick", "ban"] {
        let daemon = start();
        let mut alice = Guest::enters(&daemon, "lobby", "alice");
        let mut on_the_database = daemon.command(&["room", command, "lobby", "alice"]);
        let nowhere = daemon.data_dir().join("nowhere");
        on_the_database.env("PARLOR_ADMIN__SOCKET", nowhere);
        let output = on_the_database.output().expect("parlor runs");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(alice.close_code(), 4005);
        let started = parlor::clock::now().mono;
        // 401 until the shard has freed the allocation: the credential is revoked first.
        while refreshed(&mut alice) != Some(437) {
            let waited = parlor::clock::now().mono.since(started);
            assert!(
                waited < crate::commands::DEADLINE,
                "{command}: the relay is still there"
            );
        }
    }
}
