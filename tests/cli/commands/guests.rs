//! Lookup of guests by name and by room.

use serde_json::{Value, json};

use crate::commands::http::Client;
use crate::commands::start;
use crate::support::Daemon;

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Creates a guest with this name in this room; returns the id.
fn guest(daemon: &Daemon, room: &str, name: &str) -> String {
    let invite = daemon.cli_json(&["invite", "create", room]);
    let body = json!({"invite": invite["invite"], "name": name});
    let entered = Client::new(daemon.http()).post_json("/api/auth/guest", &body);
    text(&entered.ok()["user"]["id"])
}

fn refusal(daemon: &Daemon, args: &[&str]) -> String {
    let output = daemon.cli(args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn guests_are_listed_with_their_rooms() {
    let daemon = start();
    let id = guest(&daemon, "lobby", "Mallory");
    let listed = daemon.cli(&["user", "list"]);
    let remark = String::from_utf8(listed.stderr).unwrap();
    assert!(
        remark.contains("Guests: 1. `parlor user list --guests`"),
        "{remark}"
    );
    let guests = daemon.cli_json(&["user", "list", "--guests"]);
    assert_eq!(guests.as_array().map(Vec::len), Some(1), "{guests}");
    assert_eq!(
        (&guests[0]["id"], &guests[0]["display_name"]),
        (&json!(id), &json!("Mallory"))
    );
    assert_eq!(guests[0]["room"], json!({"id": "lobby", "name": "Lobby"}));
    let shown = daemon.cli(&["user", "list", "--guests"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("Mallory") && shown.contains(&id), "{shown}");
    assert_eq!(daemon.cli_json(&["user", "list"]), json!([]));
}

#[test]
fn a_guest_is_found_by_name_and_by_name_and_room() {
    let daemon = start();
    daemon.cli_json(&["room", "create", "Attic", "--id", "attic"]);
    let id = guest(&daemon, "lobby", "Mallory");
    let shown = daemon.cli_json(&["user", "show", "Mallory"]);
    assert_eq!(shown["id"], json!(id));
    let other = guest(&daemon, "attic", "Mallory");
    let error = refusal(&daemon, &["user", "disable", "Mallory"]);
    for part in [
        &format!("id:{id}"),
        &format!("id:{other}"),
        "guest of Lobby",
        "guest of Attic",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    for word in ["Mallory@attic", "Mallory@Attic", &format!("id:{other}")] {
        let shown = daemon.cli_json(&["user", "show", word]);
        assert_eq!(shown["id"], json!(other), "{word}");
    }
    let banned = daemon.cli_json(&["room", "ban", "attic", "Mallory"]);
    assert_eq!(banned["user"]["id"], json!(other));
    let error = refusal(&daemon, &["room", "ban", "lobby", &format!("id:{other}")]);
    assert!(error.contains("a guest of another room"), "{error}");
    let bans = daemon.cli_json(&["room", "bans", "attic"]);
    assert_eq!(bans[0]["user"]["display_name"], json!("Mallory"));
    daemon.cli_json(&["room", "unban", "attic", "Mallory"]);
}

#[test]
fn an_unknown_name_is_reported_with_similar_names() {
    let daemon = start();
    let id = guest(&daemon, "lobby", "Mallory");
    let error = refusal(&daemon, &["user", "disable", "mallory"]);
    assert!(error.contains("there is no user `mallory`"), "{error}");
    assert!(error.contains("Mallory (guest of Lobby since"), "{error}");
    assert!(error.contains(&format!("id:{id}")), "{error}");
}

#[test]
fn a_users_name_takes_precedence_over_a_guests() {
    let daemon = start();
    let alice = text(&daemon.cli_json(&["user", "add", "alice"])["id"]);
    let imposter = guest(&daemon, "lobby", "alice");
    let shown = daemon.cli_json(&["user", "show", "alice"]);
    assert_eq!(shown["id"], json!(alice));
    // The name is ambiguous in that room.
    let error = refusal(&daemon, &["room", "ban", "lobby", "alice"]);
    assert!(
        error.contains(&alice) && error.contains(&imposter),
        "{error}"
    );
}

#[test]
fn of_guests_with_the_same_name_the_one_in_the_room_is_selected() {
    let daemon = start();
    guest(&daemon, "lobby", "Mallory");
    let here = guest(&daemon, "lobby", "Mallory");
    daemon.cli_json(&["room", "add-member", "lobby", &here]);
    let kicked = daemon.cli_json(&["room", "kick", "lobby", "Mallory"]);
    assert_eq!(kicked["user"]["id"], json!(here));
    let error = refusal(&daemon, &["room", "ban", "lobby", "Mallory"]);
    assert!(error.contains("matches several people"), "{error}");
}

#[test]
fn disabling_a_guest_suggests_a_ban() {
    let daemon = start();
    let id = guest(&daemon, "lobby", "Mallory");
    let output = daemon.cli(&["user", "disable", "Mallory"]);
    let (said, remark) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert!(
        said.starts_with(&format!("Disabled guest Mallory (id {id})")),
        "{said}"
    );
    let way = format!("`parlor room ban lobby id:{id}`");
    assert!(remark.contains(&way), "{remark}");
}
