//! Loads a configuration: merges the layers, checks the result, and collects every diagnostic.

use std::path::PathBuf;

use super::file;
use super::layers::MergedLayers;
use super::settings::Config;
use super::sources::Sources;
use super::validate::validate;
use super::value_source::{Diagnostic, ValueSource, ValueSources};

#[cfg(test)]
mod tests;

/// The maximum number of errors that are reported.
const MAX_DIAGNOSTICS: usize = 200;

/// An effective configuration and its value sources.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// The source of each key that is not at its default.
    pub value_sources: ValueSources,
    /// Valid but risky settings.
    pub warnings: Vec<Diagnostic>,
    /// Remarks for standard error: the reason why a file was skipped.
    pub remarks: Vec<String>,
}

/// The errors of an unusable configuration.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// The errors, at least one.
    pub errors: Vec<Diagnostic>,
    /// The warnings of the values that can be read.
    pub warnings: Vec<Diagnostic>,
    pub remarks: Vec<String>,
}

/// Merges the layers and checks the result.
///
/// # Errors
/// Every error of every layer, in their order, then every violation by values that can be read.
/// A violation that may follow from an unreadable value is omitted.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let located = match &sources.file {
        Some(path) => file::LocatedFile {
            path: Some(path.clone()),
            remarks: Vec::new(),
        },
        None => file::locate(&sources.local_file, &sources.system_file, sources.caller),
    };
    let layers = MergedLayers::new(sources, located.path.as_deref());
    let mut validated = validate(layers, &sources.environment);
    if validated.errors.is_empty() {
        return Ok(Loaded {
            config: validated.config,
            file: located.path,
            value_sources: validated.value_sources,
            warnings: validated.warnings,
            remarks: located.remarks,
        });
    }
    truncate(&mut validated.errors);
    Err(ConfigErrors {
        file: located.path,
        errors: validated.errors,
        warnings: validated.warnings,
        remarks: located.remarks,
    })
}

/// Limits the number of errors. A file of another kind has thousands.
fn truncate(errors: &mut Vec<Diagnostic>) {
    if let Some(more) = errors.len().checked_sub(MAX_DIAGNOSTICS).filter(|n| *n > 0) {
        errors.truncate(MAX_DIAGNOSTICS);
        let text = format!("there are {more} more problems");
        errors.push(Diagnostic::new(ValueSource::BuiltIn, "", text));
    }
}
