//! Secrets that can be guessed, are used twice, or that others can read.

use crate::config::value_source::{ValueSource, Violation};
use crate::config::{Config, ValueSources, file, secrets};
use crate::plural::counted;
use crate::secret::Secret;

/// The length in bytes below which a TURN secret can be guessed.
const MIN_TURN_SECRET_BYTES: usize = 16;

/// Warns of a short TURN secret. It is not an error, because a secret shared with coturn may be short.
pub(super) fn short_secrets(config: &Config) -> Vec<Violation> {
    turn_secrets(config)
        .filter(|(_, secret)| secret.expose().len() < MIN_TURN_SECRET_BYTES)
        .map(|(key, secret)| {
            let bytes = counted(secret.expose().len(), "byte");
            let text = format!(
                "has {bytes}, so a client with a credential can guess it: \
                 `openssl rand -hex 32` makes a good one"
            );
            Violation::new(key, text)
        })
        .collect()
}

pub(super) fn reused_secret(config: &Config) -> Vec<Violation> {
    let same =
        turn_secrets(config).filter(|(_, secret)| config.auth.secret.as_ref() == Some(secret));
    let text = "equals auth.secret: a service that creates TURN credentials can then also sign \
                tokens for any user";
    same.map(|(key, _)| Violation::with(key, &["auth.secret"], text))
        .collect()
}

pub(super) fn exposed_secrets(config: &Config, value_sources: &ValueSources) -> Vec<Violation> {
    let set = secrets::SECRET_KEYS
        .into_iter()
        .filter(|key| is_set(config, key));
    let exposed = set.filter_map(|key| match value_sources.get(key) {
        Some(ValueSource::File { path, .. }) if file::is_world_readable(path) => {
            let text = format!(
                "is in a file that every user of this host may read: \
                 fix it with `chmod o-r {}`",
                path.display()
            );
            Some(Violation::new(key, text))
        }
        _ => None,
    });
    exposed.collect()
}

fn turn_secrets(config: &Config) -> impl Iterator<Item = (&'static str, &Secret)> {
    let turn = &config.turn;
    let newest = turn.secret.iter().map(|secret| ("turn.secret", secret));
    let older = turn.previous_secrets.iter();
    newest.chain(older.map(|secret| ("turn.previous_secrets", secret)))
}

/// Returns whether `key` holds a secret. An empty list holds none.
fn is_set(config: &Config, key: &str) -> bool {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let value = key.split('.').fold(&tree, |place, part| &place[part]);
    value.get(0).unwrap_or(value).is_string()
}
