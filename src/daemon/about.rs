//! The text that a node sends to the others about itself, and the check that their secrets are the same.

use ring::hmac;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::{Config, duration};
use crate::secret::Secret;
use crate::service::{App, RelayAddress};

/// Length of a fingerprint, in bytes.
const FINGERPRINT_BYTES: usize = 8;
/// The purpose of the derived value, for key separation.
const FINGERPRINT_LABEL: &[u8] = b"parlor fingerprint";

/// A node, as it describes itself. Fields that another version does not have stay empty.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct About {
    version: String,
    realm: String,
    /// Fingerprints of `auth.secret` and of its previous secrets, in this order.
    auth: Vec<String>,
    /// Fingerprints of `turn.secret` and of its previous secrets.
    turn: Vec<String>,
    /// `cluster.lease` and `turn.mode`.
    lease: Option<String>,
    mode: Option<Value>,
    /// Where clients reach the relay.
    relay: Option<RelayAddress>,
}

impl About {
    pub(super) fn new(config: &Config) -> About {
        let (auth, turn) = (&config.auth, &config.turn);
        About {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            realm: turn.realm.clone(),
            auth: fingerprints(auth.secret.iter().chain(&auth.previous_secrets)),
            turn: fingerprints(turn.secret.iter().chain(&turn.previous_secrets)),
            lease: Some(duration::format(config.cluster.lease)),
            mode: serde_json::to_value(turn.mode).ok(),
            relay: None,
        }
    }

    /// Tells the other nodes what this one is now.
    pub(super) fn announce(app: &App) {
        let Some(link) = app.hub.link() else {
            return;
        };
        let about = About {
            relay: app.relay_address(),
            ..About::new(&app.settings().config)
        };
        link.set_about(about.to_text());
    }

    pub(super) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Parses the text of another node. One that is not understood is empty.
    pub(super) fn parse(text: &str) -> About {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Returns the settings that should be the same on both nodes, and are not. Another version may not say them.
    pub(super) fn differences(&self, other: &About) -> Vec<&'static str> {
        let mut settings = Vec::new();
        if other.lease.is_some() && self.lease != other.lease {
            settings.push("cluster.lease");
        }
        if other.mode.is_some() && self.mode != other.mode {
            settings.push("turn.mode");
        }
        settings
    }

    /// Returns the setting whose values keep clients of one node from being accepted by the other.
    pub(super) fn difference(&self, other: &About) -> Option<&'static str> {
        if !accept_each_other(&self.auth, &other.auth) {
            return Some("auth.secret");
        }
        if !accept_each_other(&self.turn, &other.turn) {
            return Some("turn.secret");
        }
        let has_realm = !other.realm.is_empty();
        (has_realm && self.realm != other.realm).then_some("turn.realm")
    }
}

/// Whether each side has the other's newest secret. A side without any is not understood.
fn accept_each_other(one: &[String], other: &[String]) -> bool {
    match (one.first(), other.first()) {
        (Some(newest), Some(other_newest)) => other.contains(newest) && one.contains(other_newest),
        _ => true,
    }
}

fn fingerprints<'a>(secrets: impl Iterator<Item = &'a Secret>) -> Vec<String> {
    let each = |secret: &Secret| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
        let tag = hmac::sign(&key, FINGERPRINT_LABEL);
        let bytes = tag.as_ref().iter().take(FINGERPRINT_BYTES);
        bytes.map(|byte| format!("{byte:02x}")).collect()
    };
    secrets.map(each).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(auth: &str, turn: &str, previous: &[&str]) -> About {
        let mut config = Config::default();
        config.auth.secret = Some(Secret::new(auth));
        config.turn.secret = Some(Secret::new(turn));
        config.turn.previous_secrets = previous.iter().copied().map(Secret::new).collect();
        About::parse(&About::new(&config).to_text())
    }

    #[test]
    fn the_setting_that_differs_is_named() {
        let own = about("a", "t", &[]);
        assert_eq!(own.difference(&about("a", "t", &[])), None);
        assert_eq!(own.difference(&about("b", "u", &[])), Some("auth.secret"));
        assert_eq!(own.difference(&about("a", "u", &[])), Some("turn.secret"));
        let mut other = about("a", "t", &[]);
        other.realm = "elsewhere".to_owned();
        assert_eq!(own.difference(&other), Some("turn.realm"));
        assert_eq!(own.difference(&About::parse("of another version")), None);
    }

    #[test]
    fn a_new_secret_is_accepted_where_both_nodes_know_both() {
        let (old, both) = (about("a", "t", &[]), about("a", "u", &["t"]));
        assert_eq!(old.difference(&both), Some("turn.secret"));
        let prepared = about("a", "t", &["u"]);
        assert_eq!(prepared.difference(&both), None);
        assert_eq!(prepared.difference(&old), None);
    }

    #[test]
    fn settings_that_should_be_the_same_are_named() {
        let (own, mut other) = (about("a", "t", &[]), about("a", "t", &[]));
        assert!(own.differences(&other).is_empty());
        assert!(own.differences(&About::parse("{}")).is_empty());
        other.lease = Some("1m".to_owned());
        other.mode = Some("internal".into());
        assert_eq!(own.differences(&other), ["cluster.lease", "turn.mode"]);
    }

    #[test]
    fn the_text_has_no_secret() {
        let text = about("hunter2", "hunter3", &["hunter4"]).to_text();
        assert!(!text.contains("hunter"), "{text}");
    }
}
