use super::*;
use crate::config::SECTIONS;

#[test]
fn an_unset_key_is_known_and_takes_text() {
    let schema = Schema::known();
    let unset: Vec<_> = schema.iter().filter(|(_, value)| value.is_null()).collect();
    assert!(unset.iter().any(|(key, _)| *key == "auth.secret"));
    let settings = SECTIONS.iter().flat_map(|section| section.settings);
    let examples: Vec<_> = settings
        .filter_map(|setting| Some((setting.key, setting.example?)))
        .collect();
    for (key, _) in unset {
        let example = examples.iter().find(|(known, _)| *known == key);
        let (_, text) = example.expect("every unset key has an example");
        assert_eq!(schema.check_value(key, &(*text).into()), Ok(()), "{key}");
    }
}

#[test]
fn every_default_survives_its_own_text() {
    let schema = Schema::known();
    for (key, default) in schema.iter().filter(|(_, value)| !value.is_null()) {
        let text = match default {
            Value::Array(items) => items
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(","),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        assert_eq!(&schema.from_text(key, &text), default, "{key}");
        assert_eq!(schema.check_value(key, default), Ok(()), "{key}");
    }
}

#[test]
fn a_typo_or_a_wrong_section_gets_a_suggestion() {
    let schema = Schema::known();
    assert_eq!(schema.nearest("turn.relm"), Some("turn.realm"));
    assert_eq!(schema.nearest("http.relay_ports"), Some("turn.relay_ports"));
    assert_eq!(schema.nearest("realm"), Some("turn.realm"));
    assert_eq!(schema.nearest("htp.listen"), Some("http.listen"));
    assert_eq!(schema.nearest_section("trun"), Some("turn"));
}

#[test]
fn a_dissimilar_name_gets_no_suggestion() {
    let schema = Schema::known();
    for name in ["http.x", "turn.on", "signaling.zzzz", "x.y", "zzzzzzzzzz"] {
        assert_eq!(schema.nearest(name), None, "{name}");
    }
    for name in ["x", "zzzz", ""] {
        assert_eq!(schema.nearest_section(name), None, "{name}");
    }
}

#[test]
fn every_wrong_item_of_a_list_is_reported() {
    let schema = Schema::known();
    let error = schema
        .check_value(
            "http.listen",
            &serde_json::json!(["8000", "127.0.0.1:80", "8001"]),
        )
        .unwrap_err();
    assert_eq!(error.len(), 2, "{error:?}");
    assert!(error[0].contains("\"8000\""), "{error:?}");
    assert!(error[1].contains("\"8001\""), "{error:?}");
}

#[test]
fn a_number_out_of_range_gets_a_readable_error() {
    let schema = Schema::known();
    for (key, number, messages) in [
        ("http.max_body", -5_i64, "must not be negative"),
        ("signaling.rate", -1, "must not be negative"),
        ("signaling.rate", 5_000_000_000, "is too large"),
    ] {
        let error = schema
            .check_value(key, &number.into())
            .unwrap_err()
            .concat();
        assert!(error.starts_with(messages), "{error}");
    }
}

#[test]
fn a_secret_of_the_wrong_type_is_not_shown() {
    let schema = Schema::known();
    for (key, value) in [
        ("auth.secret", serde_json::json!(271_828)),
        ("auth.previous_secrets", serde_json::json!([[271_828]])),
    ] {
        let error = schema.check_value(key, &value).unwrap_err().concat();
        assert!(error.contains("text"), "{error}");
        assert!(!error.contains("271828"), "{error}");
    }
}

#[test]
fn an_unknown_name_stands_for_a_similar_key_or_the_keys_of_a_section() {
    let schema = Schema::known();
    assert_eq!(schema.likely_keys("turn.relm"), ["turn.realm"]);
    assert_eq!(schema.likely_keys("log"), ["log.format", "log.level"]);
    assert_eq!(schema.likely_keys("logs"), ["log.format", "log.level"]);
    assert_eq!(schema.likely_keys("x.y"), [""; 0]);
    assert_eq!(schema.likely_keys("").len(), schema.iter().count());
}
