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
    let told = refusal(&daemon, &["user", "disable", "Mallory"]);
    for part in [
        &format!("id:{id}"),
        &format!("id:{other}"),
        "guest of Lobby",
        "guest of Attic",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    for word in ["Mallory@attic", "Mallory@Attic", &format!("id:{other}")] {
        let shown = daemon.cli_json(&["user", "show", word]);
        assert_eq!(shown["id"], json!(other), "{word}");
    }
    let banned = daemon.cli_json(&["room", "ban", "attic", "Mallory"]);
    assert_eq!(banned["user"]["id"], json!(other));
    let told = refusal(&daemon, &["room", "ban", "lobby", &format!("id:{other}")]);
    assert!(told.contains("a guest of another room"), "{told}");
    let bans = daemon.cli_json(&["room", "bans", "attic"]);
    assert_eq!(bans[0]["user"]["display_name"], json!("Mallory"));
    daemon.cli_json(&["room", "unban", "attic", "Mallory"]);
}

#[test]
fn a_name_that_is_almost_right_is_answered_with_those_that_are_meant_perhaps() {
    let daemon = start();
    let id = guest(&daemon, "lobby", "Mallory");
    let told = refusal(&daemon, &["user", "disable", "mallory"]);
    assert!(told.contains("there is no user `mallory`"), "{told}");
    assert!(told.contains("Mallory (guest of Lobby since"), "{told}");
    assert!(told.contains(&format!("id:{id}")), "{told}");
}

#[test]
fn a_guests_name_gets_in_the_way_of_no_user() {
    let daemon = start();
    let alice = text(&daemon.cli_json(&["user", "add", "alice"])["id"]);
    let imposter = guest(&daemon, "lobby", "alice");
    let shown = daemon.cli_json(&["user", "show", "alice"]);
    assert_eq!(shown["id"], json!(alice));
    // The name is ambiguous in that room.
    let told = refusal(&daemon, &["room", "ban", "lobby", "alice"]);
    assert!(told.contains(&alice) && told.contains(&imposter), "{told}");
}

#[test]
fn of_guests_with_one_name_the_one_who_is_in_the_room_is_meant() {
    let daemon = start();
    guest(&daemon, "lobby", "Mallory");
    let here = guest(&daemon, "lobby", "Mallory");
    daemon.cli_json(&["room", "add-member", "lobby", &here]);
    let kicked = daemon.cli_json(&["room", "kick", "lobby", "Mallory"]);
    assert_eq!(kicked["user"]["id"], json!(here));
    let told = refusal(&daemon, &["room", "ban", "lobby", "Mallory"]);
    assert!(told.contains("matches several people"), "{told}");
}

#[test]
fn who_disables_a_guest_is_told_how_to_keep_them_out() {
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
