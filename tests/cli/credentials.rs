//! Invites, tokens and credentials from the command line: contents, lifetimes, secrets.

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
