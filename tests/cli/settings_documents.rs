//! `config.toml` and the tables of the reference are generated from `src/config/settings`.
//!
//! After a change there: `UPDATE=1 cargo test --test cli settings_documents`.

use std::fs;
use std::path::Path;

use parlor::config::{ReloadScope, SECTIONS, Schema, Section, Setting};
use serde_json::Value;

const UPDATE: &str = "UPDATE=1 cargo test --test cli settings_documents";

#[test]
fn config_toml_has_every_setting_with_its_default_and_its_text() {
    check_document("config.toml", |text| {
        let (head, _) = text.split_once("\n\n").expect("a comment at the top");
        let sections: String = SECTIONS.iter().map(section_of_file).collect();
        format!("{head}\n{sections}")
    });
}

#[test]
fn the_reference_has_every_setting_with_its_default_and_its_text() {
    check_document("docs/reference/configuration.md", |text| {
        let text = replace_between(text, "restart", &restart_list());
        let sections: String = SECTIONS.iter().map(section_of_reference).collect();
        replace_between(&text, "keys", &sections)
    });
}

/// Fails if a document differs from the result of `render`; with `UPDATE`, writes the result instead.
fn check_document(name: &str, render: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let text = fs::read_to_string(&path).expect(name);
    let rendered = render(&text);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, rendered).expect(name);
        return;
    }
    let different = text.lines().zip(rendered.lines()).find(|(a, b)| a != b);
    assert!(
        text == rendered,
        "{name} differs from src/config/settings: run `{UPDATE}` (first difference: {different:?})"
    );
}

/// A section of `config.toml`: its text, its name, and its keys.
fn section_of_file(section: &Section) -> String {
    let keys: Vec<_> = section.settings.iter().map(setting_of_file).collect();
    format!(
        "\n{}[{}]\n{}",
        comment(section.doc),
        section.name,
        keys.join("\n")
    )
}

fn setting_of_file(setting: &Setting) -> String {
    let (_, name) = setting.key.split_once('.').expect("a section");
    let line = match (default_of(setting), setting.example) {
        (Some(default), _) => format!("{name} = {default}\n"),
        (None, Some(example)) => format!("#{name} = {example:?}\n"),
        (None, None) => panic!("{} needs an example", setting.key),
    };
    comment(setting.doc) + &line
}

/// The first paragraph of a doc comment as comment lines.
fn comment(doc: &[&str]) -> String {
    let lines = doc.iter().take_while(|line| !line.is_empty());
    lines
        .map(|line| format!("#{}\n", without_backticks(line)))
        .collect()
}

/// Omits the backticks around a single word: a name or a value is plain text in a comment. Code of
/// several words keeps them, except a list.
fn without_backticks(line: &str) -> String {
    let parts: Vec<_> = line.split('`').collect();
    assert!(
        parts.len() % 2 == 1,
        "code spans end in their line: {line:?}"
    );
    let mut text = String::new();
    for (index, part) in parts.iter().enumerate() {
        let is_code = index % 2 == 1;
        if is_code && part.contains(' ') && !part.starts_with('[') {
            text += &format!("`{part}`");
        } else {
            text += part;
        }
    }
    text
}

/// A section of the reference: its text and the table of its keys.
fn section_of_reference(section: &Section) -> String {
    let rows = section.settings.iter().map(|setting| {
        let default = match default_of(setting) {
            Some(default) => format!("`{default}`"),
            None => "unset".to_owned(),
        };
        let text = paragraphs(setting.doc).join(" ");
        assert!(!text.contains('|'), "a bar ends a cell: {}", setting.key);
        format!("| `{}` | {default} | {text} |\n", setting.key)
    });
    format!(
        "### `[{}]`\n\n{}\n\n| key | default | what it does |\n|---|---|---|\n{}\n",
        section.name,
        paragraphs(section.doc).join("\n\n"),
        rows.collect::<String>()
    )
}

/// The paragraphs of a doc comment, each in one line.
fn paragraphs(doc: &[&str]) -> Vec<String> {
    let paragraphs = doc.split(|line| line.is_empty()).map(|lines| {
        let lines: Vec<_> = lines.iter().map(|line| line.trim()).collect();
        lines.join(" ")
    });
    paragraphs.collect()
}

fn restart_list() -> String {
    let settings = SECTIONS.iter().flat_map(|section| section.settings);
    let restart = settings.filter(|setting| setting.scope == ReloadScope::Restart);
    let keys: Vec<_> = restart
        .map(|setting| format!("`{}`", setting.key))
        .collect();
    keys.join(", ")
}

/// The default in TOML; `None` if the key is unset.
fn default_of(setting: &Setting) -> Option<String> {
    let schema = Schema::known();
    match schema.default_of(setting.key).expect("a known key") {
        Value::Null => None,
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(Value::to_string).collect();
            Some(format!("[{}]", items.join(", ")))
        }
        value => Some(value.to_string()),
    }
}

/// Replaces the text between the two comments that mark a generated part.
fn replace_between(text: &str, part: &str, generated: &str) -> String {
    let begin = format!("<!-- {part}: generated by `{UPDATE}` -->\n");
    let end = format!("<!-- end of {part} -->\n");
    let (before, rest) = text.split_once(&begin).expect("the first mark");
    let (_, after) = rest.split_once(&end).expect("the second mark");
    let generated = generated.trim_end();
    format!("{before}{begin}\n{generated}\n\n{end}{after}")
}
