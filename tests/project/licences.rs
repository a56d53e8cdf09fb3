//! `docs/reference/licences.md` has the licences of all code in the binary. It is generated from the sources of the
//! crates and must match them.
//!
//! After a change of the dependencies: `RENEW_LICENCES=1 cargo test --test project licences`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The platform of the binary: crates of other platforms are not in it.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// The introduction above the texts.
const HEAD: &str = "\
# Licences of what is in the binary

parlor itself is under the [MIT licence](../LICENSE). Its binary holds the crates below, and what every program in Rust holds: the standard library (MIT or Apache-2.0, The Rust Project Developers) and, by `libsqlite3-sys`, SQLite, which is in the public domain. Where a crate offers a choice, this is the text that was chosen. `parlor licences` prints this file.

Generated from the sources of the crates by `RENEW_LICENCES=1 cargo test --test project licences`.
";

/// The text of a licence without the names of its copyright holders.
#[derive(Debug, Default)]
struct Licence {
    text: String,
    /// Crates, with their copyright lines.
    crates: BTreeMap<String, BTreeSet<String>>,
}

#[test]
fn the_licences_are_those_of_the_crates_in_the_binary() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/licences.md");
    let generated = generated();
    if std::env::var_os("RENEW_LICENCES").is_some() {
        fs::write(&path, &generated).expect("docs/reference/licences.md is written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let different = kept.lines().zip(generated.lines()).find(|(a, b)| a != b);
    assert!(
        kept == generated,
        "docs/reference/licences.md is not what the crates say: run \
         `RENEW_LICENCES=1 cargo test --test project licences` (first difference: {different:?})"
    );
}

#[test]
fn no_dependency_needs_a_newer_rust_than_parlor_promises() {
    let version = |text: &str| -> Vec<u32> {
        let parts = text.split('.').map(|part| part.parse().expect("a number"));
        parts.chain([0, 0]).take(3).collect()
    };
    let promised = version(env!("CARGO_PKG_RUST_VERSION"));
    let metadata = cargo_metadata();
    let packages = metadata["packages"].as_array().expect("a list");
    let newer: Vec<_> = packages
        .iter()
        .filter_map(|package| Some((&package["name"], package["rust_version"].as_str()?)))
        .filter(|(_, needed)| version(needed) > promised)
        .collect();
    assert!(packages.len() > 200, "only {} packages", packages.len());
    assert!(
        newer.is_empty(),
        "raise `rust-version` in Cargo.toml, or lock older versions: {newer:?}"
    );
}

fn generated() -> String {
    // Keyed by the text without spaces, so that different line breaks make no difference.
    let mut licences: BTreeMap<String, Licence> = BTreeMap::new();
    for (name, folder) in linked() {
        let files = licence_files(&folder);
        assert!(!files.is_empty(), "{name} has no file with its licence");
        for file in files {
            let (text, notices) = parts(&fs::read_to_string(&file).expect("text"));
            let key = text.to_lowercase().split_whitespace().collect();
            let licence = licences.entry(key).or_default();
            // Of equal texts the first in byte order, independent of the order of the crates.
            if licence.text.is_empty() || text < licence.text {
                licence.text = text;
            }
            let names = licence.crates.entry(name.clone()).or_default();
            names.extend(notices);
        }
    }
    let mut licences: Vec<_> = licences.into_values().collect();
    licences.sort_by(|a, b| {
        let by_use = b.crates.len().cmp(&a.crates.len());
        by_use.then_with(|| a.crates.keys().cmp(b.crates.keys()))
    });
    let mut page = HEAD.to_owned();
    for (index, licence) in licences.iter().enumerate() {
        write!(page, "\n## Text {}\n\n", index + 1).unwrap();
        for (name, notices) in &licence.crates {
            let notices = notices.iter().map(String::as_str).collect::<Vec<_>>();
            writeln!(page, "- `{name}` {}", notices.join("; ")).unwrap();
        }
        write!(page, "\n```text\n{}\n```\n", licence.text).unwrap();
    }
    page.lines()
        .fold(String::new(), |text, line| text + line.trim_end() + "\n")
}

/// The output of `cargo metadata` for the locked packages.
fn cargo_metadata() -> Value {
    let output = Command::new(std::env::var_os("CARGO").expect("cargo runs this"))
        .args(["metadata", "--locked", "--format-version", "1"])
        .args(["--filter-platform", PLATFORM])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The crates in the binary and the paths of their sources: runtime dependencies, without macros.
fn linked() -> BTreeMap<String, PathBuf> {
    let metadata = cargo_metadata();
    let list = |value: &Value| value.as_array().expect("a list").clone();
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let by_id = |values: Vec<Value>| -> BTreeMap<String, Value> {
        let values = values.into_iter();
        values.map(|value| (text(&value["id"]), value)).collect()
    };
    let packages = by_id(list(&metadata["packages"]));
    let nodes = by_id(list(&metadata["resolve"]["nodes"]));
    let root = text(&metadata["resolve"]["root"]);
    let (mut found, mut open) = (BTreeMap::new(), vec![root.clone()]);
    let mut seen = BTreeSet::from([root.clone()]);
    while let Some(id) = open.pop() {
        let package = &packages[&id];
        if id != root {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let folder = manifest.parent().expect("a folder").to_owned();
            found.insert(text(&package["name"]), folder);
        }
        for dependency in list(&nodes[&id]["deps"]) {
            let id = text(&dependency["pkg"]);
            let is_normal = list(&dependency["dep_kinds"])
                .iter()
                .any(|kind| kind["kind"].is_null());
            let is_macro = list(&packages[&id]["targets"])
                .iter()
                .any(|target| list(&target["kind"]).contains(&Value::from("proc-macro")));
            if is_normal && !is_macro && seen.insert(id.clone()) {
                open.push(id);
            }
        }
    }
    found
}

/// The files of the chosen licence: MIT if offered, else BSD, else ISC; and additional files.
fn licence_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = name_of(&path);
        if path.is_dir() && name == "LICENSES" {
            let inside = fs::read_dir(path).expect("a folder");
            files.extend(inside.map(|entry| entry.expect("an entry").path()));
        } else if path.is_file()
            && ["LICENSE", "LICENCE", "NOTICE"]
                .iter()
                .any(|word| name.starts_with(word))
        {
            files.push(path);
        }
    }
    files.sort();
    const CHOICES: [&str; 4] = ["MIT", "BSD", "ISC", "APACHE"];
    let is = |file: &PathBuf, choice: &str| name_of(file).contains(choice);
    let chosen = CHOICES
        .iter()
        .find(|choice| files.iter().any(|file| is(file, choice)));
    let Some(chosen) = chosen else {
        return files;
    };
    // A plain LICENSE beside them only states that there is a choice.
    let plain = ["LICENSE", "LICENSE.MD", "LICENSE.TXT"];
    let rejected = |file: &PathBuf| {
        let name = name_of(file);
        plain.contains(&name.as_str()) || CHOICES.iter().any(|choice| name.contains(choice))
    };
    files.retain(|file| is(file, chosen) || !rejected(file));
    files
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().expect("a name");
    name.to_str().expect("a plain name").to_uppercase()
}

/// The text of a licence, and the copyright lines at its beginning.
fn parts(file: &str) -> (String, BTreeSet<String>) {
    let mut notices = BTreeSet::new();
    let mut lines = file.lines().map(str::trim_end).peekable();
    let is_title = |line: &str| {
        let line = line.to_lowercase();
        line.len() < 40 && line.contains("license") && !line.contains("apache")
    };
    while let Some(line) = lines.peek() {
        let line = line.trim();
        if line.to_lowercase().starts_with("copyright") {
            notices.insert(line.to_owned());
        } else if !line.is_empty() && !line.starts_with("All rights") && !is_title(line) {
            break;
        }
        lines.next();
    }
    let text = lines.collect::<Vec<_>>().join("\n");
    (text.trim_end().to_owned(), notices)
}
