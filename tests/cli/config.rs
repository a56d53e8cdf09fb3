//! The shipped `config.toml` against the type, and the layers through the real binary.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::PathBuf;

use crate::support::certificate::Authority;
use crate::support::command::Cli;
use parlor::config::{self, Config, Schema, Sources};

/// RFC 8410 section 10.1, and the same as a JWKS.
const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
";
const PUBLIC_KEYS: &str = r#"{"keys": [{"kty": "OKP", "crv": "Ed25519",
    "x": "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE"}]}"#;

const SHIPPED: &str = include_str!("../../config.toml");

fn load(file: &str) -> config::Loaded {
    let nowhere = PathBuf::from("/nonexistent/config.toml");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, file).unwrap();
    let sources = Sources {
        file: Some(path),
        local_file: nowhere.clone(),
        system_file: nowhere,
        caller: 0,
        environment: Vec::new(),
        flags: Vec::new(),
    };
    config::load(&sources).unwrap_or_else(|rejected| panic!("{:?}", rejected.errors))
}

#[test]
fn the_shipped_file_equals_the_defaults() {
    let shipped = load(SHIPPED);
    assert_eq!(
        serde_json::to_value(&shipped.config).unwrap(),
        serde_json::to_value(Config::default()).unwrap()
    );
}

#[test]
fn the_shipped_file_sets_every_key_that_has_a_value() {
    let shipped = load(SHIPPED);
    let set: Vec<_> = shipped.value_sources.keys().map(String::as_str).collect();
    let schema = Schema::known();
    let valued: Vec<_> = schema
        .iter()
        .filter(|(_, value)| !value.is_null())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(set, valued);
}

#[test]
fn the_shipped_file_shows_an_example_of_every_unset_key_that_can_be_used() {
    let uncommented: String = SHIPPED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => rest,
            _ => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    // Public keys need an asymmetric algorithm, and their files must exist.
    let dir = tempfile::tempdir().unwrap();
    let (pem, jwks) = (dir.path().join("pem"), dir.path().join("jwks"));
    let (cert, key) = Authority::new().issue(dir.path(), &["talk.example.org"]);
    for name in ["authority.pem", "issuer-ca.pem"] {
        fs::copy(&cert, dir.path().join(name)).unwrap();
    }
    fs::write(&pem, PUBLIC_KEY).unwrap();
    fs::write(&jwks, PUBLIC_KEYS).unwrap();
    let uncommented = uncommented
        .replace("algorithm = \"HS256\"", "algorithm = \"EdDSA\"")
        .replace("mode = \"off\"", "mode = \"files\"")
        .replace(
            "/etc/letsencrypt/live/talk.example.org/fullchain.pem",
            cert.to_str().unwrap(),
        )
        .replace(
            "/etc/letsencrypt/live/talk.example.org/privkey.pem",
            key.to_str().unwrap(),
        )
        .replace("/etc/parlor/issuer.pem", pem.to_str().unwrap())
        .replace("/etc/parlor/jwks.json", jwks.to_str().unwrap());
    // A secret stands in the file or in one of its own.
    let without = |unwanted: fn(&str) -> bool| -> Vec<String> {
        let lines = uncommented.lines().filter(|line| !unwanted(line));
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        let loaded = load(&text.replace("/etc/parlor/", &format!("{}/", dir.path().display())));
        loaded.value_sources.into_keys().collect()
    };
    for name in [
        "auth.secret",
        "auth.previous_secrets",
        "turn.secret",
        "turn.previous_secrets",
        "ice.turn_password",
        "store.password",
        "cluster.redis_password",
    ] {
        fs::write(
            dir.path().join(name),
            "at least 32 bytes of random characters",
        )
        .unwrap();
    }
    let in_it = without(|line| line.contains("secret_file =") || line.contains("password_file ="));
    let beside = without(|line| {
        [
            "secret =",
            "turn_password =",
            "password =",
            "redis_password =",
        ]
        .iter()
        .any(|secret| line.starts_with(secret))
    });
    for (key, _) in Schema::known().iter() {
        assert!(
            in_it.iter().chain(&beside).any(|shown| shown == key),
            "{key} is not in config.toml"
        );
    }
}

/// Whether a token of `parlor token issue` was signed with `secret`.
fn is_signed_by(token: &str, secret: &str) -> bool {
    let tokens = parlor::token::Tokens::new(
        &Config::default().auth,
        &parlor::secret::Secret::new(secret),
    );
    tokens.check(token, parlor::clock::now().unix).is_ok()
}

const FILED: &str = "a secret of 32 bytes and more, in a file";

fn issued(cli: &Cli) -> String {
    cli.json(&["user", "add", "alice"]);
    let issued = cli.json(&["token", "issue", "alice"]);
    issued["token"].as_str().unwrap().to_owned()
}

#[test]
fn a_secret_can_be_read_from_its_own_file() {
    let cli = Cli::new().env("PARLOR_AUTH__SECRET_FILE", "kept");
    fs::write(cli.place().join("kept"), format!("{FILED}\n")).unwrap();
    assert!(is_signed_by(&issued(&cli), FILED));
    assert!(!cli.data_dir().join("auth.secret").exists());
}

#[test]
fn a_systemd_credential_is_found_by_its_name_and_a_set_value_outranks_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let empty = Cli::new().env("CREDENTIALS_DIRECTORY", path);
    assert!(!is_signed_by(&issued(&empty), FILED));
    fs::write(dir.path().join("auth.secret"), FILED).unwrap();
    let cli = Cli::new().env("CREDENTIALS_DIRECTORY", path);
    assert!(is_signed_by(&issued(&cli), FILED));
    let other = "another secret of 32 bytes and more";
    let cli = Cli::new()
        .env("CREDENTIALS_DIRECTORY", path)
        .env("SECRET_KEY", other);
    assert!(is_signed_by(&issued(&cli), other));
}

#[test]
fn an_unusable_secret_file_is_reported_with_key_and_path() {
    for (key, variable) in [
        ("auth.secret", "PARLOR_AUTH__SECRET_FILE"),
        ("turn.secret", "PARLOR_TURN__SECRET_FILE"),
        ("ice.turn_password", "PARLOR_ICE__TURN_PASSWORD_FILE"),
    ] {
        let cli = Cli::new().env(variable, "kept");
        let expected = format!("{variable} names kept, which does not exist");
        cli.misused(&["user", "list"], &expected);
        fs::write(cli.place().join("kept"), "\n").unwrap();
        let expected = format!("{variable} names kept, which is empty");
        cli.misused(&["user", "list"], &expected);
        fs::write(cli.place().join("kept"), FILED).unwrap();
        let set = format!("PARLOR_{}", key.to_uppercase().replace('.', "__"));
        let twice = cli.env(&set, "the same once more, 32 bytes and more");
        let expected = format!("{variable} is set, and so is {key}: keep one of the two");
        twice.misused(&["user", "list"], &expected);
    }
}

#[test]
fn a_secret_file_with_a_short_secret_is_rejected_and_a_world_readable_one_gets_a_warning() {
    let cli = Cli::new().env("PARLOR_AUTH__SECRET_FILE", "kept");
    let kept = cli.place().join("kept");
    fs::write(&kept, "short").unwrap();
    cli.misused(
        &["user", "list"],
        "kept:1: auth.secret must have at least 32 bytes, not 5",
    );
    fs::write(&kept, FILED).unwrap();
    fs::set_permissions(&kept, Permissions::from_mode(0o644)).unwrap();
    let output = cli.text(&["check"]);
    let warning = "warning: kept:1: auth.secret is in a file that every user of this host";
    assert!(output.contains(warning), "{output}");
    fs::set_permissions(&kept, Permissions::from_mode(0o600)).unwrap();
    assert!(!cli.text(&["check"]).contains("kept"));
}

/// The relay's ports: what `parlor ports` shows of the effective configuration.
fn relay_ports(cli: &Cli, flags: &[&str]) -> String {
    let listed = cli.json(&[flags, &["ports"]].concat());
    let listed = listed.as_array().unwrap();
    let row = listed
        .iter()
        .find(|row| row["why"].as_str().unwrap().starts_with("relayed"));
    row.expect("a row for the relay")["ports"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn with_ports(ports: &str) -> String {
    format!("turn.relay_ports = \"{ports}\"\n")
}

/// A cli whose directory holds a `config.toml` that may be trusted.
fn cli_with_file(text: &str) -> Cli {
    let cli = Cli::new();
    let path = cli.place().join("config.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    cli
}

#[test]
fn each_layer_outranks_the_one_below() {
    let cli = Cli::new();
    assert_eq!(relay_ports(&cli, &[]), "49152-65535");
    let cli = cli_with_file(&with_ports("50001-50002"));
    assert_eq!(relay_ports(&cli, &[]), "50001-50002");
    let named = cli.place().join("named.toml");
    fs::write(&named, with_ports("50003-50004")).unwrap();
    let named = ["--config", "named.toml"];
    assert_eq!(relay_ports(&cli, &named), "50003-50004");
    let cli = cli.env("PARLOR_TURN__RELAY_PORTS", "50005-50006");
    assert_eq!(relay_ports(&cli, &named), "50005-50006");
}

#[test]
fn a_flag_outranks_the_environment() {
    let cli = Cli::new();
    let other = tempfile::tempdir().unwrap();
    let flag = ["--data-dir", other.path().to_str().unwrap()];
    cli.json(&[&flag[..], &["user", "add", "alice"]].concat());
    cli.refused(&["user", "list"], "there is no database");
    assert!(other.path().join("parlor.db").exists());
}

#[test]
fn a_local_file_that_others_can_write_is_skipped_with_a_remark() {
    let cli = cli_with_file(&with_ports("50001-50002"));
    let path = cli.place().join("config.toml");
    for mode in [0o664, 0o646, 0o666] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let outcome = cli.run(&["--json", "ports"]);
        assert!(outcome.stdout.contains("49152-65535"), "{}", outcome.stdout);
        assert!(
            outcome.stderr.contains("./config.toml was skipped"),
            "{}",
            outcome.stderr
        );
        assert!(
            outcome.stderr.contains("others may write it"),
            "{}",
            outcome.stderr
        );
        assert_eq!(
            relay_ports(&cli, &["--config", "config.toml"]),
            "50001-50002"
        );
    }
}

/// Only root can give a file away; everybody else can make sure that theirs is read.
#[test]
fn a_local_file_of_another_user_is_skipped_with_a_remark() {
    let cli = cli_with_file(&with_ports("50001-50002"));
    let path = cli.place().join("config.toml");
    let me = fs::metadata(&path).unwrap().uid();
    if me != 0 {
        assert_eq!(relay_ports(&cli, &[]), "50001-50002");
        return;
    }
    chown(&path, Some(65_534), None).unwrap();
    let outcome = cli.run(&["--json", "ports"]);
    assert!(outcome.stdout.contains("49152-65535"), "{}", outcome.stdout);
    assert!(
        outcome.stderr.contains("user 65534 owns it"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_missing_or_invalid_file_exits_2_and_is_named() {
    let cli = Cli::new();
    cli.misused(
        &["--config", "absent.toml", "ports"],
        "absent.toml does not exist",
    );
    cli.misused(
        &["--config", ".", "ports"],
        "configuration file . can't be read",
    );
    let wrong = cli.place().join("wrong.toml");
    fs::write(&wrong, "[turn\n").unwrap();
    cli.misused(&["--config", "wrong.toml", "ports"], "wrong.toml:1: ");
    fs::write(&wrong, b"\xff").unwrap();
    cli.misused(&["--config", "wrong.toml", "ports"], "is not UTF-8");
    fs::write(&wrong, "#".repeat(1024 * 1024 + 1)).unwrap();
    cli.misused(&["--config", "wrong.toml", "ports"], "larger than 1 MiB");
}

#[test]
fn an_unknown_key_is_rejected_with_the_nearest_one_in_the_file_and_in_the_environment() {
    let cli = cli_with_file("[http]\nlissten = []\n");
    let expected = "./config.toml:2: http.lissten is not a known key; did you mean http.listen?";
    cli.misused(&["ports"], expected);
    let cli = Cli::new()
        .env("PARLOR_HTTP__LISSTEN", "x")
        .env("PARLOR_HOME", "x");
    let expected =
        "PARLOR_HTTP__LISSTEN is not a known variable; did you mean PARLOR_HTTP__LISTEN?";
    cli.misused(&["ports"], expected);
}

#[test]
fn all_problems_are_reported_together() {
    let cli = cli_with_file("[turn]\nrelay_ports = \"2-1\"\n[log]\nlevel = \"loud\"\n");
    let cli = cli.env("PARLOR_SIGNALING__RATE", "many");
    let outcome = cli.run(&["ports"]);
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!((outcome.code, lines.len()), (2, 3), "{}", outcome.stderr);
    assert!(
        lines[0].starts_with("error: ./config.toml:2: turn.relay_ports"),
        "{}",
        lines[0]
    );
    assert!(
        lines[1].starts_with("error: ./config.toml:4: log.level"),
        "{}",
        lines[1]
    );
    assert!(
        lines[2].starts_with("error: PARLOR_SIGNALING__RATE must be"),
        "{}",
        lines[2]
    );
}

#[test]
fn a_short_secret_is_rejected_with_its_variable_or_line_and_not_shown() {
    let short = "thirty-one bytes are too few ..";
    assert_eq!(short.len(), 31);
    for name in ["SECRET_KEY", "PARLOR_AUTH__SECRET"] {
        let cli = Cli::new().env(name, short);
        let expected = format!("{name} must have at least 32 bytes");
        cli.misused(&["user", "list"], &expected);
        assert!(!cli.run(&["user", "list"]).stderr.contains("thirty"));
    }
    let cli = cli_with_file(&format!("auth.secret = \"{short}\""));
    cli.misused(
        &["user", "list"],
        "config.toml:1: auth.secret must have at least 32 bytes",
    );
    let long_enough = Cli::new().env("SECRET_KEY", &format!("{short}."));
    long_enough.json(&["user", "add", "alice"]);
}

#[test]
fn an_empty_legacy_variable_is_unset_and_a_parlor_variable_outranks_it() {
    let cli = Cli::new().env("SECRET_KEY", "").env("ALGORITHM", "");
    cli.json(&["user", "add", "alice"]);
    cli.json(&["token", "issue", "alice"]);
    assert!(cli.data_dir().join("auth.secret").exists());
    let cli = Cli::new()
        .env("ALGORITHM", "HS512")
        .env("PARLOR_AUTH__ALGORITHM", "HS384");
    cli.json(&["user", "add", "alice"]);
    let token = cli.json(&["token", "issue", "alice"])["token"].clone();
    let header = token.as_str().unwrap().split('.').next().unwrap();
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let header = base64::Engine::decode(&engine, header).unwrap();
    assert!(String::from_utf8_lossy(&header).contains("HS384"));
}

#[test]
fn an_unusable_value_is_rejected_with_its_variable() {
    let long = "x".repeat(128);
    for (name, value) in [
        ("ALGORITHM", "none"),
        ("WEBSOCKET_PING_INTERVAL", "0"),
        ("WEBSOCKET_PING_TIMEOUT", "soon"),
        ("WEBSOCKET_CLOSE_TIMEOUT", "-1"),
        ("STUN_SERVER_URL", "stun.example.org"),
        ("TURN_SERVER_URL", "turn:turn.example.org"),
        ("PARLOR_HTTP__LISTEN", ""),
        ("PARLOR_HTTP__LISTEN", "8000"),
        ("PARLOR_HTTP__LISTEN", "127.0.0.1:1,127.0.0.1:1"),
        ("PARLOR_HTTP__REQUEST_TIMEOUT", "0s"),
        ("PARLOR_HTTP__ALLOWED_ORIGINS", "example.org"),
        ("PARLOR_TURN__LISTEN", ""),
        ("PARLOR_TURN__RELAY_PORTS", "65535-49152"),
        ("PARLOR_TURN__RELAY_PORTS", "0-10"),
        ("PARLOR_TURN__RELAY_PORTS", "1-70000"),
        ("PARLOR_TURN__CREDENTIAL_TTL", "0"),
        ("PARLOR_TURN__CREDENTIAL_TTL", "100y"),
        ("PARLOR_TURN__EXTERNAL_IP", "example org"),
        ("PARLOR_TURN__EXTERNAL_IP", "auto"),
        ("PARLOR_TURN__PUBLIC_HOST", "turn:example.org"),
        ("PARLOR_TURN__ALLOWED_PEERS", "10.0.0.0/33"),
        ("PARLOR_TURN__REALM", &long),
        ("PARLOR_TURN__UNAUTHENTICATED_RATE", "-1"),
        ("PARLOR_SIGNALING__BURST", "0"),
        ("PARLOR_SIGNALING__RATE", "4294967296"),
        ("PARLOR_AUTH__PROVISION_USERS", "maybe"),
        ("PARLOR_SERVER__PUBLIC_URL", "talk.example.org"),
        ("PARLOR_ADMIN__METRICS_LISTEN", "localhost"),
    ] {
        let cli = Cli::new().env(name, value);
        let outcome = cli.run(&["ports"]);
        assert_eq!(outcome.code, 2, "{name}={value}");
        let begin = format!("error: {name} ");
        assert!(
            outcome.stderr.starts_with(&begin),
            "{name}={value}: {}",
            outcome.stderr
        );
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
    }
}

#[test]
fn zero_means_unlimited_where_documented() {
    for name in [
        "PARLOR_TURN__BANDWIDTH_PER_ALLOCATION",
        "PARLOR_TURN__BANDWIDTH_PER_USER",
        "PARLOR_TURN__UNAUTHENTICATED_RATE",
        "PARLOR_TURN__MAX_ALLOCATIONS",
    ] {
        Cli::new().env(name, "0").json(&["ports"]);
    }
}

#[test]
fn the_reference_has_every_renamed_key_and_every_legacy_variable() {
    let reference = include_str!("../../docs/reference/configuration.md");
    let row = |begin: &str| {
        let mut rows = reference.lines().filter(|line| line.starts_with(begin));
        rows.next_back()
    };
    for (old, new) in config::ALIASES {
        let expected = format!("| `{old}` | `{new}` |");
        assert_eq!(row(&format!("| `{old}` | ")), Some(expected.as_str()));
    }
    for (variable, key) in config::LEGACY_VARIABLES {
        let row = row(&format!("| `{variable}`")).expect(variable);
        assert!(row.ends_with(&format!("| `{key}` |")), "{row}");
    }
}

#[test]
fn an_old_key_works_with_one_warning_that_names_the_new_key() {
    let check = |cli: &Cli| cli.json(&["check"])["warnings"].clone();
    for (old, new) in config::ALIASES {
        let text = match new {
            "turn.allow_anonymous" => "false",
            "turn.coalesce_delay" => "\"0s\"",
            _ => "\"7s\"",
        };
        let value = |cli: &Cli| cli.json(&["config"])["settings"][new]["value"].to_string();
        let in_file = cli_with_file(&format!("{old} = {text}\n"));
        assert_eq!(value(&in_file), text, "{old}");
        let warnings = check(&in_file);
        assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
        let expected = format!("is the old name of {new} and stops working in 0.3.0");
        assert_eq!(warnings[0]["key"], old);
        assert_eq!(warnings[0]["problem"], expected);
        assert_eq!(warnings[0]["line"], 1);

        let variable = config::variable(old);
        let in_environment = Cli::new().env(&variable, text.trim_matches('"'));
        assert_eq!(value(&in_environment), text, "{old}");
        let warnings = check(&in_environment);
        assert_eq!(warnings.as_array().unwrap().len(), 1, "{warnings}");
        assert_eq!(warnings[0]["variable"], variable);
        let problem = warnings[0]["problem"].as_str().unwrap();
        assert!(problem.contains(&config::variable(new)), "{problem}");
    }
}

#[test]
fn an_old_key_beside_its_new_key_is_an_error() {
    for (old, new) in config::ALIASES {
        let text = match new {
            "turn.allow_anonymous" => "true",
            _ => "0",
        };
        let cli = cli_with_file(&format!("{old} = {text}\n{new} = {text}\n"));
        let message = format!("config.toml:1: {old} is the old name of {new}, which is also set");
        cli.misused(&["ports"], &message);
        let cli = cli_with_file(&format!("{old} = {text}\n")).env(&config::variable(new), text);
        cli.misused(&["ports"], &message);
    }
}
