//! The output of `parlor room audit` and of `parlor room role`.

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::{Builder, Daemon};

/// Runs a command by the server, or on the database.
fn run(daemon: &Daemon, has_server: bool, arguments: &[&str]) -> Result<String, String> {
    let mut command = daemon.command(arguments);
    if !has_server {
        command.env("PARLOR_ADMIN__SOCKET", daemon.data_dir().join("nowhere"));
    }
    let output = command.output().expect("parlor runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    if output.status.success() {
        Ok(text(output.stdout))
    } else {
        Err(text(output.stderr))
    }
}

fn audit(daemon: &Daemon, options: &[&str]) -> Vec<Value> {
    let entries = daemon.cli_json(&[&["room", "audit", "lobby"], options].concat());
    entries.as_array().expect("a list").clone()
}

#[test]
fn the_audit_names_users_who_acted_and_the_end_of_a_ban() {
    let daemon = Builder::new().start();
    for user in ["alice", "bob"] {
        daemon.cli_json(&["user", "add", user]);
        daemon.cli_json(&["room", "add-member", "lobby", user]);
    }
    daemon.cli_json(&["room", "role", "lobby", "alice", "owner"]);
    let token = daemon.cli_json(&["token", "issue", "alice"])["token"].clone();
    let alice = Client::new(daemon.http()).with_token(token.as_str().expect("a token"));
    alice.post("/api/rooms/lobby/lock").ok();
    let ban = ["room", "ban", "lobby", "bob", "--until", "2099-12-31"];
    daemon.cli_json(&ban);

    let entries = audit(&daemon, &[]);
    let actions: Vec<&Value> = entries.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["ban", "lock", "role"]);
    let end = entries[0]["until"].as_str().expect("a time");
    assert!(end.starts_with("2099-12-31T"), "{end}");
    assert_eq!(entries[1]["until"], Value::Null);
    assert_eq!(entries[1]["actor"], "alice");
    let users = daemon.cli_json(&["user", "list"]);
    let users = users.as_array().expect("a list").iter();
    let id = users
        .filter(|user| user["name"] == "alice")
        .map(|user| &user["id"]);
    assert_eq!(id.collect::<Vec<_>>(), [&entries[1]["actor_id"]]);
    assert_eq!(entries[0]["actor_id"], Value::Null);
    assert_eq!(audit(&daemon, &["--limit", "2"]), entries[..2]);

    // The table has the same, and does so for a closed room.
    daemon.cli_json(&["room", "close", "lobby"]);
    for has_server in [true, false] {
        let table = run(&daemon, has_server, &["room", "audit", "lobby"]).expect("a table");
        let line = |action: &str| {
            let lines = table.lines();
            let mut lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
            let found = lines.find(|words| words.contains(&action));
            found.unwrap_or_else(|| panic!("{table}"))
        };
        assert_eq!(line("lock")[2..], ["alice", "lock"]);
        let expected = ["admin", "shell", "ban", "bob", "until", end];
        assert_eq!(line("ban")[2..], expected);
    }
}

#[test]
fn a_role_that_a_user_has_is_no_change_and_a_closed_room_has_no_roles() {
    let daemon = Builder::new().start();
    daemon.cli_json(&["user", "add", "alice"]);
    daemon.cli_json(&["room", "add-member", "lobby", "alice"]);
    let role = ["room", "role", "lobby", "alice", "moderator"];
    for is_changed in [true, false] {
        let outcome = daemon.cli_json(&role);
        assert_eq!(outcome["changed"], json!(is_changed));
        assert_eq!(outcome["former_owner_id"], Value::Null);
    }
    assert_eq!(audit(&daemon, &[]).len(), 1);
    daemon.cli_json(&["room", "close", "lobby"]);
    for has_server in [true, false] {
        for command in [&role[..], &["room", "lock", "lobby"]] {
            let error = run(&daemon, has_server, command).expect_err("a closed room");
            assert!(error.contains("closed"), "{error}");
        }
    }
}
