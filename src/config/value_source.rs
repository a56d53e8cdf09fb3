//! Sources of values, so that every diagnostic can name the place to change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

/// The place of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueSource {
    BuiltIn,
    /// A line of a file, counted from 1.
    File {
        path: PathBuf,
        line: usize,
    },
    Variable(String),
    Flag(String),
}

/// The source of each key that is not at its default.
pub type ValueSources = BTreeMap<String, ValueSource>;

/// The entries of a layer, in order: a later entry outranks an earlier one.
pub(super) type Layer = Vec<Result<Entry, Diagnostic>>;

/// One setting of one layer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The dotted key: `turn.realm`.
    pub key: String,
    pub value: Value,
    pub source: ValueSource,
    /// The old name of the key, if the layer used it.
    pub old_key: Option<&'static str>,
}

/// An error or a warning, printed as one sentence that names the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub source: ValueSource,
    /// The dotted key; empty for an error of the source itself, such as an unreadable file.
    pub key: String,
    /// The error and its remedy, as the end of a sentence: `must be …`.
    pub text: String,
}

impl Diagnostic {
    pub fn new(source: ValueSource, key: &str, text: impl Into<String>) -> Diagnostic {
        Diagnostic {
            source,
            key: key.to_owned(),
            text: text.into(),
        }
    }
}

/// A value that breaks a rule, regardless of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Violation {
    pub key: &'static str,
    /// Other keys that the violation depends on.
    pub with: &'static [&'static str],
    /// The error, as the end of a sentence that began with the key.
    pub text: String,
}

impl Violation {
    pub(super) fn new(key: &'static str, text: impl Into<String>) -> Violation {
        Violation::with(key, &[], text)
    }

    pub(super) fn with(
        key: &'static str,
        with: &'static [&'static str],
        text: impl Into<String>,
    ) -> Violation {
        Violation {
            key,
            with,
            text: text.into(),
        }
    }

    /// Returns every key that the violation depends on.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.with.iter().copied())
    }
}

/// The variable that sets `key`: `PARLOR_TURN__REALM` for `turn.realm`.
pub fn variable(key: &str) -> String {
    format!("PARLOR_{}", key.to_ascii_uppercase().replace('.', "__"))
}

impl ValueSource {
    /// The line, counted from 1, if the source is a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            ValueSource::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            ValueSource::File { path, line } => write!(f, "{}:{line}: ", path.display())?,
            ValueSource::Variable(name) | ValueSource::Flag(name) => {
                return write!(f, "{name} {}", self.text);
            }
            ValueSource::BuiltIn => {}
        }
        match self.key.as_str() {
            "" => f.write_str(&self.text),
            key => write!(f, "{key} {}", self.text),
        }
    }
}

/// Returns the entries of a layer, or its errors as text.
#[cfg(test)]
pub(super) fn report(layer: Layer) -> Result<Vec<Entry>, Vec<String>> {
    let messages = layer
        .iter()
        .filter_map(|one| Some(one.as_ref().err()?.to_string()));
    let messages: Vec<_> = messages.collect();
    if messages.is_empty() {
        Ok(layer.into_iter().flatten().collect())
    } else {
        Err(messages)
    }
}
