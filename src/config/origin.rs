//! Origins of values, so that every diagnostic can name the place to change.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde_json::Value;

/// The place of one setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    BuiltIn,
    /// `line` counts from 1.
    File {
        path: PathBuf,
        line: usize,
    },
    Variable(String),
    Flag(String),
}

/// The origin of each key that is not at its default.
pub type Origins = BTreeMap<String, Origin>;

/// What a layer says of its settings, in order: a later entry outranks an earlier one.
pub type Layer = Vec<Result<Entry, Diagnostic>>;

/// One setting of one layer.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Dotted: `turn.realm`.
    pub key: String,
    pub value: Value,
    pub origin: Origin,
    /// The old name of the key, if that set it.
    pub old_key: Option<&'static str>,
}

/// An error or a warning, printed as one sentence that names the origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    pub origin: Origin,
    /// Dotted; empty where the place itself is wrong (a file that can't be read).
    pub key: String,
    /// What is wrong with it, and what to do: `must be …`.
    pub text: String,
}

impl Diagnostic {
    pub fn new(origin: Origin, key: &str, text: impl Into<String>) -> Diagnostic {
        Diagnostic {
            origin,
            key: key.to_owned(),
            text: text.into(),
        }
    }
}

/// A value that breaks a rule, regardless of its origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub key: &'static str,
    /// Other keys whose values it follows from.
    pub with: &'static [&'static str],
    /// The end of a sentence that began with the key.
    pub text: String,
}

impl Violation {
    pub fn new(key: &'static str, text: impl Into<String>) -> Violation {
        Violation::with(key, &[], text)
    }

    pub fn with(
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

    /// Every key whose value it follows from.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.key).chain(self.with.iter().copied())
    }
}

/// The variable that sets `key`: `PARLOR_TURN__REALM` for `turn.realm`.
pub fn variable(key: &str) -> String {
    format!("PARLOR_{}", key.to_ascii_uppercase().replace('.', "__"))
}

impl Origin {
    /// From 1, in a file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Origin::File { line, .. } => Some(*line),
            _ => None,
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File { path, line } => write!(f, "{}:{line}: ", path.display())?,
            Origin::Variable(name) | Origin::Flag(name) => {
                return write!(f, "{name} {}", self.text);
            }
            Origin::BuiltIn => {}
        }
        match self.key.as_str() {
            "" => f.write_str(&self.text),
            key => write!(f, "{key} {}", self.text),
        }
    }
}

/// What a layer sets, or every problem of it as it is told.
#[cfg(test)]
pub fn report(layer: Layer) -> Result<Vec<Entry>, Vec<String>> {
    let messages = layer
        .iter()
        .filter_map(|one| Some(one.as_ref().err()?.to_string()));
    let messages: Vec<_> = messages.collect();
    match messages.is_empty() {
        true => Ok(layer.into_iter().flatten().collect()),
        false => Err(messages),
    }
}
