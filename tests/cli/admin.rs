//! Commands that look at users, rooms and invites, and that take them away: with the database alone,
//! and beside a running daemon.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{ChildStderr, Stdio};

use crate::support::command::{Desk, Outcome};
use crate::support::http::{Answer, Client};
use crate::support::{Builder, DEADLINE, Daemon};
use nix::pty::openpty;
use parlor::password::verify;
use serde_json::{Value, json};

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn desk_with(users: &[&str]) -> Desk {
    let desk = Desk::new();
    for user in users {
        desk.json(&["user", "add", user]);
    }
    desk
}

/// One value of the database.
fn stored(desk: &Desk, sql: &str) -> Option<String> {
    let database = rusqlite::Connection::open(desk.data_dir().join("parlor.db")).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    database.query_row(sql, (), |row| row.get(0)).expect(sql)
}

/// Whether this is alice's password now.
fn opens(desk: &Desk, password: &str) -> bool {
    let kept = stored(desk, "SELECT password_hash FROM users WHERE name = 'alice'");
    verify(password, kept.as_deref())
}

#[test]
fn a_user_is_shown_with_their_rooms() {
    let desk = desk_with(&["alice"]);
    let shown = desk.json(&["user", "show", "alice"]);
    assert_eq!(
        (&shown["role"], &shown["password"], &shown["rooms"]),
        (&json!("user"), &json!(false), &json!([]))
    );
    desk.json(&["room", "create", "Daily", "--id", "daily"]);
    desk.json(&["room", "add-member", "daily", "alice"]);
    let shown = desk.json(&["user", "show", text(&shown["id"])]);
    assert_eq!(shown["rooms"][0]["id"], json!("daily"));
    assert_eq!(
        (&shown["disabled"], &shown["deleted"]),
        (&json!(false), &json!(false))
    );
    let for_people = desk.text(&["user", "show", "alice"]);
    assert!(
        for_people.contains("alice") && for_people.contains("Daily"),
        "{for_people}"
    );
    desk.refused(&["user", "show", "nobody"], "there is no user `nobody`");
}

#[test]
fn a_disabled_user_gets_nothing_until_they_are_enabled() {
    let desk = desk_with(&["alice"]);
    let disabled = desk.json(&["user", "disable", "alice"]);
    assert_eq!(
        (&disabled["disabled"], &disabled["revoked_invites"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(desk.json(&["user", "disable", "alice"]), disabled);
    assert_eq!(desk.json(&["user", "list"])[0]["disabled"], json!(true));
    assert!(desk.text(&["user", "show", "alice"]).contains("disabled"));
    desk.refused(&["token", "issue", "alice"], "the user `alice` is disabled");
    assert_eq!(
        desk.json(&["user", "enable", "alice"])["disabled"],
        json!(false)
    );
    desk.json(&["user", "enable", "alice"]);
    desk.json(&["token", "issue", "alice"]);
    desk.refused(&["user", "disable", "nobody"], "there is no user `nobody`");
}

#[test]
fn a_deleted_user_leaves_an_id_that_stays_refused_and_nothing_else() {
    let desk = Desk::new().env("PARLOR_AUTH__PROVISION_USERS", "true");
    let add = [
        "--json",
        "user",
        "add",
        "alice",
        "--admin",
        "--password-stdin",
    ];
    let added = desk.run_with_input(&add, "correct horse");
    let added: Value = serde_json::from_str(&added.stdout).unwrap();
    let id = text(&added["id"]);
    desk.json(&["room", "create", "Daily"]);
    desk.json(&["room", "add-member", "Daily", "alice"]);
    assert_eq!(
        desk.json(&["user", "delete", "alice"])["name"],
        json!("alice")
    );
    assert_eq!(desk.json(&["user", "list"]), json!([]));
    let shown = desk.json(&["user", "show", id]);
    assert_eq!(
        (&shown["deleted"], &shown["name"]),
        (&json!(true), &json!(id))
    );
    assert_eq!(
        (&shown["admin"], &shown["password"], &shown["rooms"]),
        (&json!(false), &json!(false), &json!([]))
    );
    for command in ["disable", "enable", "passwd", "delete"] {
        desk.refused(&["user", command, id], "was deleted");
    }
    desk.refused(&["token", "issue", id], "was deleted");
    assert_eq!(
        desk.json(&["room", "show", "Daily"])["participants"],
        json!([])
    );
    assert_ne!(desk.json(&["user", "add", "alice"])["id"], json!(id));
}

#[test]
fn a_password_is_changed_by_standard_input_or_the_environment() {
    let desk = desk_with(&["alice"]);
    let passwd = ["user", "passwd", "alice"];
    desk.misused(&passwd, "use --password-stdin or PARLOR_PASSWORD");
    let by_stdin = [&passwd[..], &["--password-stdin"]].concat();
    let changed = desk.run_with_input(&by_stdin, "the first\n");
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    assert!(opens(&desk, "the first"));
    let desk = desk.env("PARLOR_PASSWORD", "the second");
    desk.json(&passwd);
    assert!(opens(&desk, "the second") && !opens(&desk, "the first"));
    assert_eq!(desk.run_with_input(&by_stdin, "the third").code, 0);
    assert!(
        opens(&desk, "the third"),
        "what is asked for outranks the environment"
    );
    desk.json(&["user", "add", "bob"]);
    assert_eq!(
        desk.json(&["user", "show", "bob"])["password"],
        json!(false)
    );
    desk.json(&["user", "add", "carol", "--password"]);
    assert_eq!(
        desk.json(&["user", "show", "carol"])["password"],
        json!(true)
    );
    let desk = desk.env("PARLOR_PASSWORD", "");
    desk.misused(&passwd, "PARLOR_PASSWORD needs one line");
    let mut command = desk.command(&passwd);
    let output = command.env("PARLOR_PASSWORD", OsStr::from_bytes(b"\xff"));
    let output = output.output().expect("parlor runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("nothing of the password");
    assert!(said.contains("PARLOR_PASSWORD is not UTF-8"), "{said}");
    desk.refused(&["user", "passwd", "nobody"], "there is no user `nobody`");
}

/// Types lines at a terminal, each when it is asked for. Gives the outcome, and what the terminal
/// showed of it all.
fn typed(desk: &Desk, args: &[&str], lines: &[&str]) -> (Outcome, String) {
    let terminal = openpty(None, None).expect("a terminal");
    let mut child = desk
        .command(args)
        .stdin(terminal.slave)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("parlor starts");
    let mut keyboard = fs::File::from(terminal.master);
    let mut asked = child.stderr.take().expect("a pipe");
    let mut stderr = String::new();
    for line in lines {
        stderr += &prompt(&mut asked);
        writeln!(keyboard, "{line}").expect("typed");
    }
    asked.read_to_string(&mut stderr).expect("text");
    let output = child.wait_with_output().expect("parlor ends");
    let mut shown = Vec::new();
    // Where nobody has the terminal open any more, reading it is an error behind the last byte.
    let _ = keyboard.read_to_end(&mut shown);
    let outcome = Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr,
    };
    (outcome, String::from_utf8_lossy(&shown).into_owned())
}

/// Reads up to the end of a prompt.
fn prompt(stderr: &mut ChildStderr) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b": ") {
        let mut byte = [0];
        stderr.read_exact(&mut byte).expect("a prompt");
        read.push(byte[0]);
    }
    String::from_utf8(read).expect("text")
}

#[test]
fn a_password_is_typed_twice_and_not_shown() {
    let desk = desk_with(&["alice"]);
    let passwd = ["user", "passwd", "alice"];
    let (changed, shown) = typed(&desk, &passwd, &["correct horse", "correct horse"]);
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    assert!(opens(&desk, "correct horse"));
    for seen in [&shown, &changed.stdout, &changed.stderr] {
        assert!(!seen.contains("horse"), "{seen}");
    }
    let (slip, _) = typed(&desk, &passwd, &["battery staple", "staple battery"]);
    assert_eq!(slip.code, 2);
    assert!(
        slip.stderr.contains("the two passwords differ"),
        "{}",
        slip.stderr
    );
    let (empty, _) = typed(&desk, &passwd, &[""]);
    assert_eq!(empty.code, 2, "{}", empty.stderr);
    assert!(opens(&desk, "correct horse"));
}

#[test]
fn a_room_is_shown_with_its_members_and_closed_for_good() {
    let desk = desk_with(&["alice"]);
    desk.json(&["room", "create", "Daily", "--id", "daily", "--private"]);
    desk.json(&["room", "add-member", "Daily", "alice"]);
    let shown = desk.json(&["room", "show", "Daily"]);
    assert_eq!(shown["participants"][0]["display_name"], json!("alice"));
    assert_eq!(
        (&shown["private"], &shown["closed_at"]),
        (&json!(true), &Value::Null)
    );
    assert!(desk.text(&["room", "show", "daily"]).contains("alice"));
    let closed = desk.json(&["room", "close", "Daily"]);
    assert_eq!(
        (&closed["id"], &closed["members"]),
        (&json!("daily"), &json!(1))
    );
    desk.refused(&["room", "close", "daily"], "the room `daily` is closed");
    desk.refused(&["room", "add-member", "daily", "alice"], "is closed");
    let shown = desk.json(&["room", "show", "daily"]);
    assert!(shown["closed_at"].is_string(), "{shown}");
    assert_eq!(shown["participants"], json!([]));
    assert_eq!(desk.json(&["room", "list"]), json!([]));
    desk.json(&["room", "create", "Daily"]);
    desk.refused(&["room", "close", "nowhere"], "there is no room `nowhere`");
}

#[test]
fn a_deleted_room_keeps_nothing_but_its_id() {
    let desk = desk_with(&["alice"]);
    desk.json(&["room", "create", "Daily", "--id", "daily"]);
    desk.json(&["room", "add-member", "daily", "alice"]);
    desk.json(&["invite", "create", "daily"]);
    let database = rusqlite::Connection::open(desk.data_dir().join("parlor.db")).unwrap();
    database
        .execute_batch(
            "INSERT INTO room_messages (room_id, user_id, content, created_at)
             SELECT 'daily', id, 'secret', created_at FROM users",
        )
        .unwrap();
    let deleted = desk.json(&["room", "delete", "Daily"]);
    assert_eq!(
        (&deleted["name"], &deleted["members"]),
        (&json!("Daily"), &json!(1))
    );
    for table in ["room_messages", "room_invites"] {
        let left = stored(
            &desk,
            &format!("SELECT CAST(count(*) AS TEXT) FROM {table}"),
        );
        assert_eq!(left.as_deref(), Some("0"), "{table}");
    }
    assert_eq!(
        desk.json(&["room", "show", "daily"])["name"],
        json!("daily")
    );
    desk.refused(
        &["room", "create", "Daily", "--id", "daily"],
        "the id `daily` is taken",
    );
    desk.json(&["room", "delete", "daily"]);
    desk.refused(&["room", "delete", "Daily"], "there is no room `Daily`");
}

/// What an invite's link answers a guest.
fn enter(daemon: &Daemon, invite: &Value) -> Answer {
    let body = json!({"room": invite["room"]["id"], "invite": invite["invite"], "name": "Gast"});
    Client::new(daemon.http()).post_json("/api/auth/guest", &body)
}

#[test]
fn invites_are_listed_and_a_revoked_one_opens_nothing() {
    let daemon = Daemon::start();
    let kept = daemon.cli_json(&["invite", "create", "lobby", "--uses", "1"]);
    let revoked = daemon.cli_json(&["invite", "create", "lobby"]);
    daemon.cli_json(&["room", "create", "Den"]);
    assert_eq!(daemon.cli_json(&["invite", "list", "Den"]), json!([]));
    let listed = || {
        let listed = daemon.cli_json(&["invite", "list", "lobby"]);
        let listed = listed.as_array().expect("a list").iter();
        listed
            .map(|one| text(&one["id"]).to_owned())
            .collect::<Vec<_>>()
    };
    let all = daemon.cli_json(&["invite", "list"]).to_string();
    for secret in [&kept, &revoked] {
        assert!(!all.contains(text(&secret["invite"])), "{all}");
        assert!(listed().contains(&text(&secret["id"]).to_owned()));
    }
    let id = text(&revoked["id"]);
    assert_eq!(
        daemon.cli_json(&["invite", "revoke", id]),
        json!({ "id": id })
    );
    assert_eq!(
        enter(&daemon, &revoked).refusal(),
        (403, "invite-withdrawn".to_owned())
    );
    enter(&daemon, &kept).ok();
    assert!(
        !listed().contains(&text(&kept["id"]).to_owned()),
        "it is used up"
    );
    let other = Desk::new();
    other.json(&["room", "create", "Daily"]);
    other.refused(&["invite", "revoke", id], "there is no invite");
}

#[test]
fn a_disabled_user_does_not_come_back_by_an_invite_of_their_own() {
    let daemon = Builder::new().start();
    let user = daemon.cli_json(&["user", "add", "alice", "--admin"]);
    let token = daemon.cli_json(&["token", "issue", "alice"]);
    let alice = Client::new(daemon.http()).with_token(text(&token["token"]));
    let mut invite = alice.post_json("/api/rooms/lobby/invites", &json!({})).ok();
    invite["room"] = json!({"id": "lobby"});
    enter(&daemon, &invite).ok();
    let disabled = daemon.cli_json(&["user", "disable", text(&user["id"])]);
    assert_eq!(disabled["revoked_invites"], json!(1));
    assert_eq!(
        enter(&daemon, &invite).refusal(),
        (403, "invite-withdrawn".to_owned())
    );
    assert_eq!(
        alice.get("/api/auth/me").refusal(),
        (403, "user-disabled".to_owned())
    );
}

#[test]
fn bans_are_made_listed_and_ended_on_the_database_alone() {
    let desk = desk_with(&["alice", "root"]);
    desk.json(&["room", "create", "Daily", "--id", "daily"]);
    desk.json(&["room", "add-member", "daily", "alice"]);
    let said = desk.text(&["room", "kick", "daily", "alice"]);
    assert_eq!(said, "Kicked user alice from Daily\n");
    desk.refused(
        &["room", "kick", "daily", "alice"],
        "user alice is not in the room Daily",
    );
    let ban = [
        "room",
        "ban",
        "Daily",
        "alice",
        "--until",
        "2999-12-31",
        "--reason",
        "noise",
    ];
    assert_eq!(
        desk.text(&ban),
        "Banned user alice from Daily until 2999-12-31T00:00:00Z\n"
    );
    let bans = desk.json(&["room", "bans", "daily"]);
    assert_eq!(bans[0]["until"], json!("2999-12-31T00:00:00Z"));
    let shown = desk.text(&["room", "bans", "daily"]);
    assert!(
        shown.contains("alice") && shown.contains("noise"),
        "{shown}"
    );
    desk.refused(
        &["room", "add-member", "daily", "alice"],
        "banned from this room until 2999-12-31T00:00:00Z: `parlor room unban` ends the ban",
    );
    let unbanned = desk.text(&["room", "unban", "daily", "alice"]);
    assert_eq!(unbanned, "alice may join Daily again\n");
    desk.refused(
        &["room", "unban", "daily", "alice"],
        "nobody called `alice` is banned",
    );
    desk.json(&["room", "add-member", "daily", "alice"]);
}

#[test]
fn a_ban_that_could_not_hold_is_refused() {
    let desk = Desk::new();
    let root = desk.json(&["user", "add", "root", "--admin"]);
    desk.json(&["user", "add", "alice"]);
    desk.json(&["room", "create", "Daily", "--id", "daily"]);
    desk.refused(&["room", "ban", "daily", "root"], "admins cannot be banned");
    let database = rusqlite::Connection::open(desk.data_dir().join("parlor.db")).unwrap();
    let own = "UPDATE coworking_rooms SET owner_id = (SELECT id FROM users WHERE name = 'alice')";
    database.execute_batch(own).unwrap();
    desk.refused(&["room", "ban", "daily", "alice"], "the user owns the room");
    let id = text(&root["id"]);
    for (until, told) in [
        ("2020-01-01", "would have ended already"),
        ("soon", "neither a duration such as 2h"),
        ("0", "one second or longer"),
    ] {
        desk.misused(&["room", "ban", "daily", id, "--until", until], told);
    }
    let long = "x".repeat(501);
    for reason in ["", " ", "two\nlines", &long] {
        desk.misused(
            &["room", "ban", "daily", id, "--reason", reason],
            "a reason has 1 to 500",
        );
    }
}
