//! Merges the layers: defaults, file, environment, flags. A later one outranks an earlier one.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::schema::{self, Schema};
use super::sources::{Flag, Sources};
use super::value_source::{Diagnostic, Entry, Layer, ValueSource, ValueSources};
use super::{aliases, environment, file};

/// The merged layers, as far as they can be read.
pub(super) struct MergedLayers {
    pub tree: Value,
    pub value_sources: ValueSources,
    /// Keys whose value can't be read.
    pub unreadable: BTreeSet<String>,
    /// Keys that an unreadable entry may have been meant for.
    pub suspected: BTreeSet<String>,
    /// Old and new names of renamed keys.
    pub aliases: aliases::Uses,
    pub errors: Vec<Diagnostic>,
}

impl MergedLayers {
    pub(super) fn new(sources: &Sources, file: Option<&Path>) -> MergedLayers {
        let schema = Schema::known();
        let mut layers = MergedLayers {
            tree: schema::built_in(),
            value_sources: ValueSources::new(),
            unreadable: BTreeSet::new(),
            suspected: BTreeSet::new(),
            aliases: aliases::Uses::default(),
            errors: Vec::new(),
        };
        for layer in [
            file.map_or_else(Layer::new, |path| file::read(path, &schema)),
            environment::read(&sources.environment, &schema),
            flags(&sources.flags, &schema),
        ] {
            for one in layer {
                match one {
                    Ok(entry) => layers.set(entry),
                    Err(diagnostic) => layers.reject(diagnostic, &schema),
                }
            }
        }
        layers
    }

    fn set(&mut self, entry: Entry) {
        self.aliases.record(&entry);
        schema::insert(&mut self.tree, &entry.key, entry.value);
        self.unreadable.remove(&entry.key);
        self.value_sources.insert(entry.key, entry.source);
    }

    /// Records an unreadable value. It outranks earlier values too: its key returns to the default.
    fn reject(&mut self, diagnostic: Diagnostic, schema: &Schema) {
        match schema.default_of(&diagnostic.key) {
            Some(default) => {
                schema::insert(&mut self.tree, &diagnostic.key, default.clone());
                self.value_sources.remove(&diagnostic.key);
                self.unreadable.insert(diagnostic.key.clone());
            }
            None => {
                let near = schema.likely_keys(&diagnostic.key).into_iter();
                self.suspected.extend(near.map(str::to_owned));
            }
        }
        self.errors.push(diagnostic);
    }
}

/// The layer of the command line.
fn flags(flags: &[Flag], schema: &Schema) -> Layer {
    let set = flags.iter().flat_map(|flag| {
        let source = ValueSource::Flag(flag.name.to_owned());
        schema.setting(flag.key, schema.from_text(flag.key, &flag.text), source)
    });
    set.collect()
}
