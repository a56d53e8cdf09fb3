//! Every form of a credential's user name, as minted by other services, over real sockets.

use std::process::Stdio;

use serde_json::{Value, json};

use parlor::credential::Minted;

use crate::coturn::tool;
use crate::support::turn::{Client, SECRET, minted};
use crate::support::{Builder, Daemon};
use crate::{Deadline, metric, open_relay};

const EXPIRY: &str = "4000000000";
const ROOM: &str = "daily";

/// Ids with every allowed character.
const USERS: [&str; 4] = [
    "alice",
    "alice@example.org",
    "auth0|5:7+a=~_-.",
    "1999999999",
];

fn relay() -> Daemon {
    // coturn's client sends no media.
    let daemon = open_relay().env("PARLOR_TURN__TRAFFIC", "any").start();
    daemon.cli_json(&["room", "create", "Daily", "--id", ROOM]);
    daemon
}

/// The forms with a user.
fn names(user: &str) -> Vec<String> {
    let mut names = vec![
        format!("{EXPIRY}:{user}"),
        format!("{EXPIRY}:{user}/{ROOM}"),
        format!("{EXPIRY}:{user}/{ROOM}/0"),
        format!("{EXPIRY}:{user}/{ROOM}/17"),
    ];
    // Leading digits are the expiry: digits before this name would change the user.
    if !user.starts_with(char::is_numeric) {
        names.push(format!("{user}:{EXPIRY}"));
        names.push(format!("{user}/{ROOM}:{EXPIRY}"));
    }
    names
}

fn client(daemon: &Daemon, name: &str) -> Client {
    let mut client = Client::udp(daemon.turn(), "nobody", None);
    client.minted = minted(name);
    client
}

/// The rows of `parlor sessions`, as (user id, room id).
fn sessions(daemon: &Daemon) -> Vec<(Value, Value)> {
    let rows = daemon.cli_json(&["sessions", "--all"]);
    let row = |row: &Value| (row["user"]["id"].clone(), row["room"]["id"].clone());
    rows.as_array().expect("rows").iter().map(row).collect()
}

#[test]
fn every_form_of_a_user_name_is_listed_and_ends_with_the_user() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "0")
        .env("SECRET_KEY", TOKENS)
        .env("PARLOR_AUTH__PROVISION_USERS", "true")
        .start();
    daemon.cli_json(&["room", "create", "Daily", "--id", ROOM]);
    for user in USERS {
        // Adds the users to the database.
        let http = crate::support::http::Client::new(daemon.http());
        let caller = http.with_token(&crate::support::token(TOKENS, user));
        assert_eq!(caller.get("/api/auth/me").ok()["id"], json!(user));
        let names = names(user);
        let mut clients: Vec<_> = names.iter().map(|name| client(&daemon, name)).collect();
        for (client, name) in clients.iter_mut().zip(&names) {
            assert_eq!(client.allocate().code(), None, "{name}");
        }
        let shown = sessions(&daemon);
        assert_eq!(shown.len(), names.len(), "{user}");
        assert!(shown.iter().all(|(id, _)| *id == json!(user)), "{shown:?}");
        let bound = names.iter().filter(|name| name.contains('/')).count();
        let in_room = shown.iter().filter(|(_, room)| *room == json!(ROOM));
        assert_eq!(in_room.count(), bound, "{user}");

        let disabled = daemon.cli_json(&["user", "disable", &format!("id:{user}")]);
        assert_eq!(disabled["relays"], json!(names.len()), "{disabled}");
        assert!(sessions(&daemon).is_empty());
        for name in &names {
            assert_eq!(client(&daemon, name).allocate().code(), Some(401), "{name}");
        }
    }
}

#[test]
fn an_allocation_ends_with_its_credential_if_the_settings_say_so() {
    let daemon = open_relay()
        .env("PARLOR_TURN__END_AT_EXPIRY", "true")
        .start();
    // Expires during the test, and long after it.
    let soon = format!("{}:alice", parlor::clock::now().unix + 5);
    for name in [&soon, &format!("{EXPIRY}:bob")] {
        assert_eq!(client(&daemon, name).allocate().code(), None, "{name}");
    }
    let deadline = Deadline::new();
    while sessions(&daemon).len() != 1 {
        deadline.check("the allocation to end");
    }
    assert!(
        daemon
            .cli_json(&["sessions", "--all"])
            .to_string()
            .contains("bob")
    );
}

const TOKENS: &str = "a shared secret of at least 32 bytes";

#[test]
fn closing_a_room_ends_its_allocations_for_every_form_of_a_name() {
    let daemon = relay();
    let names = names("alice@example.org");
    let mut clients: Vec<_> = names.iter().map(|name| client(&daemon, name)).collect();
    for (client, name) in clients.iter_mut().zip(&names) {
        assert_eq!(client.allocate().code(), None, "{name}");
    }
    let bound = names.iter().filter(|name| name.contains('/')).count();
    let closed = daemon.cli_json(&["room", "close", ROOM]);
    assert_eq!(closed["relays"], json!(bound), "{closed}");
    for name in names {
        let code = name.contains('/').then_some(401);
        assert_eq!(client(&daemon, &name).allocate().code(), code, "{name}");
    }
}

#[test]
fn coturns_client_relays_with_every_form_of_a_name() {
    let daemon = relay();
    let port = daemon.turn().port().to_string();
    let unnamed = [EXPIRY.to_owned(), format!("{EXPIRY}:")];
    let names = [&names("alice@example.org")[..], &unnamed].concat();
    let start = |name: &String| {
        let Minted {
            username,
            credential,
        } = minted(name);
        tool("turnutils_uclient")
            .args(["-y", "-s", "-c", "-n", "2", "-m", "1", "-l", "100"])
            .args(["-p", &port, "-u", &username, "-w", &credential, "127.0.0.1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("turnutils_uclient starts")
    };
    let running: Vec<_> = names.iter().map(start).collect();
    for (name, child) in names.iter().zip(running) {
        let output = child.wait_with_output().expect("turnutils_uclient ends");
        let text = String::from_utf8_lossy(&output.stdout);
        let whole = "tot_send_msgs=4, tot_recv_msgs=4";
        assert!(text.contains(whole), "{name}: {text}");
    }
}

#[test]
fn a_minted_credential_for_any_id_is_bound_to_user_and_room() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        .env("SECRET_KEY", TOKENS)
        .env("PARLOR_AUTH__PROVISION_USERS", "true")
        .start();
    daemon.cli_json(&["room", "create", "Daily", "--id", ROOM]);
    let longest = "@".repeat(255);
    for user in USERS.into_iter().chain([&*longest]) {
        let http = crate::support::http::Client::new(daemon.http());
        let caller = http.with_token(&crate::support::token(TOKENS, user));
        let joined = caller.post(&format!("/api/rooms/{ROOM}/join")).ok();
        let server = &joined["ice_servers"][1];
        let text = |key: &str| server[key].as_str().expect("text").to_owned();
        let mut client = Client::udp(daemon.turn(), "nobody", None);
        client.minted = Minted {
            username: text("username"),
            credential: text("credential"),
        };
        assert_eq!(client.allocate().code(), None, "{user}");
        let relays = |shown: Vec<(Value, Value)>| {
            shown
                .into_iter()
                .filter(|row| *row == (json!(user), json!(ROOM)))
                .count()
        };
        assert_eq!(relays(sessions(&daemon)), 1, "{user}");
        caller.post(&format!("/api/rooms/{ROOM}/leave")).ok();
        let deadline = Deadline::new();
        while relays(sessions(&daemon)) > 0 {
            deadline.check("the relay is freed");
        }
        assert_eq!(client.allocate().code(), Some(401), "{user}");
    }
}

#[test]
fn a_name_cannot_start_a_log_line_or_control_a_terminal() {
    let daemon = open_relay()
        .env("PARLOR_LOG__FORMAT", "text")
        .env("PARLOR_LOG__LEVEL", "debug")
        .start();
    let forged = "2026-01-01T00:00:00Z  INFO relay credential refused client=192.0.2.1";
    let user = format!("mallory\n{forged}\u{1b}[2J\u{202e}");
    assert_eq!(
        client(&daemon, &format!("{EXPIRY}:{user}"))
            .allocate()
            .code(),
        None
    );
    let line = daemon.wait_for_log("allocation granted");
    assert!(line.contains("\\n2026"), "{line}");
    let log = daemon.log();
    assert!(!log.iter().any(|line| line.starts_with(forged)), "{log:#?}");
    assert!(!log.concat().contains(['\u{1b}', '\u{202e}']), "{log:#?}");
}

#[test]
fn names_without_a_user_are_refused_if_configured() {
    let daemon = open_relay().env("PARLOR_TURN__UNNAMED", "false").start();
    for name in [EXPIRY.to_owned(), format!("{EXPIRY}:")] {
        assert_eq!(
            client(&daemon, &name).allocate().code(),
            Some(401),
            "{name}"
        );
    }
    let refused = "parlor_turn_error_responses_total{reason=\"anonymous not allowed\"}";
    assert_eq!(metric(&daemon, refused), 2);
    assert_eq!(client(&daemon, "4000000000:alice").allocate().code(), None);
}
