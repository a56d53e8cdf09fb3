//! Every command with the real binary and an environment of its own: text and JSON output, exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::command::Cli;
use parlor::config::Config;
use parlor::secret::Secret;
use parlor::token::Tokens;
use serde_json::{Value, json};

/// Parses a timestamp in the output into Unix seconds.
fn unix(text: &Value) -> i64 {
    let text = text.as_str().expect("a time as text");
    let format = &time::format_description::well_known::Rfc3339;
    assert!(text.ends_with('Z'), "{text} is UTC");
    time::OffsetDateTime::parse(text, format)
        .expect(text)
        .unix_timestamp()
}

fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

fn assert_expires_in(answer: &Value, seconds: i64) {
    let left = unix(&answer["expires_at"]) - now();
    assert!((seconds - 60..=seconds).contains(&left), "{left} s left");
}

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
fn an_invite_is_a_link_with_its_secret_in_the_fragment() {
    let cli = Cli::new().env("PARLOR_SERVER__PUBLIC_URL", "https://talk.example.org/");
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    let invite = cli.json(&["invite", "create", "Daily", "--uses", "3"]);
    let secret = invite["invite"].as_str().unwrap();
    assert!(secret.len() >= 22, "128 random bits at least: {secret}");
    let link = format!("https://talk.example.org/r/daily#{secret}");
    assert_eq!(invite["link"], json!(link));
    assert_eq!(invite["uses"], json!(3));
    assert_expires_in(&invite, 7 * 24 * 3600);
    let short = cli.json(&["invite", "create", "daily", "--ttl", "90m"]);
    assert_expires_in(&short, 90 * 60);
    let printed = cli.run(&["invite", "create", "daily"]);
    assert!(
        printed
            .stdout
            .starts_with("https://talk.example.org/r/daily#")
    );
    assert_eq!(
        printed.stdout.lines().count(),
        1,
        "the link alone: {}",
        printed.stdout
    );
    cli.misused(
        &["invite", "create", "daily", "--uses", "0"],
        "it must be a whole number, 1 or more",
    );
}

#[test]
fn a_link_without_a_public_url_has_this_host_and_a_remark() {
    let cli = Cli::new().env("PARLOR_HTTP__LISTEN", "0.0.0.0:8123");
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    let printed = cli.run(&["invite", "create", "daily"]);
    assert!(
        printed.stdout.starts_with("http://127.0.0.1:8123/r/daily#"),
        "{}",
        printed.stdout
    );
    assert!(
        printed.stderr.contains("server.public_url"),
        "{}",
        printed.stderr
    );
}

#[test]
fn a_token_has_user_expiry_and_room() {
    let secret = "0123456789abcdef0123456789abcdef";
    let cli = Cli::new().env("SECRET_KEY", secret);
    let alice = cli.json(&["user", "add", "alice", "--display-name", "Alice A."]);
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    let answer = cli.json(&["token", "issue", "alice"]);
    assert_eq!(
        (&answer["id"], &answer["name"]),
        (&alice["id"], &json!("alice"))
    );
    assert_expires_in(&answer, 3600);
    let tokens = Tokens::new(&Config::default().auth, &Secret::new(secret));
    let read = |answer: &Value| {
        let token = answer["token"].as_str().unwrap();
        tokens
            .check(token, now() as u64)
            .expect("a token that its secret checks")
    };
    let claims = read(&answer);
    assert_eq!(json!(claims.sub), alice["id"]);
    assert_eq!(claims.name.as_deref(), Some("Alice A."));
    assert_eq!(
        (claims.exp as i64, claims.rooms.clone()),
        (unix(&answer["expires_at"]), None)
    );
    let bound = cli.json(&["token", "issue", "alice", "--ttl", "7d", "--room", "Daily"]);
    assert_expires_in(&bound, 7 * 24 * 3600);
    assert_eq!(read(&bound).rooms, Some(vec!["daily".to_owned()]));
    assert_eq!(
        cli.text(&["token", "issue", "alice"])
            .trim()
            .split('.')
            .count(),
        3
    );
}

#[test]
fn a_token_creates_a_user_only_with_provision_users() {
    let cli = Cli::new();
    cli.refused(&["token", "issue", "u-17"], "there is no database");
    cli.json(&["room", "create", "Daily"]);
    cli.refused(&["token", "issue", "u-17"], "there is no user `u-17`");
    let cli = cli.env("PARLOR_AUTH__PROVISION_USERS", "true");
    assert_eq!(cli.json(&["token", "issue", "u-17"])["id"], "u-17");
    assert_eq!(cli.json(&["user", "list"])[0]["id"], "u-17");
    cli.misused(
        &["token", "issue", "not an id"],
        "`not an id` cannot be an id",
    );
}

#[test]
fn a_credential_has_the_format_of_coturn() {
    let cli = Cli::new()
        .env("PARLOR_TURN__SECRET", "north")
        .env("PARLOR_TURN__PUBLIC_HOST", "turn.example.org");
    let alice = cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "Daily", "--id", "daily"]);
    let answer = cli.json(&[
        "turn",
        "credential",
        "alice",
        "--ttl",
        "30m",
        "--room",
        "Daily",
    ]);
    assert_expires_in(&answer, 1800);
    let id = alice["id"].as_str().unwrap();
    let username = format!("{}:{id}/daily", unix(&answer["expires_at"]));
    assert_eq!(answer["username"], json!(username));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"north");
    let digest = ring::hmac::sign(&key, username.as_bytes());
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, digest);
    assert_eq!(answer["credential"], json!(encoded));
    assert_eq!(
        answer["urls"],
        json!([
            "turn:turn.example.org:3478?transport=udp",
            "turn:turn.example.org:3478?transport=tcp"
        ])
    );
    let unbound = cli.json(&["turn", "credential", "alice"]);
    assert_expires_in(&unbound, 3600);
    assert!(
        unbound["username"].as_str().unwrap().ends_with(id),
        "{unbound}"
    );
    let text = cli.text(&["turn", "credential", "alice"]);
    assert!(
        text.contains("credential") && text.contains("turn:turn.example.org"),
        "{text}"
    );
}

#[test]
fn an_invalid_lifetime_is_rejected() {
    let cli = Cli::new();
    cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "Daily"]);
    for bad in [
        "0",
        "0s",
        "999ms",
        "11y",
        "soon",
        "-1h",
        "",
        "99999999999999999999",
    ] {
        let ttl = format!("--ttl={bad}");
        cli.misused(&["token", "issue", "alice", &ttl], "--ttl");
        cli.misused(&["turn", "credential", "alice", &ttl], "--ttl");
        cli.misused(&["invite", "create", "Daily", &ttl], "--ttl");
    }
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
fn generated_secrets_are_private_and_stay() {
    let cli = Cli::new();
    cli.json(&["user", "add", "alice"]);
    for _ in 0..2 {
        cli.json(&["token", "issue", "alice"]);
        cli.json(&["turn", "credential", "alice"]);
    }
    let secret = fs::read_to_string(cli.data_dir().join("auth.secret")).unwrap();
    let token = cli.json(&["token", "issue", "alice"])["token"].clone();
    let tokens = Tokens::new(&Config::default().auth, &Secret::new(secret.trim()));
    tokens.check(token.as_str().unwrap(), now() as u64).unwrap();
    for name in ["auth.secret", "turn.secret", "parlor.db"] {
        let mode = fs::metadata(cli.data_dir().join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
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
