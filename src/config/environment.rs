//! The environment's layer: `PARLOR_SECTION__KEY`, and the names an existing deployment has.

use std::ffi::{OsStr, OsString};

use super::origin::{Layer, Origin, Problem};
use super::schema::Keys;

/// Names that deployments had before parlor, and the keys they set. Seconds are plain numbers there.
pub const LEGACY: [(&str, &str); 9] = [
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

/// The variable that sets `key`.
pub fn variable(key: &str) -> String {
    format!("PARLOR_{}", key.to_ascii_uppercase().replace('.', "__"))
}

/// Reads the settings among `variables`; those that `PARLOR_…` sets come last, so that they win.
///
/// Problems are an unknown `PARLOR_X__Y` and values that do not fit.
pub fn read(variables: &[(OsString, OsString)], keys: &Keys) -> Layer {
    let mut layer = Layer::new();
    let legacy = LEGACY
        .iter()
        .filter_map(|(name, key)| Some((*name, *key, value_of(variables, name)?)))
        .filter(|(_, _, value)| !value.is_empty());
    for (name, key, value) in legacy {
        layer.extend(setting(name, key, value, keys));
    }
    for (name, key, value) in ours(variables) {
        match keys.default_of(&key) {
            Some(default) if value.is_empty() && !default.is_array() => {}
            Some(_) => layer.extend(setting(name, &key, value, keys)),
            None => layer.push(Err(unknown(name, &key, keys))),
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

/// `PARLOR_` variables with a double underscore; the others are none of our business.
fn ours(variables: &[(OsString, OsString)]) -> impl Iterator<Item = (&str, String, &OsStr)> {
    variables.iter().filter_map(|(name, value)| {
        let name = name.to_str()?;
        let path = name.strip_prefix("PARLOR_")?;
        path.contains("__").then(|| {
            let key = path.to_ascii_lowercase().replace("__", ".");
            (name, key, value.as_os_str())
        })
    })
}

fn setting(name: &str, key: &str, value: &OsStr, keys: &Keys) -> Layer {
    let origin = Origin::Variable(name.to_owned());
    match value.to_str() {
        Some(text) => keys.setting(key, keys.from_text(key, text), origin),
        None => vec![Err(Problem::new(origin, key, "is not UTF-8 text"))],
    }
}

fn unknown(name: &str, key: &str, keys: &Keys) -> Problem {
    let text = match keys.nearest(key) {
        Some(near) => format!("is not a known variable; did you mean {}?", variable(near)),
        None => "is not a known variable".to_owned(),
    };
    Problem::new(Origin::Variable(name.to_owned()), key, text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt;

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::origin::{Entry, told};
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Result<Vec<Entry>, Vec<String>> {
        let variables: Vec<_> = pairs.iter().map(|(k, v)| (k.into(), v.into())).collect();
        told(read(&variables, &Keys::known()))
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
    fn our_own_name_outranks_the_one_a_deployment_had() {
        let pairs = [("PARLOR_AUTH__SECRET", "ours"), ("SECRET_KEY", "theirs")];
        assert_eq!(last_value(&pairs, "auth.secret"), json!("ours"));
    }

    #[test]
    fn every_name_a_deployment_had_sets_its_key() {
        let keys = Keys::known();
        for (name, key) in LEGACY {
            assert!(keys.default_of(key).is_some(), "{name} sets {key}");
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
    fn text_that_is_not_utf_8_is_refused_only_where_it_is_ours() {
        let odd = || OsString::from_vec(vec![0xff]);
        let keys = Keys::known();
        assert!(read(&[("OTHER".into(), odd()), (odd(), odd())], &keys).is_empty());
        let layer = read(&[("SECRET_KEY".into(), odd())], &keys);
        let problem = layer[0].as_ref().unwrap_err();
        assert_eq!(problem.to_string(), "SECRET_KEY is not UTF-8 text");
    }

    proptest! {
        #[test]
        fn no_environment_panics(
            index in 0usize..100, value in ".*", name in "PARLOR_[A-Z_]{0,20}",
        ) {
            let keys = Keys::known();
            let known = keys.iter().nth(index % keys.iter().count()).unwrap().0.to_owned();
            let variables = [
                (OsString::from(variable(&known)), OsString::from(&value)),
                (OsString::from(name), OsString::from(&value)),
                (OsString::from(LEGACY[index % LEGACY.len()].0), OsString::from(&value)),
            ];
            let _ = read(&variables, &keys);
        }
    }
}
