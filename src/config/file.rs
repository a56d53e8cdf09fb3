//! The layer of the configuration file: its location, its permissions, and its settings by line.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::aliases;
use super::schema::Schema;
use super::value_source::{Diagnostic, Layer, ValueSource};
use crate::text_file;

/// The maximum size of a configuration file.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The file to read, and remarks on a skipped one.
pub(super) struct LocatedFile {
    pub path: Option<PathBuf>,
    pub remarks: Vec<String>,
}

/// Returns `local` if root or `caller` owns it and no other user may write it, else `system`.
pub(super) fn locate(local: &Path, system: &Path, caller: u32) -> LocatedFile {
    let mut remarks = Vec::new();
    match fs::symlink_metadata(local) {
        Ok(link) => match untrusted_reason(local, &link, caller) {
            None => {
                return LocatedFile {
                    path: Some(local.to_owned()),
                    remarks,
                };
            }
            Some(reason) => remarks.push(format!(
                "{} was skipped, because {reason}; use --config to read it anyway",
                local.display()
            )),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => remarks.push(format!("{} was skipped: {error}", local.display())),
    }
    let path = system.exists().then(|| system.to_owned());
    LocatedFile { path, remarks }
}

/// Returns why a file in the current directory cannot be trusted.
fn untrusted_reason(path: &Path, link: &Metadata, caller: u32) -> Option<String> {
    let foreign = |owner: u32| owner != 0 && owner != caller;
    if foreign(link.uid()) {
        return Some(format!("user {} owns it", link.uid()));
    }
    let target = match fs::metadata(path) {
        Ok(target) => target,
        Err(error) => return Some(format!("it can't be accessed ({error})")),
    };
    if foreign(target.uid()) {
        return Some(format!("user {} owns it", target.uid()));
    }
    if !target.is_file() {
        return Some("it is not a file".to_owned());
    }
    match target.mode() & 0o022 {
        0 => None,
        _ => Some("others may write it (fix it with `chmod go-w`)".to_owned()),
    }
}

/// Returns whether every user of this host may read the file.
pub(super) fn is_world_readable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0)
}

/// Reads the settings of `path`, with their lines. Errors are an unreadable file, invalid TOML, unknown
/// keys, and values of the wrong type.
pub(super) fn read(path: &Path, schema: &Schema) -> Layer {
    match text_file::read(path, MAX_FILE_BYTES) {
        Ok(text) => parse(path, &text, schema),
        Err(error) => {
            let text = format!("configuration file {} {error}", path.display());
            vec![Err(Diagnostic::new(ValueSource::BuiltIn, "", text))]
        }
    }
}

fn parse(path: &Path, text: &str, schema: &Schema) -> Layer {
    let lines = Lines::new(path, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // The parser's recovery after a syntax error is a guess: report only the syntax.
        let messages = errors.iter().map(|error| {
            let start = error.span().map_or(0, |span| span.start);
            Err(Diagnostic::new(lines.source(start), "", error.message()))
        });
        return sorted_by_line(messages.collect());
    }
    let mut reader = TableReader {
        schema,
        lines,
        layer: Layer::new(),
    };
    reader.section("", table.get_ref());
    sorted_by_line(reader.layer)
}

fn sorted_by_line(mut layer: Layer) -> Layer {
    layer.sort_by_key(|one| match one {
        Ok(entry) => entry.source.line(),
        Err(diagnostic) => diagnostic.source.line(),
    });
    layer
}

struct TableReader<'a> {
    schema: &'a Schema,
    lines: Lines<'a>,
    layer: Layer,
}

impl TableReader<'_> {
    fn section(&mut self, above: &str, table: &DeTable) {
        for (name, value) in table {
            let key = match above {
                "" => name.get_ref().to_string(),
                above => format!("{above}.{}", name.get_ref()),
            };
            let source = self.lines.source(name.span().start);
            self.setting(key, source, value);
        }
    }

    fn setting(&mut self, key: String, source: ValueSource, value: &Spanned<DeValue>) {
        if let Some((old, new)) = aliases::find(&key) {
            let layer = self.schema.setting(new, json(value.get_ref()), source);
            return self.layer.extend(aliases::mark(layer, old));
        }
        let violation = if let Some(default) = self.schema.default_of(&key) {
            let value = match (default, json(value.get_ref())) {
                (Value::Array(_), item @ Value::String(_)) => Value::Array(vec![item]),
                (_, value) => value,
            };
            return self.layer.extend(self.schema.setting(&key, value, source));
        } else if !self.schema.is_section(&key) {
            let (kind, near) = match value.get_ref() {
                DeValue::Table(_) if !key.contains('.') => {
                    ("section", self.schema.nearest_section(&key))
                }
                _ => ("key", self.schema.nearest(&key)),
            };
            match near {
                Some(near) => format!("is not a known {kind}; did you mean {near}?"),
                None => format!("is not a known {kind}"),
            }
        } else if let DeValue::Table(table) = value.get_ref() {
            return self.section(&key, table);
        } else {
            format!("is a section: write [{key}] and its keys below")
        };
        self.layer
            .push(Err(Diagnostic::new(source, &key, violation)));
    }
}

/// Converts a TOML value to JSON. Dates become text, because no setting is a date.
fn json(value: &DeValue) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
            .map_or_else(|_| Value::String(digits.to_string()), Value::from),
        DeValue::Float(digits) => digits
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or_else(|| Value::String(digits.to_string()), Value::Number),
        DeValue::Boolean(truth) => Value::Bool(*truth),
        DeValue::Datetime(date) => Value::String(date.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => table
            .iter()
            .map(|(name, value)| (name.get_ref().to_string(), json(value.get_ref())))
            .collect::<Map<_, _>>()
            .into(),
    }
}

struct Lines<'a> {
    path: &'a Path,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(path: &'a Path, text: &str) -> Lines<'a> {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Lines {
            path,
            starts: std::iter::once(0).chain(newlines).collect(),
        }
    }

    fn source(&self, offset: usize) -> ValueSource {
        ValueSource::File {
            path: self.path.to_owned(),
            line: self.starts.partition_point(|start| *start <= offset),
        }
    }
}

#[cfg(test)]
mod tests;
