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

#[test]
fn locks_and_roles_are_in_the_audit_with_and_without_a_server() {
    let daemon = start();
    for user in ["alice", "bob"] {
        daemon.cli_json(&["user", "add", user]);
        daemon.cli_json(&["room", "add-member", "lobby", user]);
    }
    for has_server in [true, false] {
        let run = |arguments: &[&str]| {
            let mut command = daemon.command(arguments);
            if !has_server {
                let nowhere = daemon.data_dir().join("nowhere");
                command.env("PARLOR_ADMIN__SOCKET", nowhere);
            }
            let output = command.output().expect("parlor runs");
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            (text(output.stdout), text(output.stderr))
        };
        let locked = run(&["room", "lock", "lobby", "--reason", "a talk"]).0;
        let expected = "Locked Lobby: members come back in, newcomers are rejected\n";
        assert_eq!(locked, expected);
        let shown = daemon.cli_json(&["room", "show", "lobby"]);
        assert_eq!(shown["locked"], json!(true));
        assert_eq!(run(&["room", "unlock", "lobby"]).0, "Unlocked Lobby\n");
        let role = ["room", "role", "lobby", "alice", "owner"];
        assert_eq!(run(&role).0, "user alice is the owner of Lobby\n");
        let role = ["room", "role", "lobby", "alice", "member"];
        let error = run(&role).1;
        assert!(
            error.contains("`parlor room role lobby USER owner`"),
            "{error}"
        );
        let role = ["room", "role", "lobby", "bob", "owner", "--reason", "R"];
        let (text, remark) = run(&role);
        assert_eq!(text, "user bob is the owner of Lobby\n");
        assert!(remark.contains("is a moderator now"), "{remark}");
        let role = ["room", "role", "lobby", "alice", "member"];
        assert_eq!(run(&role).0, "user alice is a member of Lobby\n");
        let kick = ["room", "kick", "lobby", "alice", "--reason", "noise"];
        run(&kick);
        daemon.cli_json(&["room", "add-member", "lobby", "alice"]);
        let audit = daemon.cli_json(&["room", "audit", "lobby", "--limit", "7"]);
        let lines: Vec<String> = audit
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                assert_eq!(entry["actor"], json!("admin shell"));
                let word = |key: &str| entry[key].as_str().unwrap_or("-").to_owned();
                let keys = ["action", "user", "value", "reason"];
                keys.map(word).join(" ")
            })
            .collect();
        let expected = [
            "kick alice - noise",
            "role alice member -",
            "role alice moderator R",
            "role bob owner R",
            "role alice owner -",
            "unlock - - -",
            "lock - - a talk",
        ];
        // The second time, bob is the former owner.
        let skipped = if has_server { 0 } else { 1 };
        if has_server {
            assert_eq!(lines, expected);
        } else {
            assert_eq!(lines[..4], expected[..4]);
            assert_eq!(lines[4], "role bob moderator -");
        }
        let before = audit[skipped]["id"].to_string();
        let page = [
            "room", "audit", "lobby", "--before", &before, "--limit", "1",
        ];
        assert_eq!(daemon.cli_json(&page)[0], audit[skipped + 1]);
        let table = run(&["room", "audit", "lobby"]).0;
        assert!(table.contains("admin shell  kick"), "{table}");
    }
    let reason = ["room", "lock", "lobby", "--reason", " "];
    assert_eq!(daemon.cli(&reason).status.code(), Some(2));
}

/// More than two pages of bans, the newest first: u0001, u0002 and so on.
const BANS: usize = 2100;

#[test]
fn every_ban_of_a_room_with_thousands_is_listed_and_can_be_lifted() {
    let daemon = start();
    let numbers =
        format!("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {BANS})");
    daemon.sql(&format!(
        "{numbers} INSERT INTO users (id, name, display_name, created_at)
         SELECT printf('u%04d', i), printf('name%04d', i), iif(i IN (5, 2095), 'Twin', printf('Person %d', i)),
                '2023-01-01T00:00:00Z' FROM n;
         {numbers} INSERT INTO room_bans (room_id, user_id, created_at)
         SELECT 'lobby', printf('u%04d', i), '2023-01-01T00:00:00Z' FROM n"
    ));
    let list = |after: Option<&str>| {
        let more = after.map(|id| ["--after", id]);
        let page =
            daemon.cli_json(&[&["room", "bans", "lobby"], more.as_slice().as_flattened()].concat());
        let page = page.as_array().expect("a list").iter();
        page.map(|ban| ban["user"]["id"].as_str().expect("an id").to_owned())
            .collect::<Vec<_>>()
    };
    let mut listed = list(None);
    assert_eq!(listed.len(), 1000);
    for length in [1000, 100, 0] {
        let page = list(listed.last().map(String::as_str));
        assert_eq!(page.len(), length);
        listed.extend(page);
    }
    let all: Vec<String> = (1..=BANS).map(|number| format!("u{number:04}")).collect();
    assert_eq!(listed, all);

    // On each page, by id, by name and by the name that others see.
    for (argument, id) in [
        ("id:u0999", "u0999"),
        ("name1001", "u1001"),
        ("Person 2100", "u2100"),
        ("u2001", "u2001"),
    ] {
        let unbanned = daemon.cli_json(&["room", "unban", "lobby", argument]);
        assert_eq!(unbanned["user"]["id"], *id);
        let again = daemon.cli(&["room", "unban", "lobby", argument]);
        let said = format!(
            "error: no ban of Lobby matches `{argument}`: `parlor room bans lobby` lists them\n"
        );
        assert_eq!(String::from_utf8(again.stderr).unwrap(), said);
    }
    // Two of one name, on the first page and on the last.
    let twins = daemon.cli(&["room", "unban", "lobby", "Twin"]);
    assert_eq!(
        String::from_utf8(twins.stderr).unwrap(),
        "error: `Twin` matches several bans: use the id of the one you mean, id:u0005 or id:u2095\n"
    );
    let last = list(Some("u1996"));
    assert_eq!(last.len(), 102);
    assert_eq!((&*last[0], &*last[101]), ("u1997", "u2099"));
}
