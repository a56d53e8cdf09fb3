//! Old names of renamed settings. A file or a variable may use them until 0.3.0.

use std::collections::BTreeMap;

use super::value_source::{Diagnostic, Entry, Layer, ValueSource, variable};

/// Old keys and the keys that replace them.
pub const ALIASES: [(&str, &str); 4] = [
    ("rooms.guest_absence", "rooms.guest_grace_period"),
    ("rooms.kick_pause", "rooms.kick_cooldown"),
    ("turn.gather", "turn.coalesce_delay"),
    ("turn.unnamed", "turn.allow_anonymous"),
];

/// The alias whose old key is `key`, with its new key.
pub(super) fn find(key: &str) -> Option<(&'static str, &'static str)> {
    ALIASES.into_iter().find(|(old, _)| *old == key)
}

/// Notes in the entries of `layer` that an old key set them.
pub(super) fn mark(mut layer: Layer, old: &'static str) -> Layer {
    for entry in layer.iter_mut().flatten() {
        entry.old_key = Some(old);
    }
    layer
}

/// The uses of old and new keys in all layers.
#[derive(Default)]
pub(super) struct Uses {
    /// Old keys with the source that has the highest rank.
    old: BTreeMap<&'static str, ValueSource>,
    /// New keys with the source that has the highest rank.
    new: BTreeMap<&'static str, ValueSource>,
}

impl Uses {
    /// Records an entry, in the order of the layers.
    pub(super) fn record(&mut self, entry: &Entry) {
        if let Some(old) = entry.old_key {
            self.old.insert(old, entry.source.clone());
        } else if let Some((_, new)) = ALIASES.iter().find(|(_, new)| *new == entry.key) {
            self.new.insert(new, entry.source.clone());
        }
    }

    /// An error for each key that is set by both names, and a warning for each other old name.
    pub(super) fn report(self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        let (mut errors, mut warnings) = (Vec::new(), Vec::new());
        for (old, new) in ALIASES {
            let Some(source) = self.old.get(old) else {
                continue;
            };
            let name = match source {
                ValueSource::Variable(_) => variable(new),
                _ => new.to_owned(),
            };
            if self.new.contains_key(new) {
                let text = format!("is the old name of {name}, which is also set: remove one");
                errors.push(Diagnostic::new(source.clone(), old, text));
            } else {
                let text = format!("is the old name of {name} and stops working in 0.3.0");
                warnings.push(Diagnostic::new(source.clone(), old, text));
            }
        }
        (errors, warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schema;

    #[test]
    fn every_alias_leads_to_a_known_key() {
        let schema = Schema::known();
        for (old, new) in ALIASES {
            assert!(schema.default_of(old).is_none(), "{old}");
            assert!(schema.default_of(new).is_some(), "{new}");
        }
    }
}
