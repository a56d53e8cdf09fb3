//! `parlor config`: the effective configuration without its secrets, and where each value came from.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::admin::Response;
use crate::config::{Keys, Loaded, Origin};
use crate::data_dir;
use crate::secret::REDACTED;

use super::check::origin_json;

/// The secrets that `serve` makes where none is configured.
const GENERATED: [&str; 2] = ["auth.secret", "turn.secret"];

/// A value, and where it came from.
struct Setting {
    key: String,
    value: Value,
    origin: Origin,
    /// By `serve`: a secret of its own, or the directory that it would use.
    found: Option<&'static str>,
}

/// Answers with every key.
pub fn run(loaded: &Loaded) -> Response {
    let settings = settings(loaded);
    let mut tree = Map::new();
    let mut rows = Vec::new();
    for setting in settings {
        rows.push(vec![
            setting.key.clone(),
            format_value(&setting.value),
            setting.from(),
        ]);
        let mut message = origin_json(&setting.origin);
        message["from"] = setting.from().into();
        message["value"] = setting.value;
        tree.insert(setting.key, message);
    }
    let value = json!({ "file": loaded.file, "settings": tree });
    Response::table(value, &["key", "value", "from"], rows.into_iter())
}

fn settings(loaded: &Loaded) -> Vec<Setting> {
    let tree = serde_json::to_value(&loaded.config).unwrap_or_default();
    let dir = data_dir::resolve(&loaded.config.server).ok();
    let keys = Keys::known();
    let settings = keys.iter().map(|(key, _)| {
        let value = key.split('.').fold(&tree, |place, part| &place[part]);
        let mut setting = Setting {
            key: key.to_owned(),
            value: value.clone(),
            origin: loaded.origins.get(key).cloned().unwrap_or(Origin::BuiltIn),
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
    /// What is unset may all the same be there.
    fn fill_from_data_dir(&mut self, dir: &Path) {
        if self.key == "server.data_dir" {
            self.value = dir.display().to_string().into();
            self.found = Some("found");
        } else if GENERATED.contains(&self.key.as_str()) {
            let path = dir.join(&self.key);
            if path.exists() {
                self.value = REDACTED.into();
                self.origin = Origin::File { path, line: 1 };
                self.found = Some("generated");
            }
        }
    }

    fn from(&self) -> String {
        let place = match &self.origin {
            Origin::BuiltIn => None,
            Origin::File { path, line } => Some(format!("{}:{line}", path.display())),
            Origin::Variable(name) | Origin::Flag(name) => Some(name.clone()),
        };
        match (self.found, place) {
            (Some(how), Some(place)) => format!("{how}, {place}"),
            (Some(how), None) => how.to_owned(),
            (None, Some(place)) => place,
            (None, None) => "built in".to_owned(),
        }
    }
}

/// A value for people: lists as the environment takes them.
fn format_value(value: &Value) -> String {
    match value {
        Value::Null => "unset".to_owned(),
        Value::Array(items) if items.is_empty() => "empty".to_owned(),
        Value::Array(items) => items.iter().map(format_value).collect::<Vec<_>>().join(","),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
