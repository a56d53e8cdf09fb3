//! The list of violations that the checks fill.

use crate::config::value_source::Violation;

#[derive(Default)]
pub(super) struct Violations(Vec<Violation>);

impl Violations {
    pub(super) fn require(&mut self, sound: bool, key: &'static str, text: impl Into<String>) {
        if !sound {
            self.0.push(Violation::new(key, text));
        }
    }

    /// Adds a violation that depends on the keys in `with` too. It is omitted if one of those is invalid.
    pub(super) fn require_with(
        &mut self,
        sound: bool,
        key: &'static str,
        with: &'static [&'static str],
        text: impl Into<String>,
    ) {
        if !sound {
            self.0.push(Violation::with(key, with, text));
        }
    }

    pub(super) fn extend(&mut self, violations: impl IntoIterator<Item = Violation>) {
        self.0.extend(violations);
    }

    pub(super) fn into_vec(self) -> Vec<Violation> {
        self.0
    }
}
