//! The files of the project.

use std::fs;
use std::path::{Path, PathBuf};

/// The top level that the user prescribed, and the files that Rust and git expect there.
pub(crate) const TOP_LEVEL: [&str; 14] = [
    ".ci",
    ".gitignore",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "benches",
    "clippy.toml",
    "config.toml",
    "deny.toml",
    "docs",
    "src",
    "systemd",
    "tests",
];

/// Every file that belongs to the project.
pub(crate) fn project_files() -> Vec<PathBuf> {
    let top = TOP_LEVEL.map(|name| root().join(name)).into_iter();
    top.flat_map(|path| {
        if path.is_dir() {
            files(&path)
        } else {
            vec![path]
        }
    })
    .collect()
}

/// Every file below a directory, in order; what is built or fetched is no part of it.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else {
        return found;
    };
    for entry in entries {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true if path.file_name().is_some_and(|name| name == "target") => {}
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found.sort();
    found
}

/// A path from the top of the project, as in `src/http/mod.rs`.
pub(crate) fn name(path: &Path) -> String {
    let inner = path.strip_prefix(root()).expect("a path of the project");
    inner.to_str().expect("a plain name").to_owned()
}

/// The top of the project.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Name and text of every Rust file in `src`.
pub(crate) fn sources() -> Vec<(String, String)> {
    let sources = files(&root().join("src")).into_iter();
    let sources = sources.filter(|path| path.extension().is_some_and(|ending| ending == "rs"));
    sources
        .map(|path| {
            (
                name(&path),
                fs::read_to_string(&path).expect("a source is text"),
            )
        })
        .collect()
}
