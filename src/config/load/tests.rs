use std::fs;
use std::path::Path;

use super::{ConfigErrors, load};
use crate::config::value_source::variable;
use crate::config::{Diagnostic, Flag, Schema, Sources, ValueSource};
use crate::secret::Secret;
use proptest::prelude::*;

fn sources(dir: &Path, file: &str, variables: &[(&str, &str)]) -> Sources {
    let path = dir.join("given.toml");
    fs::write(&path, file).unwrap();
    Sources {
        file: Some(path),
        local_file: dir.join("absent.toml"),
        system_file: dir.join("absent.toml"),
        caller: 0,
        environment: variables
            .iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect(),
        flags: Vec::new(),
    }
}

fn report(refused: ConfigErrors) -> Vec<String> {
    refused.errors.iter().map(Diagnostic::to_string).collect()
}

#[test]
fn a_later_layer_outranks_an_earlier_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = "[turn]\nrealm = \"file\"\n[signaling]\nrate = 1\nburst = 2\n";
    let variables = [
        ("PARLOR_SIGNALING__RATE", "3"),
        ("PARLOR_HTTP__LISTEN", "[::1]:1"),
    ];
    let mut sources = sources(dir.path(), file, &variables);
    sources.flags.push(Flag {
        name: "--listen",
        key: "http.listen",
        text: "[::1]:2".to_owned(),
    });
    let loaded = load(&sources).unwrap();
    let config = loaded.config;
    assert_eq!(config.turn.realm, "file");
    assert_eq!((config.signaling.rate, config.signaling.burst), (3, 2));
    assert_eq!(config.http.listen, ["[::1]:2".parse().unwrap()]);
    assert_eq!(
        loaded.value_sources["http.listen"],
        ValueSource::Flag("--listen".to_owned())
    );
}

#[test]
fn the_problems_of_all_layers_are_reported_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path(), "\n[turn]\nrelm = 1\n", &[("PARLOR_X__Y", "1")]);
    sources.flags.push(Flag {
        name: "--listen",
        key: "http.listen",
        text: "here".to_owned(),
    });
    let messages = report(load(&sources).unwrap_err());
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(
        messages[0].contains("given.toml:3: turn.relm"),
        "{messages:?}"
    );
    assert!(
        messages[1].starts_with("PARLOR_X__Y is not"),
        "{messages:?}"
    );
    assert!(
        messages[2].starts_with("--listen is wrong at \"here\""),
        "{messages:?}"
    );
}

#[test]
fn an_invalid_value_is_reported_with_its_origin() {
    let dir = tempfile::tempdir().unwrap();
    let short = [("SECRET_KEY", "short"), ("WEBSOCKET_PING_TIMEOUT", "0")];
    let messages = report(load(&sources(dir.path(), "signaling.burst = 0", &short)).unwrap_err());
    assert_eq!(messages.len(), 3, "{messages:?}");
    assert!(
        messages[0].starts_with("WEBSOCKET_PING_TIMEOUT must be longer"),
        "{messages:?}"
    );
    assert!(
        messages[1].contains("given.toml:1: signaling.burst must be"),
        "{messages:?}"
    );
    assert!(
        messages[2].starts_with("SECRET_KEY must have at least 32 bytes"),
        "{messages:?}"
    );
}

#[test]
fn urls_are_normalized_as_in_browsers() {
    let dir = tempfile::tempdir().unwrap();
    let file = "server.public_url = \"HTTPS://Talk.example.org:443/\"\n\
                http.allowed_origins = [\"https://App.example/\", \"tauri://localhost\"]";
    let config = load(&sources(dir.path(), file, &[])).unwrap().config;
    let url = config.server.public_url.as_deref();
    assert_eq!(url, Some("https://talk.example.org"));
    let origins = ["https://app.example", "tauri://localhost"];
    assert_eq!(config.http.allowed_origins, origins);
}

#[test]
fn internationalized_names_are_stored_in_their_dns_form() {
    let dir = tempfile::tempdir().unwrap();
    let file = "server.public_url = \"https://Bücher.example:8443/\"\n\
                turn.public_host = \"bücher.example\"\n\
                tls.domains = [\"Bücher.example\"]\n\
                http.allowed_origins = [\"https://bücher.example\"]\n\
                ice.stun_urls = [\"stun:bücher.example:3478\"]";
    let config = load(&sources(dir.path(), file, &[])).unwrap().config;
    let name = "xn--bcher-kva.example";
    assert_eq!(
        config.server.public_url,
        Some(format!("https://{name}:8443"))
    );
    assert_eq!(config.turn.public_host.as_deref(), Some(name));
    assert_eq!(config.tls.domains, [name]);
    assert_eq!(config.http.allowed_origins, [format!("https://{name}")]);
    assert_eq!(config.ice.stun_urls, [format!("stun:{name}:3478")]);
    let bad = sources(dir.path(), "server.public_url = \"https://bü cher\"", &[]);
    let messages = report(load(&bad).unwrap_err());
    assert!(
        messages[0].contains("not `https://bü cher`"),
        "{messages:?}"
    );
}

#[test]
fn a_secret_in_a_file_has_no_byte_order_mark() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    let file = format!("turn.secret_file = \"{}\"", secret.display());
    fs::write(&secret, "\u{feff}0123456789abcdef\r\n").unwrap();
    let config = load(&sources(dir.path(), &file, &[])).unwrap().config;
    assert_eq!(config.turn.secret, Some(Secret::new("0123456789abcdef")));
    fs::write(&secret, [0xff, 0xfe, b'x', 0]).unwrap();
    let messages = report(load(&sources(dir.path(), &file, &[])).unwrap_err());
    assert!(
        messages[0].ends_with("is UTF-16 text: save it as UTF-8"),
        "{messages:?}"
    );
}

#[test]
fn a_secret_in_a_world_readable_file_gets_a_warning() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("given.toml");
    let remarks = |file: &str, mode| {
        let sources = sources(
            dir.path(),
            file,
            &[("PARLOR_TURN__SECRET", "it is kept elsewhere")],
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let warnings = load(&sources).unwrap().warnings;
        let about_files = warnings.iter().filter(|one| one.text.contains("chmod o-r"));
        about_files.map(Diagnostic::to_string).collect::<Vec<_>>()
    };
    let secret = "auth.previous_secrets = [\"0123456789abcdef0123456789abcdef\"]";
    let messages = remarks(secret, 0o644);
    assert!(
        messages[0].contains("auth.previous_secrets"),
        "{messages:?}"
    );
    assert!(!messages[0].contains("turn.secret"), "{messages:?}");
    assert!(remarks(secret, 0o640).is_empty());
    assert!(remarks("turn.realm = \"open\"", 0o644).is_empty());
}

#[test]
fn a_short_turn_secret_gets_a_warning_and_is_not_shown() {
    let dir = tempfile::tempdir().unwrap();
    let remarks = |secret: &str, older: &str| {
        let variables = [
            ("PARLOR_TURN__SECRET", secret),
            ("PARLOR_TURN__PREVIOUS_SECRETS", older),
        ];
        let warnings = load(&sources(dir.path(), "", &variables)).unwrap().warnings;
        warnings
            .iter()
            .map(Diagnostic::to_string)
            .collect::<Vec<_>>()
    };
    let long = "0123456789abcdef";
    assert_eq!(remarks(long, long), [""; 0]);
    let messages = remarks("fifteen-bytes..", &format!("{long},old-and-short"));
    assert_eq!(messages.len(), 2, "{messages:?}");
    assert!(messages[0].starts_with("PARLOR_TURN__SECRET has 15 bytes"));
    assert!(messages[1].starts_with("PARLOR_TURN__PREVIOUS_SECRETS has 13 bytes"));
    let messages = messages.concat();
    assert!(!messages.contains("fifteen") && !messages.contains("old-"));
}

#[test]
fn a_missing_file_of_the_config_flag_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let mut sources = sources(dir.path(), "", &[]);
    sources.file = Some(dir.path().join("absent.toml"));
    let messages = report(load(&sources).unwrap_err());
    assert!(
        messages[0].ends_with("absent.toml does not exist"),
        "{messages:?}"
    );
}

proptest! {
    #[test]
    fn no_value_makes_the_checks_panic(
        values in proptest::collection::vec((0usize..100, "[ -~]{0,20}|[0-9.:/-]{0,12}"), 0..4),
    ) {
        let keys: Vec<_> = Schema::known().iter().map(|(key, _)| variable(key)).collect();
        let pairs = values.iter().map(|(at, text)| (&*keys[at % keys.len()], &**text));
        let pairs: Vec<_> = pairs.collect();
        let dir = tempfile::tempdir().unwrap();
        if let Err(refused) = load(&sources(dir.path(), "", &pairs)) {
            prop_assert!(!refused.errors.is_empty());
        }
    }
}
