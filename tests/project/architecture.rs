//! The rules of the architecture, checked against the files. `docs/architecture.md` gives the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;

use crate::files::{self, TOP_LEVEL, files, name, project_files, root};
use crate::imports;

/// Lines of a file in `src`, its tests included.
const MAX_LINES: usize = 500;

/// Imports between two modules of one layer; the values of layer 0 may import each other.
const NEIGHBOURS: [(&str, &str); 4] = [
    ("main", "cli"),
    ("cli", "daemon"),
    ("cli", "bench"),
    ("relay", "ingress"),
];

/// All that the edges and the service may name of the relay; `daemon` and `bench` build one.
const RELAY_INTERFACE: [&str; 1] = ["Handle"];

#[test]
fn imports_point_down_the_layers() {
    let layers = layers();
    let mut faults = Vec::new();
    for import in imports::of_project() {
        let layer = |module: &str| {
            let layer = layers.get(module).copied();
            layer.unwrap_or_else(|| panic!("{module} is in no layer: add it to src/lib.rs's table"))
        };
        let (importer, imported) = (import.importer(), import.imported());
        let (from, to) = (layer(importer), layer(imported));
        let allowed =
            importer == imported || from == 0 || NEIGHBOURS.contains(&(importer, imported));
        if from < to || from == to && !allowed {
            faults.push(format!("{import} (from layer {from} to layer {to})"));
        }
    }
    assert_clean(
        &faults,
        "move what both need to a lower layer, or let a higher layer pass it as an argument",
    );
}

#[test]
fn no_files_import_each_other_in_a_cycle() {
    let cycles = imports::cycles(imports::of_project());
    let faults: Vec<_> = cycles
        .iter()
        .flat_map(|cycle| cycle.iter().map(|import| import.to_string()))
        .collect();
    assert_clean(
        &faults,
        "move what two files need from each other into a third",
    );
}

#[test]
fn the_table_of_layers_names_every_module() {
    let lib = read("src/lib.rs");
    let modules = lib.lines().filter_map(|line| {
        let name = line.strip_prefix("pub mod ")?.strip_suffix(';')?;
        Some(name.to_owned())
    });
    let modules: BTreeSet<_> = modules.chain(["main".to_owned()]).collect();
    let named: BTreeSet<_> = layers().into_keys().collect();
    assert_eq!(
        named, modules,
        "the table at the top of src/lib.rs (left) and its modules (right) must be the same"
    );
}

#[test]
fn turn_and_room_import_neither_each_other_nor_the_configuration() {
    let pure = ["turn", "room"];
    let faults: Vec<_> = imports::of_project()
        .iter()
        .filter(|import| pure.contains(&import.importer()))
        .filter(|import| import.importer() != import.imported())
        .filter(|import| ["turn", "room", "config"].contains(&import.imported()))
        .map(|import| import.to_string())
        .collect();
    assert_clean(
        &faults,
        "`service` and `relay::Handle` connect them; small types that both need belong to `net`",
    );
}

#[test]
fn edges_and_service_name_the_handle_of_the_relay_alone() {
    let faults: Vec<_> = imports::of_project()
        .iter()
        .filter(|import| import.imported() == "relay")
        .filter(|import| ["http", "admin", "acme", "service"].contains(&import.importer()))
        .filter(|import| !RELAY_INTERFACE.contains(&&*import.name))
        .map(|import| import.to_string())
        .collect();
    assert_clean(
        &faults,
        "command the relay through its `Handle`, or let `daemon` pass what is needed",
    );
}

#[test]
fn the_state_machines_have_no_socket_no_clock_no_task_and_no_log() {
    let banned = [
        "tokio",
        "mio::",
        "async ",
        ".await",
        "std::thread",
        "std::fs",
        "std::env",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "clock::now",
        "SystemRandom",
        "rand::rng(",
        "tracing::",
        "metrics::",
    ];
    let machines = |source: &Source| {
        ["turn", "room", "stun"].contains(&&*source.top_module) && !source.is_test()
    };
    let faults = find(machines, &banned);
    assert_clean(
        &faults,
        "a state machine takes bytes, time and a seed as arguments, and returns what to do: let \
         the edge do it",
    );
}

#[test]
fn no_file_of_the_source_is_longer_than_500_lines() {
    let mut faults = Vec::new();
    for path in files(&root().join("src")) {
        let lines = fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        if lines > MAX_LINES {
            faults.push(format!("{}: {lines} lines", name(&path)));
        }
    }
    assert_clean(&faults, "split it along a natural line");
}

#[test]
fn all_sql_is_in_storage() {
    let sql = [
        "rusqlite",
        "SELECT ",
        "INSERT ",
        "UPDATE ",
        "DELETE FROM",
        "CREATE TABLE",
        "PRAGMA ",
        "BEGIN IMMEDIATE",
    ];
    let mut faults = find(|source| source.top_module != "storage", &sql);
    let stray = files(&root().join("src"))
        .into_iter()
        .map(|path| name(&path));
    faults.extend(stray.filter(|name| name.ends_with(".sql") && !name.starts_with("src/storage/")));
    assert_clean(&faults, "give `storage` a method that does it");
}

#[test]
fn unsafe_code_is_in_one_directory() {
    let allowed = |source: &Source| source.name.starts_with("src/relay/udp/");
    let faults = find(
        |source| !allowed(source),
        &["unsafe_code", "unsafe {", "unsafe impl"],
    );
    assert_clean(
        &faults,
        "use what a crate offers, or put it into src/relay/udp",
    );
}

#[test]
fn no_file_names_a_place_of_one_machine() {
    // Written apart, so that this file does not name them.
    let places = [
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("index-", "url"),
        concat!("replace-", "with"),
        concat!("[source", ".crates-io]"),
        concat!("CARGO_", "REGISTRIES"),
    ];
    let mut faults = Vec::new();
    for path in project_files() {
        // Pictures are not text.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place)) {
                faults.push(format!("{}:{}: {}", name(&path), number + 1, line.trim()));
            }
            let source = line.strip_prefix("source = ");
            let official = concat!(
                "\"registry+https://github.com/rust-lang/",
                "crates.io-index\""
            );
            if source.is_some_and(|source| source != official) && name(&path) == "Cargo.lock" {
                faults.push(format!("Cargo.lock:{}: {line}", number + 1));
            }
        }
    }
    assert_clean(
        &faults,
        "other machines have no such path: use the environment and the official registry",
    );
}

#[test]
fn the_top_level_holds_what_was_agreed_and_nothing_else() {
    let here = top_level().into_iter();
    let strange: Vec<_> = here
        .filter(|name| name != ".git" && name != "target")
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert_clean(
        &strange,
        "find it a place below, or add it to docs/architecture.md and to this test, with a reason",
    );
    let map = read("docs/architecture.md");
    for name in TOP_LEVEL {
        assert!(
            map.contains(&format!("`{name}`")) || map.contains(&format!("`{name}/`")),
            "docs/architecture.md does not say what `{name}` is for"
        );
    }
}

#[test]
fn every_rule_of_the_rfcs_names_a_test_that_exists() {
    let known = known_tests();
    let relay = read("docs/inside/relay.md");
    let section = relay.split("\n## ").find(|s| s.starts_with("Conformance"));
    let section = section.expect("docs/inside/relay.md has a section `Conformance`");
    let mut rules = 0;
    for row in section.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let &[clause, _, held_by] = &cells[..] else {
            continue;
        };
        if clause.trim().starts_with("RFC") {
            continue;
        }
        rules += 1;
        let mut tests = held_by.split('`').skip(1).step_by(2).peekable();
        assert!(tests.peek().is_some(), "no test holds this rule: {row}");
        for test in tests {
            assert!(
                known.contains(test),
                "docs/inside/relay.md says that `{test}` holds a rule, but there is no such test"
            );
        }
    }
    assert!(
        rules >= 40,
        "only {rules} rules are left in docs/inside/relay.md"
    );
}

#[test]
fn every_path_that_the_map_names_exists() {
    let map = read("docs/architecture.md");
    let mut paths = 0;
    for quoted in map.split('`').skip(1).step_by(2) {
        let first = quoted.split('/').next().unwrap_or("");
        if !quoted.contains('/') || !TOP_LEVEL.contains(&first) {
            continue;
        }
        paths += 1;
        assert!(
            root().join(quoted).exists(),
            "docs/architecture.md names `{quoted}`, which is not there any more"
        );
    }
    assert!(paths > 20, "the map names only {paths} files");
}

/// A file of Rust in `src`.
struct Source {
    /// From the top of the project.
    name: String,
    /// The module below the crate that it belongs to.
    top_module: String,
    /// Its own module, from below the crate.
    module: Vec<String>,
    text: String,
}

impl Source {
    /// Numbered lines, without those that are comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = self.text.lines().enumerate();
        lines
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
            .map(|(index, line)| (index + 1, line))
    }

    /// Whether all of it is compiled for tests only (`room::model` is what its machine is held
    /// against).
    fn is_test(&self) -> bool {
        self.module
            .iter()
            .any(|name| name == "tests" || name == "model")
    }
}

/// The modules and their layers, from the table in `src/lib.rs`.
fn layers() -> BTreeMap<String, u8> {
    let mut layers = BTreeMap::new();
    for line in read("src/lib.rs").lines() {
        let Some(row) = line.strip_prefix("//! | ") else {
            continue;
        };
        let Some(layer) = row.chars().next().and_then(|c| c.to_digit(10)) else {
            continue;
        };
        for module in row.split('`').skip(1).step_by(2) {
            layers.insert(module.to_owned(), layer as u8);
        }
    }
    assert!(
        layers.len() > 10,
        "src/lib.rs has no table of layers any more"
    );
    layers
}

/// Every file of Rust in `src` but the list of modules.
fn sources() -> Vec<Source> {
    let source = |(name, text): (String, String)| {
        let module = imports::module_path(&name);
        let top_module = module.first()?.clone();
        Some(Source {
            name,
            top_module,
            module,
            text,
        })
    };
    files::sources().into_iter().filter_map(source).collect()
}

fn find(which: impl Fn(&Source) -> bool, banned: &[&str]) -> Vec<String> {
    let sources = sources();
    let which = sources.iter().filter(|source| which(source));
    which.flat_map(|source| find_in(source, banned)).collect()
}

fn find_in(source: &Source, banned: &[&str]) -> Vec<String> {
    let lines = source.code();
    lines
        .filter(|(_, line)| banned.iter().any(|text| contains(line, text)))
        .map(|(number, line)| format!("{}:{number}: {}", source.name, line.trim()))
        .collect()
}

/// Whether a line contains `text`; a keyword such as `.await` must not be part of a longer name.
fn contains(line: &str, text: &str) -> bool {
    line.match_indices(text).any(|(at, _)| {
        let next = line[at + text.len()..].chars().next();
        text != ".await" || !next.is_some_and(char::is_alphanumeric)
    })
}

/// The names of all tests.
fn known_tests() -> BTreeSet<String> {
    let all = files(&root().join("src"))
        .into_iter()
        .chain(files(&root().join("tests")));
    let texts = all.map(|path| fs::read_to_string(&path).unwrap_or_default());
    texts.flat_map(|text| tests_in(&text)).collect()
}

/// The names of the test functions in a file: those below a test attribute, and those in a macro
/// that adds it (`in_a_namespace!` of the browser tests).
fn tests_in(text: &str) -> Vec<String> {
    let mut tests = Vec::new();
    let (mut marked, mut in_macro) = (false, false);
    for line in text.lines() {
        let inner = line.trim();
        if !line.starts_with(' ') && !line.is_empty() {
            in_macro = line.ends_with("! {");
        }
        if inner.starts_with("#[test]") || inner.starts_with("#[tokio::test") {
            marked = true;
        } else if let Some(rest) = inner.trim_start_matches("async ").strip_prefix("fn ") {
            if marked || in_macro && line.starts_with("    fn ") {
                tests.push(word(rest).to_owned());
            }
            marked = false;
        }
    }
    tests
}

/// The identifier that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The entries of the top level that git tracks (editors may keep folders there), or all without git.
fn top_level() -> BTreeSet<String> {
    let git = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files"])
        .current_dir(root())
        .output();
    let known = match git {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
        _ => String::new(),
    };
    let known = known.lines().filter_map(|path| path.split('/').next());
    let known: BTreeSet<_> = known.map(str::to_owned).collect();
    if !known.is_empty() {
        return known;
    }
    let here = fs::read_dir(root()).expect("the project can be listed");
    let here = here.map(|entry| entry.expect("an entry").file_name());
    here.map(|name| name.to_str().expect("a plain name").to_owned())
        .collect()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn assert_clean(faults: &[String], what_to_do: &str) {
    assert!(
        faults.is_empty(),
        "{what_to_do}:\n  {}",
        faults.join("\n  ")
    );
}
