//! `parlor config`: the effective configuration without secrets, and the source of each value.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::admin::Response;
use crate::config::{Loaded, Schema, ValueSource};
use crate::data_dir;
use crate::secret::REDACTED;

use super::check::source_json;

/// The secrets that `serve` generates unless they are configured.
const GENERATED: [&str; 2] = ["auth.secret", "turn.secret"];

/// A value and its source.
struct Setting {
    key: String,
    value: Value,
    source: ValueSource,
    /// How an unset value was resolved: `serve` generates secrets and selects a directory.
    found: Option<&'static str>,
}

/// Returns every key.
pub(super) fn run(loaded: &Loaded) -> Response {
    let settings = settings(loaded);
    let mut tree = Map::new();
    let mut rows = Vec::new();
    for setting in settings {
        rows.push(vec![
            setting.key.clone(),
            format_value(&setting.value),
            setting.from(),
        ]);
        let mut entry = source_json(&setting.source);
        entry["from"] = setting.from().into();
        entry["value"] = setting.value;
        tree.insert(setting.key, entry);
    }
    let value = json!({ "file": loaded.file, "settings": tree });
    Response::table(value, &["key", "value", "from"], rows.into_iter())
}

fn settings(loaded: &Loaded) -> Vec<Setting> {
    let tree = serde_json::to_value(&loaded.config).unwrap_or_default();
    let dir = data_dir::resolve(&loaded.config.server).ok();
    let schema = Schema::known();
    let settings = schema.iter().map(|(key, _)| {
        let value = key.split('.').fold(&tree, |node, part| &node[part]);
        let mut setting = Setting {
            key: key.to_owned(),
            value: value.clone(),
            source: loaded
                .value_sources
                .get(key)
                .cloned()
                .unwrap_or(ValueSource::BuiltIn),
            found: None,
        };
        if let (true, Some(dir)) = (value.is_null(), &dir) {
            setting.fill_from_data_dir(dir);
        }
        setting
    });
    settings.collect()
}

impl Setting {
    /// Resolves an unset value from the data directory.
    fn fill_from_data_dir(&mut self, dir: &Path) {
        if self.key == "server.data_dir" {
            self.value = dir.display().to_string().into();
            self.found = Some("found");
        } else if GENERATED.contains(&self.key.as_str()) {
            let path = dir.join(&self.key);
            if path.exists() {
                self.value = REDACTED.into();
                self.source = ValueSource::File { path, line: 1 };
                self.found = Some("generated");
            }
        }
    }

    fn from(&self) -> String {
        let place = match &self.source {
            ValueSource::BuiltIn => None,
            ValueSource::File { path, line } => Some(format!("{}:{line}", path.display())),
            ValueSource::Variable(name) | ValueSource::Flag(name) => Some(name.clone()),
        };
        match (self.found, place) {
            (Some(how), Some(place)) => format!("{how}, {place}"),
            (Some(how), None) => how.to_owned(),
            (None, Some(place)) => place,
            (None, None) => "built in".to_owned(),
        }
    }
}

/// Formats a value for people: lists as in environment variables.
fn format_value(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::Array(items) if items.is_empty() => "empty".to_owned(),
        Value::Array(items) => items.iter().map(format_value).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
