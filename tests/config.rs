//! The shipped `config.toml` and the reference in `docs/` against the type.

use std::path::PathBuf;

use parlor::config::{self, Config, Keys, Sources};

const SHIPPED: &str = include_str!("../config.toml");

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
    config::load(&sources).unwrap_or_else(|refused| panic!("{:?}", refused.problems))
}

#[test]
fn the_shipped_file_equals_what_is_built_in() {
    let shipped = load(SHIPPED);
    assert_eq!(
        serde_json::to_value(&shipped.config).unwrap(),
        serde_json::to_value(Config::default()).unwrap()
    );
}

#[test]
fn the_shipped_file_sets_every_key_that_has_a_value() {
    let shipped = load(SHIPPED);
    let set: Vec<_> = shipped.origins.keys().map(String::as_str).collect();
    let keys = Keys::known();
    let valued: Vec<_> = keys
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
    let loaded = load(&uncommented);
    for (key, _) in Keys::known().iter() {
        assert!(
            loaded.origins.contains_key(key),
            "{key} is not in config.toml"
        );
    }
}
