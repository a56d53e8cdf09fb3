//! Standard output for answers, standard error for everything said about them.

use std::io::{self, IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;

use super::failure::Failure;

/// What a command answers.
pub struct Answer {
    /// For scripts.
    pub json: Value,
    /// For people; ends without a newline.
    pub text: String,
    /// What is said about it on standard error.
    pub remarks: Vec<String>,
}

impl Answer {
    pub fn new(json: Value, text: impl Into<String>) -> Answer {
        Answer {
            json,
            text: text.into(),
            remarks: Vec::new(),
        }
    }

    pub fn remark(mut self, text: impl Into<String>) -> Answer {
        self.remarks.push(text.into());
        self
    }

    /// Prints the answer. A reader who has gone away is no fault of ours.
    ///
    /// # Errors
    /// Where standard output can't be written for another reason.
    pub fn print(&self, json: bool) -> Result<(), Failure> {
        for remark in &self.remarks {
            note(remark);
        }
        let text = match json {
            true => self.json.to_string(),
            false => self.text.clone(),
        };
        if text.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::refused(
                format!("standard output can't be written: {error}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Says something on standard error, if anybody reads it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Rows under a header: with lines on a terminal, plain columns elsewhere.
pub fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    match io::stdout().is_terminal() {
        true => table.load_style(presets::UTF8_FULL_CONDENSED),
        false => table.load_style(presets::NOTHING),
    };
    table
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied())
        .add_rows(rows);
    table.trim_fmt()
}

/// What is known of one thing, a line each; what is empty is left out.
pub fn facts(facts: &[[&str; 2]]) -> String {
    let lines = facts
        .iter()
        .filter(|[_, value]| !value.is_empty())
        .map(|[name, value]| format!("{:<14}{value}", format!("{name}:")));
    lines.collect::<Vec<_>>().join("\n")
}

/// Yes or nothing: what is usual needs no word.
pub fn tick(truth: bool) -> String {
    match truth {
        true => "yes".to_owned(),
        false => String::new(),
    }
}
