//! The response of a command: JSON for scripts, text or a table for people, and remarks.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::secret::REDACTED;

/// The response of a command. It may hold a token or a credential, so it has no `Debug` output.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// For scripts (`--json`).
    pub json: Value,
    /// For people.
    pub body: Body,
    /// Sentences for standard error.
    pub remarks: Vec<String>,
}

/// The response for people, before it is laid out for their terminal.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// Text without a final newline; nothing is printed if it is empty.
    Text(String),
    Table {
        header: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    /// Names and values of one object.
    Facts(Vec<(String, String)>),
}

impl Response {
    pub fn new(json: Value, text: impl Into<String>) -> Response {
        Response {
            json,
            body: Body::Text(text.into()),
            remarks: Vec::new(),
        }
    }

    pub fn table(
        json: Value,
        header: &[&str],
        rows: impl Iterator<Item = Vec<String>>,
    ) -> Response {
        Response {
            json,
            body: Body::Table {
                header: header.iter().map(ToString::to_string).collect(),
                rows: rows.collect(),
            },
            remarks: Vec::new(),
        }
    }

    /// Empty values are omitted.
    pub fn facts(json: Value, facts: &[[&str; 2]]) -> Response {
        let facts = facts.iter().filter(|[_, value]| !value.is_empty());
        Response {
            json,
            body: Body::Facts(
                facts
                    .map(|[name, value]| (name.to_string(), value.to_string()))
                    .collect(),
            ),
            remarks: Vec::new(),
        }
    }

    pub fn remark(mut self, text: impl Into<String>) -> Response {
        self.remarks.push(text.into());
        self
    }
}

impl fmt::Debug for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

/// The text of a flag in a table: `yes`, or nothing, so that the exception stands out.
pub(super) fn yes_or_empty(truth: bool) -> String {
    if truth {
        "yes".to_owned()
    } else {
        String::new()
    }
}
