//! Commands that show, change and delete users, rooms and invites: on the database, and beside a server.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{ChildStderr, Stdio};

use crate::support::command::{Cli, Outcome};
use crate::support::http::{Answer, Client};
use crate::support::{Builder, DEADLINE, Daemon};
use nix::pty::openpty;
use parlor::password::verify;
use serde_json::{Value, json};

fn text(value: &Value) -> &str {
    value.as_str().expect("text")
}

fn cli_with_users(users: &[&str]) -> Cli {
    let cli = Cli::new();
    for user in users {
        cli.json(&["user", "add", user]);
    }
    cli
}

/// Reads one value from the database.
fn stored(cli: &Cli, sql: &str) -> Option<String> {
    let database = rusqlite::Connection::open(cli.data_dir().join("parlor.db")).unwrap();
    database.busy_timeout(DEADLINE).unwrap();
    database.query_row(sql, (), |row| row.get(0)).expect(sql)
}

/// Returns whether this is alice's password now.
fn opens(cli: &Cli, password: &str) -> bool {
    let kept = stored(cli, "SELECT password_hash FROM users WHERE name = 'alice'");
    verify(&parlor::secret::Secret::new(password), kept.as_deref())
}

#[test]
fn a_user_is_shown_with_their_rooms() {
    let cli = cli_with_users(&["alice"]);
    let shown = cli.json(&["user", "show", "alice"]);
    assert_eq!(
        (&shown["role"], &shown["password"], &shown["rooms"]),
        (&json!("user"), &json!(false), &json!([]))
    );
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    cli.json(&["room", "add-member", "daily", "alice"]);
    let shown = cli.json(&["user", "show", text(&shown["id"])]);
    assert_eq!(shown["rooms"][0]["id"], json!("daily"));
    assert_eq!(
        (&shown["disabled"], &shown["deleted"]),
        (&json!(false), &json!(false))
    );
    let for_people = cli.text(&["user", "show", "alice"]);
    assert!(
        for_people.contains("alice") && for_people.contains("Daily"),
        "{for_people}"
    );
    cli.refused(&["user", "show", "nobody"], "there is no user `nobody`");
}

#[test]
fn a_disabled_user_gets_nothing_until_they_are_enabled() {
    let cli = cli_with_users(&["alice"]);
    let disabled = cli.json(&["user", "disable", "alice"]);
    assert_eq!(
        (&disabled["disabled"], &disabled["revoked_invites"]),
        (&json!(true), &json!(0))
    );
    assert_eq!(cli.json(&["user", "disable", "alice"]), disabled);
    assert_eq!(cli.json(&["user", "list"])[0]["disabled"], json!(true));
    assert!(cli.text(&["user", "show", "alice"]).contains("disabled"));
    cli.refused(&["token", "issue", "alice"], "the user `alice` is disabled");
    assert_eq!(
        cli.json(&["user", "enable", "alice"])["disabled"],
        json!(false)
    );
    cli.json(&["user", "enable", "alice"]);
    cli.json(&["token", "issue", "alice"]);
    cli.refused(&["user", "disable", "nobody"], "there is no user `nobody`");
}

#[test]
fn a_deleted_user_leaves_only_an_id_that_stays_blocked() {
    let cli = Cli::new().env("PARLOR_AUTH__PROVISION_USERS", "true");
    let add = [
        "--json",
        "user",
        "add",
        "alice",
        "--admin",
        "--password-stdin",
    ];
    let added = cli.run_with_input(&add, "correct horse");
    let added: Value = serde_json::from_str(&added.stdout).unwrap();
    let id = text(&added["id"]);
    cli.json(&["room", "create", "Daily"]);
    cli.json(&["room", "add-member", "Daily", "alice"]);
    assert_eq!(
        cli.json(&["user", "delete", "alice"])["name"],
        json!("alice")
    );
    assert_eq!(cli.json(&["user", "list"]), json!([]));
    let shown = cli.json(&["user", "show", id]);
    assert_eq!(
        (&shown["deleted"], &shown["name"]),
        (&json!(true), &json!(id))
    );
    assert_eq!(
        (&shown["admin"], &shown["password"], &shown["rooms"]),
        (&json!(false), &json!(false), &json!([]))
    );
    for command in ["disable", "enable", "passwd", "delete"] {
        cli.refused(&["user", command, id], "was deleted");
    }
    cli.refused(&["token", "issue", id], "was deleted");
    assert_eq!(
        cli.json(&["room", "show", "Daily"])["participants"],
        json!([])
    );
    assert_ne!(cli.json(&["user", "add", "alice"])["id"], json!(id));
}

#[test]
fn a_password_is_changed_by_standard_input_or_the_environment() {
    let cli = cli_with_users(&["alice"]);
    let passwd = ["user", "passwd", "alice"];
    cli.misused(&passwd, "use --password-stdin or PARLOR_PASSWORD");
    let by_stdin = [&passwd[..], &["--password-stdin"]].concat();
    let changed = cli.run_with_input(&by_stdin, "the first\n");
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    assert!(opens(&cli, "the first"));
    let cli = cli.env("PARLOR_PASSWORD", "the second");
    cli.json(&passwd);
    assert!(opens(&cli, "the second") && !opens(&cli, "the first"));
    assert_eq!(cli.run_with_input(&by_stdin, "the third").code, 0);
    assert!(
        opens(&cli, "the third"),
        "what is asked for outranks the environment"
    );
    cli.json(&["user", "add", "bob"]);
    assert_eq!(cli.json(&["user", "show", "bob"])["password"], json!(false));
    cli.json(&["user", "add", "carol", "--password"]);
    assert_eq!(
        cli.json(&["user", "show", "carol"])["password"],
        json!(true)
    );
    let cli = cli.env("PARLOR_PASSWORD", "");
    cli.misused(&passwd, "PARLOR_PASSWORD needs one line");
    let mut command = cli.command(&passwd);
    let output = command.env("PARLOR_PASSWORD", OsStr::from_bytes(b"\xff"));
    let output = output.output().expect("parlor runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).expect("nothing of the password");
    assert!(said.contains("PARLOR_PASSWORD is not UTF-8"), "{said}");
    cli.refused(&["user", "passwd", "nobody"], "there is no user `nobody`");
}

/// Types a line at each prompt of a terminal. Returns the outcome and everything that the terminal showed.
fn typed(cli: &Cli, args: &[&str], lines: &[&str]) -> (Outcome, String) {
    let terminal = openpty(None, None).expect("a terminal");
    let mut child = cli
        .command(args)
        .stdin(terminal.slave)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("parlor starts");
    let mut keyboard = fs::File::from(terminal.master);
    let mut prompted = child.stderr.take().expect("a pipe");
    let mut stderr = String::new();
    for line in lines {
        stderr += &prompt(&mut prompted);
        writeln!(keyboard, "{line}").expect("typed");
    }
    prompted.read_to_string(&mut stderr).expect("text");
    let output = child.wait_with_output().expect("parlor ends");
    let mut shown = Vec::new();
    // After the last byte, reading a terminal that no process has open is an error.
    let _ = keyboard.read_to_end(&mut shown);
    let outcome = Outcome {
        code: output.status.code().expect("an exit code"),
        stdout: String::from_utf8(output.stdout).expect("text"),
        stderr,
    };
    (outcome, String::from_utf8_lossy(&shown).into_owned())
}

/// Reads to the end of a prompt.
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
fn a_password_is_prompted_for_twice_without_echo() {
    let cli = cli_with_users(&["alice"]);
    let passwd = ["user", "passwd", "alice"];
    let (changed, shown) = typed(&cli, &passwd, &["correct horse", "correct horse"]);
    assert_eq!(changed.code, 0, "{}", changed.stderr);
    assert!(opens(&cli, "correct horse"));
    for seen in [&shown, &changed.stdout, &changed.stderr] {
        assert!(!seen.contains("horse"), "{seen}");
    }
    let (slip, _) = typed(&cli, &passwd, &["battery staple", "staple battery"]);
    assert_eq!(slip.code, 2);
    assert!(
        slip.stderr.contains("the two passwords differ"),
        "{}",
        slip.stderr
    );
    let (empty, _) = typed(&cli, &passwd, &[""]);
    assert_eq!(empty.code, 2, "{}", empty.stderr);
    assert!(opens(&cli, "correct horse"));
}

#[test]
fn a_room_is_shown_with_its_members_and_closed_permanently() {
    let cli = cli_with_users(&["alice"]);
    cli.json(&["room", "create", "Daily", "--id", "daily", "--private"]);
    cli.json(&["room", "add-member", "Daily", "alice"]);
    let shown = cli.json(&["room", "show", "Daily"]);
    assert_eq!(shown["participants"][0]["display_name"], json!("alice"));
    assert_eq!(
        (&shown["private"], &shown["closed_at"]),
        (&json!(true), &Value::Null)
    );
    assert!(cli.text(&["room", "show", "daily"]).contains("alice"));
    let closed = cli.json(&["room", "close", "Daily"]);
    assert_eq!(
        (&closed["id"], &closed["members"]),
        (&json!("daily"), &json!(1))
    );
    cli.refused(&["room", "close", "daily"], "the room `daily` is closed");
    cli.refused(&["room", "add-member", "daily", "alice"], "is closed");
    let shown = cli.json(&["room", "show", "daily"]);
    assert!(shown["closed_at"].is_string(), "{shown}");
    assert_eq!(shown["participants"], json!([]));
    assert_eq!(cli.json(&["room", "list"]), json!([]));
    cli.json(&["room", "create", "Daily"]);
    cli.refused(&["room", "close", "nowhere"], "there is no room `nowhere`");
}

#[test]
fn a_deleted_room_keeps_nothing_but_its_id() {
    let cli = cli_with_users(&["alice"]);
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    cli.json(&["room", "add-member", "daily", "alice"]);
    cli.json(&["invite", "create", "daily"]);
    let database = rusqlite::Connection::open(cli.data_dir().join("parlor.db")).unwrap();
    database
        .execute_batch(
            "INSERT INTO room_messages (room_id, user_id, content, created_at)
             SELECT 'daily', id, 'secret', created_at FROM users",
        )
        .unwrap();
    let deleted = cli.json(&["room", "delete", "Daily"]);
    assert_eq!(
        (&deleted["name"], &deleted["members"]),
        (&json!("Daily"), &json!(1))
    );
    for table in ["room_messages", "room_invites"] {
        let left = stored(&cli, &format!("SELECT CAST(count(*) AS TEXT) FROM {table}"));
        assert_eq!(left.as_deref(), Some("0"), "{table}");
    }
    assert_eq!(cli.json(&["room", "show", "daily"])["name"], json!("daily"));
    cli.refused(
        &["room", "create", "Daily", "--id", "daily"],
        "the id `daily` is taken",
    );
    cli.json(&["room", "delete", "daily"]);
    cli.refused(&["room", "delete", "Daily"], "there is no room `Daily`");
}

/// Signs a guest in with an invite; returns the response.
fn enter(daemon: &Daemon, invite: &Value) -> Answer {
    let body = json!({"room": invite["room"]["id"], "invite": invite["invite"], "name": "Gast"});
    Client::new(daemon.http()).post_json("/api/auth/guest", &body)
}

#[test]
fn invites_are_listed_and_a_revoked_one_admits_no_guest() {
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
    let other = Cli::new();
    other.json(&["room", "create", "Daily"]);
    other.refused(&["invite", "revoke", id], "there is no invite");
}

#[test]
fn a_disabled_user_cannot_return_by_their_own_invite() {
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
fn bans_are_created_listed_and_ended_without_a_server() {
    let cli = cli_with_users(&["alice", "root"]);
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    cli.json(&["room", "add-member", "daily", "alice"]);
    let said = cli.text(&["room", "kick", "daily", "alice"]);
    assert_eq!(said, "Kicked user alice from Daily\n");
    cli.refused(
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
        cli.text(&ban),
        "Banned user alice from Daily until 2999-12-31T00:00:00Z\n"
    );
    let bans = cli.json(&["room", "bans", "daily"]);
    assert_eq!(bans[0]["until"], json!("2999-12-31T00:00:00Z"));
    let shown = cli.text(&["room", "bans", "daily"]);
    assert!(
        shown.contains("alice") && shown.contains("noise"),
        "{shown}"
    );
    cli.refused(
        &["room", "add-member", "daily", "alice"],
        "banned from this room until 2999-12-31T00:00:00Z: `parlor room unban` ends the ban",
    );
    let unbanned = cli.text(&["room", "unban", "daily", "alice"]);
    assert_eq!(unbanned, "alice may rejoin Daily\n");
    cli.refused(
        &["room", "unban", "daily", "alice"],
        "no ban of Daily matches `alice`",
    );
    cli.json(&["room", "add-member", "daily", "alice"]);
}

#[test]
fn a_ban_without_effect_is_rejected() {
    let cli = Cli::new();
    let root = cli.json(&["user", "add", "root", "--admin"]);
    cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    cli.refused(&["room", "ban", "daily", "root"], "admins cannot be banned");
    let database = rusqlite::Connection::open(cli.data_dir().join("parlor.db")).unwrap();
    let own = "UPDATE coworking_rooms SET owner_id = (SELECT id FROM users WHERE name = 'alice')";
    database.execute_batch(own).unwrap();
    cli.refused(&["room", "ban", "daily", "alice"], "the user owns the room");
    let id = text(&root["id"]);
    for (until, reason) in [
        ("2020-01-01", "would have ended already"),
        ("soon", "neither a duration such as 2h"),
        ("0", "one second or longer"),
    ] {
        cli.misused(&["room", "ban", "daily", id, "--until", until], reason);
    }
    let long = "x".repeat(501);
    for reason in ["", " ", "two\nlines", &long] {
        cli.misused(
            &["room", "ban", "daily", id, "--reason", reason],
            "a reason has 1 to 500",
        );
    }
}
