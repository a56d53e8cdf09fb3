//! The rules of the house, read off its files. `docs/architecture.md` says why they are there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Lines of a file in `src`, its tests included.
const LONGEST: usize = 600;

/// Who may look at a neighbour on the same floor; on floor 0 anybody may, but not in a circle.
const NEIGHBOURS: [(&str, &str); 5] = [
    ("main", "cli"),
    ("cli", "daemon"),
    ("cli", "bench"),
    ("http", "relay"),
    ("admin", "http"),
];

/// All that `http` may name of `relay`.
const RELAY_FOR_HTTP: [&str; 1] = ["Handle"];

/// What the user prescribed, and what Rust and git expect beside it.
const TOP_LEVEL: [&str; 14] = [
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

#[test]
fn imports_point_down_the_floors() {
    let floors = floors();
    let mut faults = Vec::new();
    for import in imports() {
        let floor = |room: &str| {
            let floor = floors.get(room).copied();
            floor.unwrap_or_else(|| panic!("{room} is on no floor: add it to src/lib.rs's table"))
        };
        let (from, to) = (floor(&import.from), floor(&import.to));
        let beside = NEIGHBOURS.contains(&(&import.from, &import.to));
        if from < to || from == to && from > 0 && !beside {
            faults.push(format!(
                "{import}: `{}` is on floor {from}, `{}` on floor {to}",
                import.from, import.to
            ));
        }
    }
    assert_clean(
        &faults,
        "move what both need to a lower floor, or let a higher floor hand it over",
    );
}

#[test]
fn the_values_on_floor_0_do_not_import_each_other_in_a_circle() {
    let floors = floors();
    let mut below: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for import in imports().into_iter().filter(|i| floors[&i.from] == 0) {
        below.entry(import.from).or_default().insert(import.to);
    }
    // Whoever imports nothing that is left is taken away, until nobody is left but a circle.
    while let Some(done) = below
        .iter()
        .find(|(_, to)| to.iter().all(|to| !below.contains_key(to)))
        .map(|(from, _)| from.clone())
    {
        below.remove(&done);
    }
    assert!(
        below.is_empty(),
        "take one of these imports out of the circle: {below:?}"
    );
}

#[test]
fn the_table_of_floors_names_every_room_of_the_house() {
    let lib = read("src/lib.rs");
    let modules = lib.lines().filter_map(|line| {
        let name = line.strip_prefix("pub mod ")?.strip_suffix(';')?;
        Some(name.to_owned())
    });
    let modules: BTreeSet<_> = modules.chain(["main".to_owned()]).collect();
    let named: BTreeSet<_> = floors().into_keys().collect();
    assert_eq!(
        named, modules,
        "the table at the top of src/lib.rs (left) and its modules (right) must be the same"
    );
}

#[test]
fn turn_and_room_know_nothing_of_each_other() {
    let faults = imports()
        .into_iter()
        .filter(|i| matches!((&*i.from, &*i.to), ("turn", "room") | ("room", "turn")))
        .map(|import| import.to_string())
        .collect::<Vec<_>>();
    assert_clean(
        &faults,
        "what joins them passes through `http` and `relay::Handle`, wired by `daemon`",
    );
}

#[test]
fn http_knows_nothing_of_the_relay_but_its_handle() {
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| source.room == "http") {
        for (number, line) in source.code() {
            for (at, _) in line.match_indices("relay::") {
                let word = word(&line[at + "relay::".len()..]);
                let other = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if !other && !RELAY_FOR_HTTP.contains(&word) {
                    faults.push(format!("{}:{number}: {}", source.name, line.trim()));
                }
            }
        }
    }
    assert_clean(
        &faults,
        "tell the relay by its `Handle`, or let `daemon` hand over what is needed",
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
    let machines =
        |source: &Source| ["turn", "room", "stun"].contains(&&*source.room) && !source.is_test();
    let faults = find(machines, &banned);
    assert_clean(
        &faults,
        "a state machine takes bytes, time and a seed as arguments, and returns what to do: let \
         the edge do it",
    );
}

#[test]
fn no_file_of_the_source_is_longer_than_600_lines() {
    let mut faults = Vec::new();
    for path in files(&root().join("src")) {
        let lines = fs::read_to_string(&path).map_or(0, |text| text.lines().count());
        if lines > LONGEST {
            faults.push(format!("{}: {lines} lines", name(&path)));
        }
    }
    assert_clean(&faults, "a file that long is asking to be two");
}

#[test]
fn all_sql_is_in_the_store() {
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
    let mut faults = find(|source| source.room != "storage", &sql);
    let stray = files(&root().join("src"))
        .into_iter()
        .map(|path| name(&path));
    faults.extend(stray.filter(|name| name.ends_with(".sql") && !name.starts_with("src/storage/")));
    assert_clean(&faults, "give the store a method that does it");
}

#[test]
fn nothing_but_the_clock_reads_the_time() {
    let mut faults = find(|source| source.room != "clock", &["SystemTime"]);
    // The timers of tokio have an Instant of their own, for deadlines in async code.
    for source in sources().iter().filter(|source| source.room != "clock") {
        let of_tokio = source
            .code()
            .any(|(_, line)| line.starts_with("use tokio::time::") && line.contains("Instant"));
        if !of_tokio {
            faults.extend(find_in(source, &["Instant::now"]));
        }
    }
    assert_clean(
        &faults,
        "take a `clock::Now` as an argument, or call `clock::now` on floor 3",
    );
}

#[test]
fn unsafe_code_is_in_one_directory_and_each_block_says_why_it_is_sound() {
    let allowed = |source: &Source| source.name.starts_with("src/relay/udp/");
    let faults = find(
        |source| !allowed(source),
        &["unsafe_code", "unsafe {", "unsafe impl"],
    );
    assert_clean(
        &faults,
        "use what a crate offers, or put it into src/relay/udp",
    );
    let sources = sources();
    let mut blocks = 0;
    for source in sources.iter().filter(|source| allowed(source)) {
        blocks += excused_blocks(source);
    }
    assert!(blocks > 0, "the directory has moved");
}

/// Counts the unsafe blocks of a file, each of which has its reason above it.
fn excused_blocks(source: &Source) -> usize {
    let (mut blocks, mut excused) = (0, false);
    for (number, line) in source.text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with("//") {
            excused |= line.starts_with("// SAFETY:");
        } else if line.contains("unsafe {") || line.starts_with("unsafe impl") {
            assert!(
                excused,
                "{}:{}: say above it why it is sound (SAFETY:)",
                source.name,
                number + 1
            );
            blocks += 1;
            excused = false;
        } else if line.ends_with(';') || line.ends_with('}') {
            excused = false;
        }
    }
    blocks
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
        "whoever builds elsewhere has no such place: use what the environment says, and the \
         official registry",
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
fn every_invariant_of_the_map_names_a_test_that_exists() {
    let known = known_tests();
    let map = read("docs/architecture.md");
    let section = map.split("\n## ").find(|s| s.starts_with("Invariants"));
    let section = section.expect("docs/architecture.md has a section `Invariants`");
    let rows: Vec<_> = section
        .lines()
        .filter(|line| line.starts_with("| **"))
        .collect();
    assert!(
        rows.len() >= 15,
        "only {} invariants are left in the map",
        rows.len()
    );
    for row in rows {
        let held_by = row.trim_end_matches('|').rsplit('|').next().unwrap_or("");
        let mut tests = held_by.split('`').skip(1).step_by(2).peekable();
        assert!(
            tests.peek().is_some(),
            "no test holds this invariant: {row}"
        );
        for test in tests {
            assert!(
                known.contains(test),
                "docs/architecture.md says that `{test}` holds an invariant, but there is no such \
                 test: correct the name, or write the test"
            );
        }
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
    room: String,
    /// Its own module, from below the crate.
    module: Vec<String>,
    text: String,
}

/// One room of the house that another names.
struct Import {
    from: String,
    to: String,
    at: String,
}

impl std::fmt::Display for Import {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} imports `{}`", self.at, self.to)
    }
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

    /// The rooms that this file names, with the line.
    fn imports(&self) -> Vec<Import> {
        let mut found = Vec::new();
        for (number, line) in self.code() {
            for to in rooms_named(line, &self.module) {
                let at = format!("{}:{number}", self.name);
                let from = self.room.clone();
                found.push(Import { from, to, at });
            }
        }
        found
    }
}

/// The modules right below the crate that a line names, from inside `module`.
fn rooms_named(line: &str, module: &[String]) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            // One line long, as rustfmt writes a group of rooms; their own groups don't count.
            Some(group) => {
                let mut depth = 0;
                for part in group.split_inclusive(['{', '}', ',']) {
                    if depth == 0 {
                        rooms.push(word(part.trim_start()).to_owned());
                    }
                    depth += part.matches('{').count() as i32 - part.matches('}').count() as i32;
                }
            }
            None => rooms.push(word(rest).to_owned()),
        }
    }
    // From the top of a file, as many `super`s as it is deep lead to the crate.
    if line.starts_with("use super::") || line.starts_with("pub use super::") {
        let path = line.trim_start_matches("pub ").trim_start_matches("use ");
        let ups = path.split("::").take_while(|part| *part == "super").count();
        if ups >= module.len() {
            let rest = path.split("::").nth(ups).unwrap_or("");
            rooms.push(word(rest).to_owned());
        }
    }
    rooms.retain(|room| room.starts_with(|c: char| c.is_ascii_lowercase()));
    rooms
}

#[test]
fn the_reader_of_imports_sees_every_way_of_writing_them() {
    let deep: Vec<_> = ["http", "api"].map(str::to_owned).into();
    let seen = |line: &str| rooms_named(line, &deep).join(" ");
    assert_eq!(seen("use crate::storage::Store;"), "storage");
    assert_eq!(seen("    let now = crate::clock::now();"), "clock");
    assert_eq!(
        seen("use crate::{clock, config::{Ice, Turn}, storage};"),
        "clock config storage"
    );
    assert_eq!(seen("use super::super::relay::Handle;"), "relay");
    assert_eq!(seen("use super::request::Error;"), "");
    assert_eq!(seen("pub use crate::Thing;"), "");
}

/// The rooms and their floors, from the table in `src/lib.rs`.
fn floors() -> BTreeMap<String, u8> {
    let mut floors = BTreeMap::new();
    for line in read("src/lib.rs").lines() {
        let Some(row) = line.strip_prefix("//! | ") else {
            continue;
        };
        let Some(floor) = row.chars().next().and_then(|c| c.to_digit(10)) else {
            continue;
        };
        for room in row.split('`').skip(1).step_by(2) {
            floors.insert(room.to_owned(), floor as u8);
        }
    }
    assert!(
        floors.len() > 10,
        "src/lib.rs has no table of floors any more"
    );
    floors
}

fn imports() -> Vec<Import> {
    let all = sources().into_iter().flat_map(|source| source.imports());
    let imports: Vec<_> = all.filter(|import| import.from != import.to).collect();
    assert!(
        imports.len() > 50,
        "hardly any imports were found: is the reader broken?"
    );
    imports
}

/// Every file of Rust in `src` but the list of modules.
fn sources() -> Vec<Source> {
    let source = |path: PathBuf| {
        let name = name(&path);
        let inner = name.strip_prefix("src/")?.strip_suffix(".rs")?;
        let inner = inner.strip_suffix("/mod").unwrap_or(inner);
        let module: Vec<_> = inner.split('/').map(str::to_owned).collect();
        let text = fs::read_to_string(&path).expect("a source is text");
        let room = module[0].clone();
        (room != "lib").then_some(Source {
            name,
            room,
            module,
            text,
        })
    };
    files(&root().join("src"))
        .into_iter()
        .filter_map(source)
        .collect()
}

fn find(which: impl Fn(&Source) -> bool, banned: &[&str]) -> Vec<String> {
    let sources = sources();
    let which = sources.iter().filter(|source| which(source));
    which.flat_map(|source| find_in(source, banned)).collect()
}

fn find_in(source: &Source, banned: &[&str]) -> Vec<String> {
    let lines = source.code();
    lines
        .filter(|(_, line)| banned.iter().any(|word| line.contains(word)))
        .map(|(number, line)| format!("{}:{number}: {}", source.name, line.trim()))
        .collect()
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
/// that adds it (`in_a_box!` of the browser tests).
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

/// What lies at the top: to git's knowledge, since an editor may keep a folder of its own there;
/// where there is no git, all of it.
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

/// Every file that belongs to the project.
fn project_files() -> Vec<PathBuf> {
    let top = TOP_LEVEL.map(|name| root().join(name)).into_iter();
    top.flat_map(|path| match path.is_dir() {
        true => files(&path),
        false => vec![path],
    })
    .collect()
}

/// Every file below a directory, in order; what is built or fetched is no part of it.
fn files(directory: &Path) -> Vec<PathBuf> {
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

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn name(path: &Path) -> String {
    let inner = path.strip_prefix(root()).expect("a path of the project");
    inner.to_str().expect("a plain name").to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn assert_clean(faults: &[String], what_to_do: &str) {
    assert!(
        faults.is_empty(),
        "{what_to_do}:\n  {}",
        faults.join("\n  ")
    );
}
