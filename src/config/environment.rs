//! The layer of environment variables: `PARLOR_SECTION__KEY`, and names of existing deployments.

use std::ffi::{OsStr, OsString};

use super::aliases;
use super::schema::Schema;
use super::value_source::{Diagnostic, Layer, ValueSource, variable};

/// Variables of deployments before parlor, and the keys they set. Their durations are plain seconds.
pub const LEGACY_VARIABLES: [(&str, &str); 9] = [
    ("SECRET_KEY", "auth.secret"),
    ("ALGORITHM", "auth.algorithm"),
    ("WEBSOCKET_PING_INTERVAL", "signaling.ping_interval"),
    ("WEBSOCKET_PING_TIMEOUT", "signaling.ping_timeout"),
    ("WEBSOCKET_CLOSE_TIMEOUT", "signaling.close_timeout"),
    ("STUN_SERVER_URL", "ice.stun_urls"),
    ("TURN_SERVER_URL", "ice.turn_urls"),
    ("TURN_USERNAME", "ice.turn_username"),
    ("TURN_PASSWORD", "ice.turn_password"),
];

/// Reads the settings in `variables`. Those of `PARLOR_…` variables come last, so they outrank others.
///
/// Errors are an unknown `PARLOR_X__Y` and values of the wrong type.
pub(super) fn read(variables: &[(OsString, OsString)], schema: &Schema) -> Layer {
    let mut layer = Layer::new();
    let legacy = LEGACY_VARIABLES
        .iter()
        .filter_map(|(name, key)| Some((*name, *key, value_of(variables, name)?)))
        .filter(|(_, _, value)| !value.is_empty());
    for (name, key, value) in legacy {
        layer.extend(setting(name, key, value, schema));
    }
    for (name, key, value) in parlor_variables(variables) {
        let alias = aliases::find(&key);
        let current = alias.map_or(key.as_str(), |(_, new)| new);
        match schema.default_of(current) {
            Some(default) if value.is_empty() && !default.is_array() => {}
            Some(_) => {
                let entries = setting(name, current, value, schema);
                layer.extend(match alias {
                    Some((old, _)) => aliases::mark(entries, old),
                    None => entries,
                });
            }
            None => layer.push(Err(unknown(name, &key, schema))),
        }
    }
    layer
}

fn value_of<'a>(variables: &'a [(OsString, OsString)], name: &str) -> Option<&'a OsStr> {
    variables
        .iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_os_str())
}

/// Returns the `PARLOR_` variables with a double underscore. Others are not settings.
fn parlor_variables(
    variables: &[(OsString, OsString)],
) -> impl Iterator<Item = (&str, String, &OsStr)> {
    variables.iter().filter_map(|(name, value)| {
        let name = name.to_str()?;
        let path = name.strip_prefix("PARLOR_")?;
        path.contains("__").then(|| {
            let key = path.to_ascii_lowercase().replace("__", ".");
            (name, key, value.as_os_str())
        })
    })
}

fn setting(name: &str, key: &str, value: &OsStr, schema: &Schema) -> Layer {
    let source = ValueSource::Variable(name.to_owned());
    match value.to_str() {
        Some(text) => schema.setting(key, schema.from_text(key, text), source),
        None => vec![Err(Diagnostic::new(source, key, "is not UTF-8 text"))],
    }
}

fn unknown(name: &str, key: &str, schema: &Schema) -> Diagnostic {
    let text = match schema.nearest(key) {
        Some(near) => format!("is not a known variable; did you mean {}?", variable(near)),
        None => "is not a known variable".to_owned(),
    };
    Diagnostic::new(ValueSource::Variable(name.to_owned()), key, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::value_source::{Entry, report};
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Result<Vec<Entry>, Vec<String>> {
        let variables: Vec<_> = pairs.iter().map(|(k, v)| (k.into(), v.into())).collect();
        report(read(&variables, &Schema::known()))
    }

    fn last_value(pairs: &[(&str, &str)], key: &str) -> serde_json::Value {
        let entries = entries(pairs).unwrap();
        let found = entries.iter().rfind(|entry| entry.key == key);
        found.expect(key).value.clone()
    }

    #[test]
    fn lists_are_split_at_commas() {
        assert_eq!(
            last_value(
                &[("PARLOR_TURN__LISTEN", "127.0.0.1:1, [::1]:2,")],
                "turn.listen"
            ),
            json!(["127.0.0.1:1", "[::1]:2"])
        );
    }

    #[test]
    fn an_empty_variable_is_unset_but_an_empty_list_is_a_list() {
        let entries = entries(&[
            ("SECRET_KEY", ""),
            ("PARLOR_AUTH__SECRET", ""),
            ("PARLOR_SIGNALING__RATE", ""),
            ("PARLOR_ADMIN__METRICS_LISTEN", ""),
        ])
        .unwrap();
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].value, json!([]));
    }

    #[test]
    fn a_parlor_variable_outranks_a_legacy_variable() {
        let pairs = [("PARLOR_AUTH__SECRET", "ours"), ("SECRET_KEY", "theirs")];
        assert_eq!(last_value(&pairs, "auth.secret"), json!("ours"));
    }

    #[test]
    fn every_legacy_variable_sets_its_key() {
        let schema = Schema::known();
        for (name, key) in LEGACY_VARIABLES {
            assert!(schema.default_of(key).is_some(), "{name} sets {key}");
        }
        let pairs = [("WEBSOCKET_PING_INTERVAL", "25")];
        assert_eq!(last_value(&pairs, "signaling.ping_interval"), json!("25"));
        let pairs = [("STUN_SERVER_URL", "stun:stun.example.org:3478")];
        assert_eq!(
            last_value(&pairs, "ice.stun_urls"),
            json!(["stun:stun.example.org:3478"])
        );
    }

    #[test]
    fn every_problem_names_its_variable() {
        let errors = entries(&[
            ("PARLOR_TURN__RELM", "x"),
            ("PARLOR_SIGNALING__RATE", "many"),
            ("ALGORITHM", "none"),
            ("PARLOR_HOME", "x"),
            ("PATH", "x"),
        ])
        .unwrap_err();
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].starts_with("ALGORITHM is wrong: it must be one of HS256,"));
        assert_eq!(
            errors[1],
            "PARLOR_TURN__RELM is not a known variable; did you mean PARLOR_TURN__REALM?"
        );
        assert!(errors[2].starts_with("PARLOR_SIGNALING__RATE must be a whole number"));
    }

    #[test]
    fn only_parlor_variables_must_be_utf_8() {
        let odd = || OsString::from_vec(vec![0xff]);
        let schema = Schema::known();
        assert!(read(&[("OTHER".into(), odd()), (odd(), odd())], &schema).is_empty());
        let layer = read(&[("SECRET_KEY".into(), odd())], &schema);
        let diagnostic = layer[0].as_ref().unwrap_err();
        assert_eq!(diagnostic.to_string(), "SECRET_KEY is not UTF-8 text");
    }

    proptest! {
        #[test]
        fn no_environment_panics(
            index in 0usize..100, value in ".*", name in "PARLOR_[A-Z_]{0,20}",
        ) {
            let schema = Schema::known();
            let known = schema.iter().nth(index % schema.iter().count()).unwrap().0.to_owned();
            let variables = [
                (OsString::from(variable(&known)), OsString::from(&value)),
                (OsString::from(name), OsString::from(&value)),
                (OsString::from(LEGACY_VARIABLES[index % LEGACY_VARIABLES.len()].0), OsString::from(&value)),
            ];
            let _ = read(&variables, &schema);
        }
    }
}
