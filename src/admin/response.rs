//! What a command answers: for scripts, for people, and what is said about it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::secret::REDACTED;

/// What a command answers. It may be a token, or a credential: it is shown to whoever asked alone.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// For scripts.
    pub json: Value,
    /// For people.
    pub body: Body,
    /// What is said about it on standard error.
    pub remarks: Vec<String>,
}

/// An answer for people, before it is known how wide and how plain their screen is.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// Ends without a newline; nothing is printed where it is empty.
    Text(String),
    Table {
        header: Vec<String>,
        rows: Vec<Vec<String>>,
    },
    /// What is known of one thing: a name and a value each.
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

    /// What is empty is left out.
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

/// Yes or nothing: what is usual needs no word.
pub fn yes_or_empty(truth: bool) -> String {
    match truth {
        true => "yes".to_owned(),
        false => String::new(),
    }
}
