//! Every command with the real binary and an environment of its own: text and JSON output, exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::command::Cli;
use serde_json::{Value, json};

#[test]
fn users_are_added_and_listed() {
    let cli = Cli::new();
    let alice = cli.json(&["user", "add", "alice"]);
    let bob = cli.json(&["user", "add", "bob", "--display-name", "Bob B.", "--admin"]);
    assert_eq!(alice["name"], "alice");
    assert_eq!(alice["display_name"], "alice");
    assert_eq!(alice["admin"], false);
    assert_eq!(
        (&bob["display_name"], &bob["admin"]),
        (&json!("Bob B."), &json!(true))
    );
    assert_eq!(cli.json(&["user", "list"]), json!([alice, bob]));
    let listed = cli.text(&["user", "list"]);
    assert!(
        listed.contains("DISPLAY NAME") && listed.contains("Bob B."),
        "{listed}"
    );
}

#[test]
fn an_empty_list_is_an_empty_array() {
    let cli = Cli::new();
    cli.json(&["room", "create", "Daily"]);
    cli.json(&["room", "close", "Daily"]);
    assert_eq!(cli.json(&["user", "list"]), json!([]));
    assert_eq!(cli.json(&["room", "list"]), json!([]));
    let listed = cli.run(&["user", "list"]);
    assert_eq!((listed.code, listed.stdout.as_str()), (0, ""));
    assert!(
        listed.stderr.contains("parlor user add"),
        "{}",
        listed.stderr
    );
}

#[test]
fn a_name_that_is_taken_is_rejected() {
    let cli = Cli::new();
    cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    cli.refused(&["user", "add", "alice"], "the name `alice` is taken");
    cli.refused(&["room", "create", "Daily"], "the name `Daily` is taken");
    cli.refused(
        &["room", "create", "Other", "--id", "daily"],
        "the id `daily` is taken",
    );
    assert_eq!(cli.json(&["user", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn a_password_from_standard_input_is_never_printed() {
    let cli = Cli::new();
    let add = ["--json", "user", "add", "alice", "--password-stdin"];
    let added = cli.run_with_input(&add, "correct horse\n");
    assert_eq!(added.code, 0, "{}", added.stderr);
    assert!(!added.stdout.contains("correct") && !added.stderr.contains("correct"));
    let kept = fs::read(cli.data_dir().join("parlor.db")).unwrap();
    let wal = fs::read(cli.data_dir().join("parlor.db-wal")).unwrap_or_default();
    let kept = String::from_utf8_lossy(&[kept, wal].concat()).into_owned();
    assert!(kept.contains("$argon2id$") && !kept.contains("correct horse"));
    let empty = cli.run_with_input(&["user", "add", "bob", "--password-stdin"], "\n");
    assert_eq!(empty.code, 2, "{}", empty.stderr);
    assert!(
        empty.stderr.contains("--password-stdin needs one line"),
        "{}",
        empty.stderr
    );
    assert_eq!(cli.json(&["user", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn rooms_are_created_and_listed() {
    let cli = Cli::new();
    let create = [
        "room",
        "create",
        "Daily",
        "--id",
        "daily",
        "--max-participants",
        "5",
        "--private",
    ];
    let daily = cli.json(&create);
    assert_eq!(
        (&daily["id"], &daily["name"]),
        (&json!("daily"), &json!("Daily"))
    );
    assert_eq!(
        (&daily["private"], &daily["max_participants"]),
        (&json!(true), &json!(5))
    );
    let other = cli.json(&["room", "create", "Other"]);
    assert_eq!(other["max_participants"], Value::Null);
    assert_eq!(other["id"].as_str().unwrap().len(), 36, "a UUID: {other}");
    assert_eq!(cli.json(&["room", "list"]), json!([daily, other]));
    assert!(cli.text(&["room", "list"]).contains("Daily"));
}

#[test]
fn a_room_has_a_limited_capacity_and_a_plain_id() {
    let cli = Cli::new();
    for bad in ["0", "1000001", "-1", "many"] {
        let max = format!("--max-participants={bad}");
        cli.misused(&["room", "create", "X", &max], "--max-participants");
    }
    for bad in ["", "a b", "a/b", "ä", &"x".repeat(129)] {
        cli.misused(&["room", "create", "X", "--id", bad], "--id");
    }
    cli.misused(&["room", "create", ""], "name");
    cli.misused(&["user", "add", "a\u{7}b"], "name");
    assert_eq!(cli.json(&["room", "list"]), json!([]));
    for good in ["1", "1000000"] {
        cli.json(&["room", "create", good, "--max-participants", good]);
    }
}

#[test]
fn adding_a_member_twice_succeeds() {
    let cli = Cli::new();
    let alice = cli.json(&["user", "add", "alice"]);
    let room = cli.json(&[
        "room",
        "create",
        "Daily",
        "--private",
        "--max-participants",
        "1",
    ]);
    let by_name = cli.json(&["room", "add-member", "Daily", "alice"]);
    assert_eq!(by_name["room"]["id"], room["id"]);
    assert_eq!(by_name["user"]["id"], alice["id"]);
    let (room_id, alice_id) = (room["id"].as_str().unwrap(), alice["id"].as_str().unwrap());
    assert_eq!(
        cli.json(&["room", "add-member", room_id, alice_id]),
        by_name
    );
    cli.json(&["user", "add", "bob"]);
    cli.refused(&["room", "add-member", "Daily", "bob"], "the room is full");
}

#[test]
fn an_ambiguous_argument_is_rejected_with_both_ids() {
    let cli = Cli::new().env("PARLOR_AUTH__PROVISION_USERS", "true");
    let named = cli.json(&["user", "add", "alice"])["id"].clone();
    let named = named.as_str().unwrap();
    assert_eq!(cli.json(&["token", "issue", "alice"])["id"], named);
    assert_eq!(cli.json(&["token", "issue", "id:alice"])["id"], "alice");
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    let room = cli.json(&["room", "create", "daily"])["id"].clone();
    let room = room.as_str().unwrap();
    let user_told = format!(
        "`alice` is the id of one user and the name of another: \
         use the id of the one you mean, `id:alice` or `id:{named}`"
    );
    let room_told = format!("use the id of the one you mean, `id:daily` or `id:{room}`");
    cli.refused(&["token", "issue", "alice"], &user_told);
    cli.refused(&["turn", "credential", "alice"], &user_told);
    cli.refused(&["room", "add-member", room, "alice"], &user_told);
    cli.refused(&["room", "add-member", "daily", named], &room_told);
    cli.refused(&["invite", "create", "daily"], &room_told);
    for (room, user) in [("id:daily", "id:alice"), (room, named)] {
        let added = cli.json(&["room", "add-member", room, user]);
        assert_eq!(added["room"]["id"], room.trim_start_matches("id:"));
        assert_eq!(added["user"]["id"], user.trim_start_matches("id:"));
    }
    cli.refused(
        &["room", "add-member", "id:Daily", named],
        "there is no room",
    );
}

#[test]
fn an_unknown_name_is_reported_with_the_command_that_creates_it() {
    let cli = Cli::new();
    cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "Daily"]);
    let user = "there is no user `nobody`";
    let room = "there is no room `nowhere`";
    cli.refused(&["room", "add-member", "Daily", "nobody"], user);
    cli.refused(
        &["token", "issue", "nobody"],
        "`parlor user add nobody` adds one",
    );
    cli.refused(&["turn", "credential", "nobody"], user);
    cli.refused(&["room", "add-member", "nowhere", "alice"], room);
    cli.refused(&["token", "issue", "alice", "--room", "nowhere"], room);
    cli.refused(&["turn", "credential", "alice", "--room", "nowhere"], room);
    cli.refused(
        &["invite", "create", "nowhere"],
        "`parlor room create` creates one",
    );
}

#[test]
fn ports_follow_the_configuration_and_need_no_database() {
    let cli = Cli::new()
        .env("PARLOR_HTTP__LISTEN", "127.0.0.1:8001")
        .env("PARLOR_TURN__RELAY_PORTS", "50000-50100")
        .env("PARLOR_SERVER__DATA_DIR", "/nonexistent");
    let ports = cli.json(&["ports"]);
    let find = |protocol: &str, ports_text: &str| {
        let mut rows = ports.as_array().unwrap().iter();
        rows.find(|row| row["protocol"] == protocol && row["ports"] == ports_text)
            .unwrap_or_else(|| panic!("{protocol} {ports_text} in {ports}"))
    };
    assert_eq!(find("tcp", "8001")["open"], false);
    for (protocol, range) in [("udp", "3478"), ("tcp", "3478"), ("udp", "50000-50100")] {
        let row = find(protocol, range);
        assert_eq!(row["open"], true);
        assert!(!row["why"].as_str().unwrap().is_empty());
    }
    assert!(cli.text(&["ports"]).contains("50000-50100"));
}

#[test]
fn the_version_needs_no_configuration() {
    let cli = Cli::new().env("SECRET_KEY", "short");
    assert_eq!(cli.json(&["version"])["version"], env!("CARGO_PKG_VERSION"));
    let text = format!("parlor {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(cli.text(&["version"]), text);
    assert_eq!(cli.text(&["--version"]), text);
}

#[test]
fn a_usage_error_exits_2_and_is_json_with_the_flag() {
    let cli = Cli::new();
    cli.misused(&["dance"], "dance");
    let missing = cli.run(&["--json", "user"]);
    assert_eq!((missing.code, missing.stdout.as_str()), (2, ""));
    assert!(
        missing
            .stderr
            .starts_with("{\"error\":\"a subcommand is missing")
    );
    cli.misused(&["user", "add"], "<NAME>");
    cli.misused(&["user", "list", "--all"], "--all");
    assert_eq!(cli.run(&[]).code, 2);
    let help = cli.run(&["--json", "--help"]);
    assert_eq!(help.code, 0);
    assert!(help.stdout.contains("Usage: parlor"), "{}", help.stdout);
}

#[test]
fn commands_create_no_directory_and_only_some_create_a_database() {
    let cli = Cli::new();
    let missing = cli.data_dir().join("missing");
    let text = missing.to_str().unwrap();
    cli.refused(&["--data-dir", text, "user", "list"], text);
    assert!(!missing.exists());
    fs::create_dir(&missing).unwrap();
    for command in [
        &["user", "list"][..],
        &["user", "disable", "alice"],
        &["invite", "create", "lobby"],
        &["token", "issue", "alice"],
        &["status"],
    ] {
        let command = [&["--data-dir", text], command].concat();
        cli.refused(&command, &format!("there is no database in {text}"));
        assert_eq!(fs::read_dir(&missing).unwrap().count(), 0, "{command:?}");
    }
    cli.json(&["--data-dir", text, "user", "add", "alice"]);
    let mode = |name: &str| {
        fs::metadata(missing.join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("parlor.db") & 0o777, 0o600);
}

#[test]
fn a_file_instead_of_the_directory_is_reported() {
    let cli = Cli::new();
    let file = cli.data_dir().join("file");
    fs::write(&file, "").unwrap();
    let text = file.to_str().unwrap();
    cli.refused(&["--data-dir", text, "user", "list"], "is not a directory");
}

#[test]
fn a_file_that_is_not_a_database_is_rejected_by_its_path() {
    let cli = Cli::new();
    fs::write(
        cli.data_dir().join("parlor.db"),
        "no database at all".repeat(100),
    )
    .unwrap();
    cli.refused(&["user", "list"], "parlor.db is not a database of parlor");
}

#[test]
fn a_closed_standard_output_is_not_an_error() {
    let cli = Cli::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = cli
        .command(&["ports"])
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && stderr.is_empty(),
        "{} {stderr}",
        output.status
    );
}

#[test]
fn a_response_that_cannot_be_written_is_an_error() {
    let cli = Cli::new();
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = cli
        .command(&["ports"])
        .stdout(full)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("standard output can't be written"),
        "{stderr}"
    );
}

#[test]
fn commands_at_the_same_time_all_succeed() {
    let cli = Cli::new();
    let names: Vec<String> = (0..8).map(|number| format!("user{number}")).collect();
    std::thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| cli.json(&["user", "add", name]));
        }
    });
    let listed = cli.json(&["user", "list"]);
    let listed = listed.as_array().unwrap().iter();
    let listed: BTreeSet<_> = listed.map(|user| user["name"].as_str().unwrap()).collect();
    assert_eq!(listed, names.iter().map(String::as_str).collect());
}
