//! `parlor check`: lists all errors and warnings of the configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::config::{self, Diagnostic, Sources, ValueSource};

use super::output::print;
use crate::admin::{EXIT_USAGE, Failure, Response};
use crate::plural::counted;

/// Prints the result on standard output: here, problems are the response. The exit code is 2 if there is
/// an error.
pub(super) fn run(sources: &Sources, as_json: bool) -> Result<ExitCode, Failure> {
    let mut segmentation = None;
    let (file, problems, warnings, remarks) = match config::load(sources) {
        Ok(loaded) => {
            segmentation = Some(loaded.config.turn.segmentation);
            (loaded.file, Vec::new(), loaded.warnings, loaded.remarks)
        }
        Err(errors) => (errors.file, errors.errors, errors.warnings, errors.remarks),
    };
    let segmentation = segmentation.map(|setting| setting.decide());
    let value = json!({
        "file": file,
        "problems": values(&problems),
        "warnings": values(&warnings),
        "segmentation": segmentation.as_ref().map(|one| json!({ "used": one.used, "reason": one.reason })),
    });
    let mut lines = Vec::new();
    lines.extend(problems.iter().map(|problem| format!("error: {problem}")));
    lines.extend(warnings.iter().map(|warning| format!("warning: {warning}")));
    let affected = segmentation.filter(|one| one.affected);
    lines.extend(affected.map(|one| format!("segmentation of UDP datagrams is {}", one.text())));
    lines.push(summary(file, problems.len(), warnings.len()));
    let mut response = Response::new(value, lines.join("\n"));
    response.remarks = remarks;
    print(&response, as_json)?;
    Ok(if problems.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_USAGE)
    })
}

fn summary(file: Option<PathBuf>, problems: usize, warnings: usize) -> String {
    let what = match file {
        Some(path) => path.display().to_string(),
        None => "the configuration (no file)".to_owned(),
    };
    match (problems, warnings) {
        (0, 0) => format!("{what} is valid"),
        (0, _) => format!("{what} is valid, with {}", counted(warnings, "warning")),
        (_, 0) => format!("{what} has {}", counted(problems, "error")),
        _ => format!(
            "{what} has {} and {}",
            counted(problems, "error"),
            counted(warnings, "warning")
        ),
    }
}

fn values(problems: &[Diagnostic]) -> Vec<Value> {
    let value = |problem: &Diagnostic| {
        let mut value = source_json(&problem.source);
        value["key"] = match problem.key.as_str() {
            "" => Value::Null,
            key => key.into(),
        };
        value["problem"] = problem.text.as_str().into();
        value
    };
    problems.iter().map(value).collect()
}

/// Returns the source of a value as JSON; the other kinds of source are null.
pub(super) fn source_json(source: &ValueSource) -> Value {
    let mut value = json!({ "file": null, "line": null, "variable": null, "flag": null });
    match source {
        ValueSource::BuiltIn => {}
        ValueSource::File { path, line } => {
            value["file"] = path.display().to_string().into();
            value["line"] = (*line).into();
        }
        ValueSource::Variable(name) => value["variable"] = name.as_str().into(),
        ValueSource::Flag(name) => value["flag"] = name.as_str().into(),
    }
    value
}
