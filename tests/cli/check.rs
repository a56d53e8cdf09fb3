//! `parlor check` and `parlor config`: every key wrong once, what is unwise, and where values are from.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;

use crate::support::command::Cli;
use parlor::config::{Schema, variable};
use serde_json::Value;

/// At least 32 bytes, and 64 of something that must never be shown.
pub(crate) const SECRET: &str = "never-to-be-shown-0123456789-0123456789-0123456789-0123456789-xx";

pub(crate) fn cli_with_file(text: &str) -> Cli {
    let cli = Cli::new();
    let path = cli.place().join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    cli
}

/// Exit code and answer of `parlor check --json`.
pub(crate) fn checked(cli: &Cli) -> (i32, Value) {
    let outcome = cli.run(&["check", "--json"]);
    let value = serde_json::from_str(&outcome.stdout)
        .unwrap_or_else(|error| panic!("{error} in {}{}", outcome.stdout, outcome.stderr));
    (outcome.code, value)
}

/// A text that can't be this key's value; `None` where any text can.
fn unfit(key: &str, default: &Value) -> Option<&'static str> {
    let free: [&str; 4] = [
        "server.data_dir",
        "turn.secret",
        "turn.previous_secrets",
        "ice.turn_password",
    ];
    match (key, default) {
        (key, _) if free.contains(&key) => None,
        ("turn.realm", _) => Some("say \"parlor\""),
        (_, Value::Null) if key.ends_with("_file") => Some("no/such/file"),
        ("auth.secret", _) => Some("short"),
        (_, Value::Null) => Some(" "),
        _ => Some("no such thing"),
    }
}

#[test]
fn every_wrong_key_in_the_file_is_reported_with_its_line() {
    for (key, _) in Schema::known().iter() {
        let (section, name) = key.split_once('.').expect("a section");
        // No value is a table.
        let cli = cli_with_file(&format!("# one\n[{section}]\n{name} = {{ a = 1 }}\n"));
        let (code, answer) = checked(&cli);
        assert_eq!(code, 2, "{key}: {answer}");
        let problems = answer["problems"].as_array().unwrap();
        assert_eq!(problems.len(), 1, "{key}: {answer}");
        assert_eq!(problems[0]["key"], key);
        assert_eq!(problems[0]["file"], "./config.toml", "{key}");
        assert_eq!(problems[0]["line"], 3, "{key}");
        let text = problems[0]["problem"].as_str().unwrap();
        assert!(text.starts_with("must be "), "{key}: {text}");
    }
}

#[test]
fn every_wrong_key_in_the_environment_is_reported_with_its_variable() {
    for (key, default) in Schema::known().iter() {
        let name = variable(key);
        let value = match unfit(key, default) {
            Some(text) => OsString::from(text),
            None => OsString::from_vec(vec![0xff]),
        };
        let cli = Cli::new();
        let mut command = cli.command(&["check", "--json"]);
        let output = command.env(&name, &value).output().expect("parlor ends");
        assert_eq!(output.status.code(), Some(2), "{name}={value:?}");
        let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let problems = answer["problems"].as_array().unwrap();
        assert!(!problems.is_empty(), "{name}={value:?}: {answer}");
        for problem in problems {
            assert_eq!(problem["key"], key);
            assert_eq!(problem["variable"], name);
            assert!(problem["file"].is_null(), "{answer}");
        }
    }
}

/// The first word of each: the keys.
pub(crate) fn keys(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list").iter();
    list.map(|one| one["key"].as_str().unwrap_or("-").to_owned())
        .collect()
}

#[test]
fn readable_values_are_checked_although_others_are_unreadable() {
    let cli = cli_with_file(
        "[turn]\nrelm = 1\ncredential_ttl = \"0s\"\nsecret = \"short\"\n\
         [signaling]\nrate = \"many\"\nburst = 0\n",
    );
    let (code, answer) = checked(&cli);
    assert_eq!(code, 2);
    assert_eq!(
        keys(&answer["problems"]),
        [
            "turn.relm",
            "signaling.rate",
            "turn.credential_ttl",
            "signaling.burst"
        ]
    );
    assert_eq!(keys(&answer["warnings"]), ["turn.secret"]);
    // `serve` refuses with the same list, and starts nothing.
    let refused = cli.run(&["serve"]);
    assert_eq!(refused.code, 2);
    let report = refused
        .stderr
        .lines()
        .filter(|line| line.starts_with("error: "));
    assert_eq!(report.count(), 4, "{}", refused.stderr);
    assert!(!cli.data_dir().join("parlor.db").exists());
}

#[test]
fn errors_that_follow_from_an_unreadable_value_are_not_reported() {
    for (text, only) in [
        // 10 bytes would be too few for the built-in max_message.
        (
            "signaling.max_message = \"x\"\nsignaling.max_queue = 10",
            "signaling.max_message",
        ),
        (
            "signaling.max_mesage = 5\nsignaling.max_queue = 10",
            "signaling.max_mesage",
        ),
        (
            "[signalling]\nmax_message = 5\n[signaling]\nmax_queue = 10",
            "signalling",
        ),
        // A password that can't be read is none that is missing.
        (
            "[ice]\nturn_urls = \"turn:t.example\"\nturn_username = \"u\"\n\
             turn_password_file = \"absent\"",
            "ice.turn_password_file",
        ),
        (
            "[turn]\nexternal_ip = \"auto\"\n[ice]\nstun_urls = 5",
            "ice.stun_urls",
        ),
        (
            "[auth]\nalgorithm = \"ES257\"\njwks_file = \"absent\"",
            "auth.algorithm",
        ),
        (
            "[auth]\nalgorithm = \"ES256\"\njwks_fil = \"x\"",
            "auth.jwks_fil",
        ),
    ] {
        let (code, answer) = checked(&cli_with_file(text));
        assert_eq!(code, 2, "{text}");
        assert_eq!(keys(&answer["problems"]), [only], "{text}: {answer}");
    }
    // Where the key that looks like it is set, it was not meant.
    let cli = cli_with_file("[signaling]\nrate = 0\nratee = 5\n");
    let (_, answer) = checked(&cli);
    assert_eq!(
        keys(&answer["problems"]),
        ["signaling.ratee", "signaling.rate"],
        "{answer}"
    );
    // All but the syntax of a file that is no TOML; what the environment says is judged.
    let cli = cli_with_file("[turn\nsecret = \"x\"").env("PARLOR_SIGNALING__BURST", "0");
    let (_, answer) = checked(&cli);
    assert!(
        keys(&answer["problems"]).contains(&"signaling.burst".to_owned()),
        "{answer}"
    );
}

#[test]
fn a_valid_configuration_exits_0() {
    let cli = cli_with_file("[signaling]\nburst = 5\n");
    assert_eq!(cli.text(&["check"]), "./config.toml is valid\n");
    let answer = cli.json(&["check"]);
    let segmentation = answer["segmentation"]["reason"].as_str().unwrap();
    assert!(segmentation.starts_with("Linux ") || segmentation == "only Linux has it");
    assert_eq!(answer["problems"], serde_json::json!([]));
    assert_eq!(answer["warnings"], serde_json::json!([]));
    let (code, answer) = checked(&Cli::new());
    assert_eq!((code, answer["file"].is_null()), (0, true), "{answer}");
}

#[test]
fn a_risky_setting_gets_a_warning_with_its_origin_and_is_no_error() {
    let flags = ["check", "--turn-listen", "127.0.0.1:3478", "--json"];
    for (text, key, why) in [
        ("turn.secret = \"short\"", "turn.secret", "has 5 bytes"),
        (
            "turn.secret = \"a secret of 32 bytes and more, or so\"\n\
             auth.secret = \"a secret of 32 bytes and more, or so\"",
            "turn.secret",
            "equals auth.secret",
        ),
        (
            "admin.metrics_listen = \"0.0.0.0:9641\"",
            "admin.metrics_listen",
            "others may reach",
        ),
        (
            "admin.metrics_listen = \"203.0.113.7:9641\"",
            "admin.metrics_listen",
            "others may reach",
        ),
        ("turn.relay_ports = \"3000-4000\"", "turn.listen", "3478"),
        ("http.listen = \"127.0.0.1:50000\"", "http.listen", "50000"),
        (
            "admin.metrics_listen = \"127.0.0.1:50000\"",
            "admin.metrics_listen",
            "50000",
        ),
        (
            "turn.relay_ports = \"50000-50099\"",
            "turn.relay_ports",
            "has 100 ports",
        ),
        (
            "turn.max_allocations = 200",
            "turn.max_allocations",
            "one user may hold 200",
        ),
        (
            "turn.max_allocations = 500\nturn.relay_ports = \"50000-50299\"",
            "turn.max_allocations",
            "has only 300 ports",
        ),
        (
            "turn.allowed_peers = \"0.0.0.0/0\"",
            "turn.allowed_peers",
            "0.0.0.0/0",
        ),
        (
            "turn.allowed_peers = \"::/0\"",
            "turn.allowed_peers",
            "::/0",
        ),
        (
            "turn.allowed_peers = \"127.0.0.1\"",
            "turn.allowed_peers",
            "loopback services",
        ),
        (
            "turn.allowed_peers = \"::1\"",
            "turn.allowed_peers",
            "loopback services",
        ),
        (
            "turn.allowed_peers = \"169.254.0.0/16\"",
            "turn.allowed_peers",
            "metadata service",
        ),
        (
            "turn.allowed_peers = \"2002:808::/32\"",
            "turn.allowed_peers",
            "RFC 8656 section 21.4",
        ),
        (
            "http.trusted_proxies = \"0.0.0.0/0\"",
            "http.trusted_proxies",
            "claim any address",
        ),
        (
            "turn.unauthenticated_rate = 0",
            "turn.unauthenticated_rate",
            "flood another address",
        ),
        (
            "server.public_url = \"http://talk.example.org\"",
            "server.public_url",
            "microphone",
        ),
        (
            "server.public_url = \"https://talk.example.org\"",
            "server.public_url",
            "tls.mode is off",
        ),
        (
            "server.public_url = \"https://talk.example.org\"\ntls.mode = \"acme\"\n\
             http.listen = \"127.0.0.1:8443\"",
            "http.listen",
            "authorities look",
        ),
        (
            "ice.stun_urls = [\"stun:a.example\", \"stun:b.example\"]",
            "ice.stun_urls",
            "makes 5 ICE URLs with the 3 of this server",
        ),
    ] {
        let cli = cli_with_file(text);
        let outcome = cli.run(&flags);
        assert_eq!(
            outcome.code, 0,
            "{text}: {}{}",
            outcome.stdout, outcome.stderr
        );
        let answer: Value = serde_json::from_str(&outcome.stdout).unwrap();
        let warnings = answer["warnings"].as_array().unwrap();
        assert_eq!(warnings.len(), 1, "{text}: {answer}");
        assert_eq!(warnings[0]["key"], key, "{text}");
        assert!(
            warnings[0]["problem"].as_str().unwrap().contains(why),
            "{text}: {answer}"
        );
        if key != "turn.listen" {
            assert_eq!(warnings[0]["file"], "./config.toml", "{text}");
        }
    }
}

#[test]
fn tokens_without_an_audience_get_a_warning() {
    let key = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
    let cli = cli_with_file("[auth]\nalgorithm = \"EdDSA\"\npublic_key_file = \"key.pem\"");
    fs::write(cli.place().join("key.pem"), key).unwrap();
    assert_eq!(keys(&checked(&cli).1["warnings"]), ["auth.audience"]);
    let cli = cli.env("PARLOR_AUTH__AUDIENCE", "parlor");
    assert_eq!(keys(&checked(&cli).1["warnings"]), [""; 0]);
}

#[test]
fn internal_mode_is_recommended_to_separate_the_rooms() {
    for (mode, scope, warned) in [
        ("internal", "any", true),
        ("internal", "room", false),
        ("ports", "any", false),
    ] {
        let text = format!("turn.mode = \"{mode}\"\nturn.scope = \"{scope}\"");
        let (code, answer) = checked(&cli_with_file(&text));
        let expected = warned.then_some("turn.scope");
        assert_eq!(code, 0, "{answer}");
        assert_eq!(keys(&answer["warnings"]), Vec::from_iter(expected));
    }
}

#[test]
fn common_settings_get_no_warning() {
    for text in [
        "turn.allowed_peers = [\"10.1.0.0/16\", \"fd00::/8\"]",
        "turn.allowed_peers = \"0.0.0.0/0\"\nturn.denied_peers = \"0.0.0.0/0\"",
        "server.public_url = \"https://talk.example.org\"\n\
         http.trusted_proxies = \"127.0.0.1\"",
        "ice.stun_urls = \"stun:a.example\"",
        "server.public_url = \"http://localhost:8000\"",
        "admin.metrics_listen = [\"10.0.0.1:9641\", \"[::1]:9641\"]",
        "turn.relay_ports = \"50000-50099\"\nturn.max_allocations_per_user = 20",
        "turn.mode = \"internal\"\nturn.scope = \"room\"\nturn.allowed_peers = \"0.0.0.0/0\"\n\
         turn.relay_ports = \"1024-65535\"",
        include_str!("../../config.toml"),
    ] {
        let (code, answer) = checked(&cli_with_file(text));
        assert_eq!(
            (code, keys(&answer["warnings"])),
            (0, Vec::new()),
            "{text}: {answer}"
        );
    }
}

#[test]
fn the_effective_configuration_is_shown_with_the_origin_of_each_value_and_without_secrets() {
    let cli = cli_with_file(&format!(
        "[auth]\nsecret = \"{SECRET}\"\nprevious_secrets = [\"{SECRET}1\", \"{SECRET}2\"]\n\
         [signaling]\nburst = 5\n[turn]\nprevious_secrets_file = \"old\"\n"
    ));
    fs::write(cli.place().join("old"), format!("{SECRET}3\n{SECRET}4\n")).unwrap();
    fs::write(cli.data_dir().join("turn.secret"), SECRET).unwrap();
    let cli = cli
        .env("PARLOR_SIGNALING__RATE", "7")
        .env("WEBSOCKET_PING_INTERVAL", "25")
        .env("TURN_PASSWORD", SECRET);
    let args = ["config", "--listen", "127.0.0.1:1"];
    let answer = cli.json(&args);
    let of = |key: &str| &answer["settings"][key];
    for (key, _) in Schema::known().iter() {
        assert!(of(key).is_object(), "{key} is shown");
    }
    for (key, value, from) in [
        ("signaling.burst", serde_json::json!(5), "./config.toml:5"),
        (
            "signaling.rate",
            serde_json::json!(7),
            "PARLOR_SIGNALING__RATE",
        ),
        (
            "signaling.ping_interval",
            serde_json::json!("25s"),
            "WEBSOCKET_PING_INTERVAL",
        ),
        (
            "http.listen",
            serde_json::json!(["127.0.0.1:1"]),
            "--listen",
        ),
        ("turn.realm", serde_json::json!("parlor"), "built in"),
        ("turn.public_host", Value::Null, "built in"),
        ("auth.secret", serde_json::json!("***"), "./config.toml:2"),
        (
            "auth.previous_secrets",
            serde_json::json!(["***", "***"]),
            "./config.toml:3",
        ),
        (
            "turn.previous_secrets",
            serde_json::json!(["***", "***"]),
            "old:1",
        ),
        (
            "ice.turn_password",
            serde_json::json!("***"),
            "TURN_PASSWORD",
        ),
    ] {
        assert_eq!(of(key)["value"], value, "{key}");
        assert_eq!(of(key)["from"], from, "{key}");
    }
    assert_eq!(of("turn.secret")["value"], "***");
    let generated = of("turn.secret")["from"].as_str().unwrap();
    assert!(generated.starts_with("generated, "), "{generated}");
    let text = cli.text(&args);
    let row = |key: &str| {
        text.lines()
            .find(|line| line.trim().starts_with(key))
            .unwrap()
    };
    assert!(row("signaling.burst ").contains(" 5 "), "{text}");
    assert!(
        row("signaling.burst ").ends_with("./config.toml:5"),
        "{text}"
    );
    assert!(!text.contains("never-to-be") && !answer.to_string().contains("never-to-be"));
}
