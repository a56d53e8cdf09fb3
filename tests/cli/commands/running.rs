//! Effects of commands on connected users, and their output.

use serde_json::{Value, json};

use crate::commands::{Guest, row, start};
use crate::support::http;

#[test]
fn disabling_a_user_ends_connections_and_relays_and_counts_them() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let mut bob = Guest::enters(&daemon, "lobby", "bob");
    let output = daemon.cli(&["user", "disable", "alice"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        said,
        "Disabled user alice: 1 connection closed, 1 relay freed\n"
    );
    assert_eq!(alice.close_code(), 4005);
    assert!(!alice.has_relay());
    assert!(bob.has_relay(), "nobody else lost anything");
    let again = daemon.cli_json(&["user", "disable", "alice"]);
    assert_eq!(
        (&again["connections"], &again["relays"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn an_enabled_user_can_join_at_once() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    daemon.cli_json(&["user", "disable", "alice"]);
    assert_eq!(alice.close_code(), 4005);
    assert_eq!(alice.relay.allocate().code(), Some(401));
    daemon.cli_json(&["user", "enable", "alice"]);
    assert_eq!(alice.relay.allocate().code(), None);
}

#[test]
fn closing_a_room_ends_its_connections_and_relays() {
    for command in ["close", "delete"] {
        let daemon = start();
        let mut guests = ["alice", "bob"].map(|name| Guest::enters(&daemon, "lobby", name));
        let done = daemon.cli_json(&["room", command, "lobby"]);
        assert_eq!(
            (&done["members"], &done["connections"], &done["relays"]),
            (&json!(2), &json!(2), &json!(2))
        );
        for guest in &mut guests {
            assert_eq!(guest.close_code(), 4004);
            assert!(!guest.has_relay());
        }
    }
}

#[test]
fn deleting_a_user_ends_connections_and_relays() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let done = daemon.cli_json(&["user", "delete", "alice"]);
    assert_eq!(
        (&done["connections"], &done["relays"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(alice.close_code(), 4005);
    assert!(!alice.has_relay());
}

#[test]
fn sessions_show_user_room_transport_start_and_bytes() {
    let daemon = start();
    assert_eq!(daemon.cli_json(&["sessions"]), json!([]));
    let before = parlor::storage::utc::format(parlor::clock::now().unix);
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let mut bob = Guest::enters(&daemon, "lobby", "bob");
    assert_eq!(alice.relay.bind(0x4001, bob.relayed).code(), None);
    assert_eq!(bob.relay.bind(0x4001, alice.relayed).code(), None);
    let hello = crate::support::turn::channel_data(0x4001, &[0x80; 1500], false);
    alice.relay.send(&hello);
    assert_eq!(bob.relay.receive(), hello);

    let sessions = daemon.cli_json(&["sessions", "--all"]);
    assert_eq!(sessions.as_array().map(Vec::len), Some(4), "{sessions}");
    let socket = row(&sessions, &alice.id, "websocket");
    assert_eq!(socket["room"], json!({"id": "lobby", "name": "Lobby"}));
    assert_eq!(socket["user"]["name"], "alice");
    let relay = row(&sessions, &alice.id, "turn/udp");
    assert_eq!(relay["relayed"], alice.relayed.to_string());
    assert_eq!(
        (&relay["bytes_sent"], &relay["bytes_received"]),
        (&json!(1500), &json!(0))
    );
    let relay = row(&sessions, &bob.id, "turn/udp");
    assert_eq!(relay["bytes_received"], json!(1500));
    for row in sessions.as_array().expect("a list") {
        assert!(
            row["since"].as_str().expect("a time") >= &before[..],
            "{row}"
        );
    }
    let shown = String::from_utf8(daemon.cli(&["sessions"]).stdout).unwrap();
    assert!(
        shown.contains("Lobby") && shown.contains("1.5 kB"),
        "{shown}"
    );
}

#[test]
fn sessions_are_listed_although_the_database_fails() {
    let daemon = start();
    let alice = Guest::enters(&daemon, "lobby", "alice");
    let database = rusqlite::Connection::open(daemon.data_dir().join("parlor.db"));
    let database = database.expect("the database opens");
    database.busy_timeout(crate::commands::DEADLINE).unwrap();
    let break_it = "ALTER TABLE users RENAME COLUMN name TO called";
    database.execute_batch(break_it).expect("a write");
    let output = daemon.cli(&["sessions", "--all", "--json"]);
    let sessions: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(
        row(&sessions, &alice.id, "websocket")["user"]["name"],
        alice.id
    );
    assert_eq!(
        row(&sessions, &alice.id, "turn/udp")["user"]["name"],
        alice.id
    );
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("their ids are shown"), "{said}");
}

#[test]
fn status_shows_the_server_and_its_usage() {
    let daemon = start();
    let _alice = Guest::enters(&daemon, "lobby", "alice");
    let status = daemon.cli_json(&["status"]);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["process"], daemon.pid());
    assert_eq!(
        (&status["ready"], &status["not_ready"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(status["http"], json!([daemon.http().to_string()]));
    assert_eq!(status["turn"], json!([daemon.turn().to_string()]));
    assert_eq!(status["metrics"], json!([daemon.metrics().to_string()]));
    let socket = daemon.data_dir().join("parlor.sock");
    assert_eq!(status["socket"], json!(socket));
    for figure in [
        "open_rooms",
        "participants",
        "rooms_in_use",
        "connections",
        "relays",
    ] {
        assert_eq!(status[figure], json!(1), "{figure}");
    }
    let shown = String::from_utf8(daemon.cli(&["status"]).stdout).unwrap();
    let ready = shown.lines().find_map(|line| line.strip_prefix("Ready:"));
    assert_eq!(ready.map(str::trim), Some("yes"), "{shown}");
}

#[test]
fn a_reload_applies_changes_and_rejects_an_invalid_configuration_as_a_whole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().expect("a plain path").to_owned();
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    write("turn.credential_ttl = \"1h\"\n");
    let daemon = crate::commands::Builder::new()
        .arg("--config")
        .arg(&path)
        .start();
    write("turn.credential_ttl = \"2h\"\nturn.realm = \"elsewhere\"\n");
    let report = daemon.cli_json(&["reload"]);
    assert_eq!(report["changed"], json!(["turn.credential_ttl"]));
    assert_eq!(report["needs_restart"], json!(["turn.realm"]));
    write("log.level = \"loud\"\nturn.relm = 1\n");
    let output = daemon.cli(&["reload"]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for part in [
        ":1: log.level",
        ":2: turn.relm",
        "the old one stays in force",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The command itself reads the file, too.
    for (command, consequence) in [
        ("reload", "the old one stays in force"),
        ("upgrade", "the server continues unchanged"),
    ] {
        let output = daemon.cli(&["--config", &path, command]);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.lines().last().unwrap().ends_with(consequence),
            "{said}"
        );
    }
    let output = daemon.cli(&["reload", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).expect("one object");
    assert!(error["error"].is_string(), "{error}");
}

#[test]
fn a_signed_out_user_loses_connections_and_relays_and_may_return() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let output = daemon.cli(&["user", "sign-out", "alice"]);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "Signed out user alice: 1 connection closed, 1 relay freed\n"
    );
    assert_eq!(alice.close_code(), 4001);
    assert!(!alice.has_relay());
    assert_eq!(alice.relay.allocate().code(), None);
}

#[test]
fn a_sign_out_on_the_database_frees_relays_once() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let mut sign_out = daemon.command(&["user", "sign-out", "alice"]);
    let nowhere = daemon.data_dir().join("nowhere");
    let output = sign_out.env("PARLOR_ADMIN__SOCKET", nowhere).output();
    assert!(output.expect("parlor runs").status.success());
    daemon.wait_for_log("user signed out by another process");
    assert_eq!(alice.close_code(), 4001);
    alice.loses_relay();
}

#[test]
fn changes_by_another_process_end_connections_then_relays_and_are_counted() {
    let daemon = start();
    let [mut alice, mut bob, mut carol, mut dave] =
        ["alice", "bob", "carol", "dave"].map(|name| Guest::enters(&daemon, "lobby", name));
    let mut kick = daemon.command(&["room", "kick", "lobby", "alice"]);
    let nowhere = daemon.data_dir().join("nowhere");
    let output = kick.env("PARLOR_ADMIN__SOCKET", nowhere).output();
    assert!(output.expect("parlor runs").status.success());
    assert_eq!(alice.close_code(), 4005);
    alice.loses_relay();

    let database = rusqlite::Connection::open(daemon.data_dir().join("parlor.db")).unwrap();
    database.busy_timeout(crate::commands::DEADLINE).unwrap();
    let write = |sql: &str, id: &str| assert_eq!(database.execute(sql, [id]), Ok(1), "{sql}");
    write(
        "UPDATE users SET disabled_at = '2026-01-01T00:00:00Z' WHERE id = ?1",
        &bob.id,
    );
    assert_eq!(bob.close_code(), 4005);
    bob.loses_relay();

    // No list of revocations shows that the row was there.
    write(
        "DELETE FROM room_participants WHERE user_id = ?1",
        &carol.id,
    );
    assert_eq!(carol.close_code(), 4003);
    carol.loses_relay();
    assert_eq!(carol.relay.allocate().code(), Some(401));
    assert!(dave.has_relay(), "nobody else lost anything");

    let text = http::Client::new(daemon.metrics()).get("/metrics").body;
    let text = String::from_utf8(text).expect("text");
    for (event, count) in [("left", 1), ("user-disabled", 1), ("access-lost", 1)] {
        let sample = format!("parlor_events_total{{event=\"{event}\"}} {count}\n");
        assert!(text.contains(&sample), "{sample}{text}");
    }
}

#[test]
fn sessions_have_a_row_for_each_person_and_name_guests() {
    let daemon = start();
    let alice = Guest::enters(&daemon, "lobby", "alice");
    let link = daemon.cli_json(&["invite", "create", "lobby"]);
    let body = json!({"invite": link["invite"], "name": "Mallory"});
    let client = crate::commands::http::Client::new(daemon.http());
    let guest = client.post_json("/api/auth/guest", &body).ok();
    let guest = guest["user"]["id"].as_str().expect("an id");
    let mut relays =
        [Some("lobby"), None].map(|room| crate::commands::Client::udp(daemon.turn(), guest, room));
    for relay in &mut relays {
        relay.allocated();
    }

    let sessions = daemon.cli_json(&["sessions"]);
    assert_eq!(sessions.as_array().map(Vec::len), Some(2), "{sessions}");
    assert_eq!(sessions[0]["user"]["display_name"], json!("Mallory"));
    assert_eq!(sessions[0]["over"], json!({"turn/udp": 2}));
    assert_eq!(sessions[1]["user"]["id"], json!(alice.id));
    let both = json!({"turn/udp": 1, "websocket": 1});
    assert_eq!(sessions[1]["over"], both);
    assert_eq!(
        sessions[1]["rooms"],
        json!([{"id": "lobby", "name": "Lobby"}])
    );
    let shown = String::from_utf8(daemon.cli(&["sessions"]).stdout).unwrap();
    for text in [
        "Mallory (guest)",
        guest,
        "2 turn/udp",
        "turn/udp, websocket",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
}
