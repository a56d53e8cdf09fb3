//! Standard output for answers, standard error for everything said about them.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};

use crate::control::{Answer, Body, Failure};

/// Prints an answer. A reader who has gone away is no fault of ours.
///
/// # Errors
/// Where standard output can't be written for another reason.
pub fn print(answer: &Answer, json: bool) -> Result<(), Failure> {
    for remark in &answer.remarks {
        note(remark);
    }
    let text = match json {
        true => answer.json.to_string(),
        false => text(&answer.body),
    };
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::refused(format!(
            "standard output can't be written: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Prints a failure on standard error: as JSON for scripts, else a line for each problem.
pub fn report(failure: &Failure, json: bool) -> ExitCode {
    match json {
        true => {
            let text = failure.problems.join("; ");
            note(&serde_json::json!({ "error": text }).to_string());
        }
        false => {
            for problem in &failure.problems {
                note(&format!("error: {problem}"));
            }
        }
    }
    ExitCode::from(failure.code)
}

fn text(body: &Body) -> String {
    match body {
        Body::Text(text) => text.clone(),
        Body::Table { header, rows } => table(header, rows),
        Body::Facts(facts) => {
            let lines = facts.iter();
            let lines = lines.map(|(name, value)| format!("{:<14}{value}", format!("{name}:")));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Says something on standard error, if anybody reads it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Rows under a header: with lines on a terminal, plain columns elsewhere.
fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    match io::stdout().is_terminal() {
        true => table.load_style(presets::UTF8_FULL_CONDENSED),
        false => table.load_style(presets::NOTHING),
    };
    table
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header)
        .add_rows(rows);
    table.trim_fmt()
}
