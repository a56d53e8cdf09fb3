//! The result of a reload: changed keys, by the time from which they are in force.

use serde::Serialize;

use super::{Config, Diagnostic, ReloadScope};

/// The result of a reload.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Keys with a new value that is in force.
    pub changed: Vec<&'static str>,
    /// Keys with a new value that is in force after a restart.
    pub needs_restart: Vec<&'static str>,
    /// Warnings about the new values and the old ones.
    pub warnings: Vec<String>,
}

impl ReloadReport {
    /// Compares two configurations.
    pub fn new(running: &Config, wanted: &Config, warnings: &[Diagnostic]) -> ReloadReport {
        let mut report = ReloadReport {
            warnings: warnings.iter().map(Diagnostic::to_string).collect(),
            ..ReloadReport::default()
        };
        for (key, scope) in wanted.differences(running) {
            match scope {
                ReloadScope::Live => report.changed.push(key),
                ReloadScope::Restart => report.needs_restart.push(key),
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::public_key::{Material, PublicKey};

    #[test]
    fn a_reload_keeps_the_values_that_need_a_restart() {
        let running = Config::default();
        let mut wanted = Config::default();
        wanted.turn.realm = "another".to_owned();
        wanted.turn.max_channels = 5;
        assert_eq!(
            wanted.differences(&running),
            [
                ("turn.realm", ReloadScope::Restart),
                ("turn.max_channels", ReloadScope::Live)
            ]
        );
        wanted.keep_restart_values(&running);
        assert_eq!(wanted.turn.realm, "parlor");
        assert_eq!(wanted.turn.max_channels, 5);
        assert_eq!(
            wanted.differences(&running),
            [("turn.max_channels", ReloadScope::Live)]
        );
    }

    #[test]
    fn a_changed_key_is_reported_once() {
        let key = |x| PublicKey {
            id: None,
            material: Material::Ed25519(vec![x]),
        };
        let (mut jwks, mut pem) = (Config::default(), Config::default());
        jwks.auth.jwks_file = Some("jwks.json".into());
        jwks.auth.public_keys = vec![key(1)];
        pem.auth.public_key_file = Some("key.pem".into());
        pem.auth.public_keys = vec![key(2)];
        let files = ["auth.public_key_file", "auth.jwks_file"].map(|key| (key, ReloadScope::Live));
        assert_eq!(pem.differences(&jwks), files);
        assert_eq!(jwks.differences(&pem), files);
    }

    #[test]
    fn a_new_secret_in_the_same_file_is_a_difference() {
        let mut running = Config::default();
        running.auth.secret = Some(crate::secret::Secret::new("one"));
        let mut wanted = running.clone();
        wanted.auth.secret = Some(crate::secret::Secret::new("two"));
        assert_eq!(
            wanted.differences(&running),
            [("auth.secret", ReloadScope::Live)]
        );
    }
}
