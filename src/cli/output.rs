//! Output: the response on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};

use crate::admin::{Body, Failure, Response};
use crate::display_name::escape;

/// Minimum width of the column of names, in characters.
const NAME_COLUMNS: usize = 14;
/// Timeout for writing one line to standard error.
const STDERR_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints a response. A closed pipe is not an error.
///
/// # Errors
/// Standard output can't be written for another reason.
pub(super) fn print(response: &Response, json: bool) -> Result<(), Failure> {
    for remark in &response.remarks {
        write_stderr(remark);
    }
    let text = if json {
        response.json.to_string()
    } else {
        text(&response.body)
    };
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!(
            "standard output can't be written: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Prints a failure on standard error: as JSON for scripts, else one line per problem.
pub(super) fn print_failure(failure: &Failure, json: bool) -> ExitCode {
    if json {
        let text = failure.problems.join("; ");
        write_stderr(&serde_json::json!({ "error": text }).to_string());
    } else {
        for problem in &failure.problems {
            write_stderr(&format!("error: {problem}"));
        }
    }
    ExitCode::from(failure.code)
}

fn text(body: &Body) -> String {
    match body {
        Body::Text(text) => lines(text),
        Body::Table { header, rows } => table(header, rows, OutputMode::of_stdout()),
        Body::Facts(facts) => {
            let longest = facts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            // Room for the colon and at least one space.
            let width = NAME_COLUMNS.max(longest + 2);
            let lines = facts.iter();
            let lines = lines
                .map(|(name, value)| format!("{:<width$}{}", format!("{name}:"), escape(value)));
            lines.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Prints a line on standard error. Gives up after [`STDERR_TIMEOUT`], so that a server can exit even if
/// its log is not read.
pub(super) fn write_stderr(text: &str) {
    let line = format!("{}\n", lines(text));
    let (done, format_value) = mpsc::channel();
    let writing = thread::Builder::new().spawn(move || {
        let _ = io::stderr().write_all(line.as_bytes());
        let _ = done.send(());
    });
    if writing.is_ok() {
        let _ = format_value.recv_timeout(STDERR_TIMEOUT);
    }
}

/// A text of several lines, with terminal control characters escaped.
fn lines(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(escape).collect();
    lines.join("\n")
}

/// The output medium of a table.
#[derive(Debug, Clone, Copy)]
enum OutputMode {
    /// Input of another program: one line per row.
    Pipe,
    /// The terminal's width in columns, if known.
    Terminal(Option<u16>),
}

impl OutputMode {
    fn of_stdout() -> OutputMode {
        let stdout = io::stdout();
        if !stdout.is_terminal() {
            return OutputMode::Pipe;
        }
        let size = rustix::termios::tcgetwinsize(&stdout).ok();
        OutputMode::Terminal(size.map(|size| size.ws_col).filter(|columns| *columns > 0))
    }
}

/// Rows under a header: a ruled table that fits the width of a terminal, plain columns elsewhere.
fn table(header: &[String], rows: &[Vec<String>], mode: OutputMode) -> String {
    let mut table = Table::new();
    match mode {
        OutputMode::Pipe => table.load_style(presets::NOTHING),
        OutputMode::Terminal(_) => table.load_style(presets::UTF8_FULL_CONDENSED),
    };
    match mode {
        OutputMode::Terminal(Some(columns)) => table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(columns),
        _ => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let rows = rows.iter().map(|row| row.iter().map(|cell| escape(cell)));
    table.set_header(header).add_rows(rows);
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fits_the_terminal_and_has_one_line_per_row_elsewhere() {
        let header = ["ID", "NAME"].map(str::to_owned);
        let id = "0b0b2a3c-1111-2222-3333-444455556666".to_owned();
        let rows = [vec![
            id.clone(),
            "a name of many words that is long".to_owned(),
        ]];
        for columns in [40, 60, 200] {
            let table = table(&header, &rows, OutputMode::Terminal(Some(columns)));
            let widest = table.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(columns.into()), "{columns}\n{table}");
        }
        for mode in [OutputMode::Pipe, OutputMode::Terminal(None)] {
            assert!(table(&header, &rows, mode).contains(&format!("{id} ")));
        }
        assert_eq!(table(&header, &rows, OutputMode::Pipe).lines().count(), 2);
    }

    #[test]
    fn control_characters_in_names_are_escaped() {
        let name = "\u{1b}[2J\nadmin\u{202e}".to_owned();
        let header = ["NAME".to_owned()];
        let table = table(&header, &[vec![name.clone()]], OutputMode::Pipe);
        let facts = text(&Body::Facts(vec![("Name".to_owned(), name.clone())]));
        let whole = text(&Body::Text(format!("Created {}", name.replace('\n', " "))));
        for shown in [table, facts, whole] {
            assert!(shown.contains("\\u{1b}[2J"), "{shown}");
            assert!(shown.contains("admin\\u{202e}"), "{shown}");
        }
    }

    #[test]
    fn the_values_of_facts_are_aligned() {
        let fact = |name: &str| (name.to_owned(), "yes".to_owned());
        let text = text(&Body::Facts(vec![fact("TURN over TLS"), fact("Up")]));
        assert_eq!(text, "TURN over TLS: yes\nUp:            yes");
        let text = self::text(&Body::Facts(vec![fact("clients")]));
        assert_eq!(text, "clients:      yes");
    }
}
