//! The known keys: those of the serialized default, so the type is the only list.
//!
//! Serialized to JSON, an unset `Option` is `null`, which keeps its key; the shape of each default
//! decides how text from the environment is read. An unset key is text (a test verifies this).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Config;
use super::parse_errors;
use super::value_source::{Diagnostic, Entry, Layer, ValueSource};

/// Every key, dotted (`turn.relay_ports`), with its built-in value.
pub struct Schema(BTreeMap<String, Value>);

impl Schema {
    pub fn known() -> Schema {
        let mut leaves = BTreeMap::new();
        flatten(String::new(), built_in(), &mut leaves);
        Schema(leaves)
    }

    /// All keys and their built-in values; `null` where unset.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// The default of `key`; `None` for an unknown key.
    pub fn default_of(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    pub fn is_section(&self, path: &str) -> bool {
        let prefix = format!("{path}.");
        self.0.keys().any(|key| key.starts_with(&prefix))
    }

    /// The known key most similar to `key`, if one is similar.
    pub fn nearest(&self, key: &str) -> Option<&str> {
        most_similar(self.0.keys().map(String::as_str), key, similarity)
    }

    /// The known section most similar to `path`, if one is similar.
    pub fn nearest_section(&self, path: &str) -> Option<&str> {
        let sections = self.0.keys().filter_map(|key| key.rsplit_once('.'));
        let sections = sections.map(|(section, _)| section);
        most_similar(sections, path, strsim::normalized_damerau_levenshtein)
    }

    /// Converts the text of a variable or a flag to the type of the key's default.
    pub fn from_text(&self, key: &str, text: &str) -> Value {
        match self.default_of(key) {
            Some(Value::Array(_)) => text
                .split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .collect(),
            Some(Value::Number(_)) => match text.trim().parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
            Some(Value::Bool(_)) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => true.into(),
                "false" | "no" | "off" | "0" => false.into(),
                _ => text.into(),
            },
            _ => text.into(),
        }
    }

    /// Checks one value against its type.
    ///
    /// # Errors
    /// Every error, as the end of a sentence that began with the key. An error never contains a secret.
    pub fn check_value(&self, key: &str, value: &Value) -> Result<(), Vec<String>> {
        let wrong = match self.default_of(key) {
            Some(default) => shape_error(default, value),
            None => return Err(vec!["is not a known key".to_owned()]),
        };
        if let Some(wanted) = wrong {
            return Err(vec![format!("must be {wanted}{}", self.example(key))]);
        }
        let whole = std::slice::from_ref(value);
        let is_list = value.is_array();
        let items = value.as_array().map_or(whole, Vec::as_slice).iter();
        let wrong = items.filter_map(|item| {
            let (alone, messages) = match (is_list, item.as_str()) {
                (false, _) => (item.clone(), String::new()),
                (true, Some(text)) => (Value::from(vec![text]), format!(" at {text:?}")),
                // Only text is repeated: a value of the wrong type may be a secret.
                (true, None) => (Value::from(vec![item.clone()]), String::new()),
            };
            let reason = self.deserialize_alone(key, &alone).err()?;
            Some(match self.default_of(key) {
                // The parser's error for these names internal types.
                Some(Value::Number(_)) if item.as_i64().is_some_and(i64::is_negative) => {
                    format!("must not be negative{}", self.example(key))
                }
                Some(Value::Number(_)) => format!("is too large{}", self.example(key)),
                _ => {
                    let reason =
                        parse_errors::for_readers(&reason, item.as_str().unwrap_or_default());
                    format!("is wrong{messages}: {reason}{}", self.example(key))
                }
            })
        });
        let wrong: Vec<_> = wrong.collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong) }
    }

    /// Returns one setting of a layer, or its errors.
    pub fn setting(&self, key: &str, value: Value, source: ValueSource) -> Layer {
        match self.check_value(key, &value) {
            Ok(()) => vec![Ok(Entry {
                key: key.to_owned(),
                value,
                source,
                old_key: None,
            })],
            Err(wrong) => {
                let messages = wrong.into_iter();
                messages
                    .map(|text| Err(Diagnostic::new(source.clone(), key, text)))
                    .collect()
            }
        }
    }

    /// The keys that an unknown key may have been meant for: those of a section, or the most similar
    /// one; all keys if a whole file can't be read.
    pub fn likely_keys(&self, path: &str) -> Vec<&str> {
        let within = |section: &str| {
            let prefix = format!("{section}.");
            let keys = self.0.keys().map(String::as_str);
            keys.filter(|key| key.starts_with(&prefix)).collect()
        };
        if path.is_empty() {
            return self.0.keys().map(String::as_str).collect();
        }
        match path.contains('.') {
            true => self.nearest(path).into_iter().collect(),
            false if self.is_section(path) => within(path),
            false => self.nearest_section(path).map_or(Vec::new(), within),
        }
    }

    fn deserialize_alone(&self, key: &str, value: &Value) -> Result<(), String> {
        let mut tree = Value::Object(Map::new());
        insert(&mut tree, key, value.clone());
        serde_json::from_value::<Config>(tree)
            .map(drop)
            .map_err(|error| error.to_string())
    }

    fn example(&self, key: &str) -> String {
        match self.default_of(key) {
            Some(Value::Array(items)) if items.is_empty() => String::new(),
            None | Some(Value::Null) => String::new(),
            Some(value) => format!(" (the default is {value})"),
        }
    }
}

/// The built-in configuration as a tree.
pub(super) fn built_in() -> Value {
    serde_json::to_value(Config::default()).unwrap_or_default()
}

/// Sets the dotted `key` to `value`, and creates sections as needed.
pub(super) fn insert(tree: &mut Value, key: &str, value: Value) {
    let mut place = tree;
    for part in key.split('.') {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[part];
    }
    *place = value;
}

fn flatten(path: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(section) => {
            for (name, value) in section {
                let path = match path.as_str() {
                    "" => name,
                    above => format!("{above}.{name}"),
                };
                flatten(path, value, into);
            }
        }
        leaf => {
            into.insert(path, leaf);
        }
    }
}

/// Returns the expected type, if the value does not have the type of the default. Durations are text by
/// default and may be numbers; an unset key is text.
fn shape_error(default: &Value, value: &Value) -> Option<&'static str> {
    let duration = |text: &str| super::duration::parse(text).is_ok();
    match (default, value) {
        (Value::Array(_), Value::Array(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::String(_) | Value::Null, Value::String(_)) => None,
        (Value::Number(_), Value::Number(number)) if !number.is_f64() => None,
        (Value::String(text), Value::Number(_)) if duration(text) => None,
        (Value::String(text), _) if duration(text) => Some("a duration"),
        (Value::Array(_), _) => Some("a list"),
        (Value::Bool(_), _) => Some("true or false"),
        (Value::Number(_), _) => Some("a whole number"),
        _ => Some("text in quotes"),
    }
}

fn most_similar<'a>(
    known: impl Iterator<Item = &'a str>,
    wanted: &str,
    similarity: fn(&str, &str) -> f64,
) -> Option<&'a str> {
    if wanted.len() > 100 {
        return None; // as long as no name is: comparing would only cost time
    }
    let (score, found) = known
        .map(|known| (similarity(known, wanted), known))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (score > 0.5).then_some(found)
}

/// The similarity of the last parts of two keys; the similarity of their sections breaks ties. An
/// equal section alone does not make two keys similar.
fn similarity(known: &str, key: &str) -> f64 {
    let alike = strsim::normalized_damerau_levenshtein;
    let (section, last) = known.rsplit_once('.').unwrap_or(("", known));
    let (section_given, last_given) = key.rsplit_once('.').unwrap_or(("", key));
    alike(last, last_given) * (0.9 + 0.1 * alike(section, section_given))
}

#[cfg(test)]
mod tests;
