//! The guides are true: their commands run, their scripts work, their links have targets.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::files::{self, root};
use crate::support::browser::{Browser, Microphone};
use crate::support::{Builder, Daemon};

/// Commands that `.ci/run` runs, because they build or test everything.
const OF_CI: [&str; 3] = [
    "cargo run --release -- serve",
    "./tests/run",
    "cargo build --release",
];

/// A fenced block.
struct Block {
    language: String,
    text: String,
}

/// The documents whose commands, settings and scripts are executed, in this order.
const GUIDES: [&str; 6] = [
    "README.md",
    "docs/start/install.md",
    "docs/start/lan.md",
    "docs/run/commands.md",
    "docs/build/quick-start.md",
    "docs/build/ice.md",
];

fn guides() -> String {
    let read = |guide: &&str| fs::read_to_string(root().join(guide)).expect(guide);
    GUIDES.iter().map(read).collect()
}

/// The fenced blocks of a text.
fn blocks(text: &str) -> Vec<Block> {
    let parts = text.split("\n```").skip(1).step_by(2);
    let block = |part: &str| {
        let (language, text) = part.split_once('\n').expect("a block has lines");
        let (language, text) = (language.to_owned(), format!("{text}\n"));
        Block { language, text }
    };
    parts.map(block).collect()
}

fn of(language: &str) -> Vec<String> {
    of_text(&guides(), language)
}

fn of_text(text: &str, language: &str) -> Vec<String> {
    let blocks = blocks(text).into_iter();
    let blocks = blocks.filter(|block| block.language == language);
    blocks.map(|block| block.text).collect()
}

#[test]
fn every_code_block_has_a_language_that_is_tested() {
    let blocks = blocks(&guides());
    assert!(blocks.len() > 10);
    for Block { language, text } in blocks {
        let known =
            ["sh", "python", "js", "toml", "caddyfile", "console"].contains(&language.as_str());
        assert!(known, "nothing here tries a block of {language:?}:\n{text}");
    }
}

#[test]
fn every_command_of_ci_is_in_the_guides_and_in_ci() {
    let ci = fs::read_to_string(root().join(".ci/run")).expect(".ci/run");
    let shown = of("sh").concat();
    for command in OF_CI {
        let lines = shown.lines().filter(|line| *line == command);
        assert_eq!(lines.count(), 1, "the guides do not show `{command}`");
        let runs = |line: &str| !line.starts_with("step ") && line.contains(command);
        assert!(ci.lines().any(runs), ".ci/run does not run `{command}`");
    }
}

#[test]
fn every_command_works_in_the_order_of_the_guides() {
    // The one that systemd would start: its configuration has the name.
    let daemon = Builder::new()
        .env("PARLOR_SERVER__PUBLIC_URL", "https://talk.example.org")
        .start();
    let place = Place::new(&daemon);
    let output = place.run(&of("sh").concat());
    for expected in [
        "https://talk.example.org/r/lobby#",
        "relayed media",
        "Added user alice",
        "Created room Standup",
        "turn:talk.example.org:",
        concat!("parlor ", env!("CARGO_PKG_VERSION")),
        "Successfully joined Standup",
        "\"iceServers\"",
        "parlor_turn_error_responses_total",
    ] {
        assert!(output.contains(expected), "no {expected:?} in:\n{output}");
    }
    assert_one_call(&output);
    let backup = Command::new("tar")
        .arg("-tzf")
        .arg(place.root.path().join("parlor-backup.tar.gz"))
        .output()
        .expect("tar runs");
    let backup = String::from_utf8_lossy(&backup.stdout).into_owned();
    for kept in ["parlor.db", "auth.secret", "turn.secret", "nonce.key"] {
        assert!(backup.contains(kept), "no {kept} in the backup: {backup}");
        assert!(
            guides().contains(&format!("`{kept}`")),
            "no guide mentions {kept}"
        );
    }
}

#[test]
fn the_quick_start_works_on_a_fresh_server() {
    let text = fs::read_to_string(root().join("docs/build/quick-start.md")).expect("a guide");
    let needs = text
        .lines()
        .find(|line| line.starts_with("The examples need "));
    let quoted = needs.expect("what the examples need").split('`').skip(1);
    let mut commands: Vec<&str> = quoted.step_by(2).collect();
    commands.retain(|command| command.starts_with("parlor "));
    let examples = of_text(&text, "sh").concat();
    let daemon = Daemon::start();
    let output = Place::new(&daemon).run(&format!("{}\n{examples}", commands.join("\n")));
    assert!(output.contains("Successfully joined Standup"), "{output}");
    assert_one_call(&output);
}

/// Two runs of the example in Python exchanged one offer and one answer.
fn assert_one_call(output: &str) {
    let count = |text: &str| output.lines().filter(|line| line.starts_with(text)).count();
    assert_eq!(count("user-joined from "), 1, "{output}");
    assert_eq!(count("offer from "), 1, "{output}");
    assert_eq!(count("answer from "), 1, "{output}");
}

#[test]
fn the_javascript_example_creates_a_peer_connection() {
    let daemon = Daemon::start();
    daemon.cli_json(&["user", "add", "alice"]);
    daemon.cli_json(&["room", "create", "Standup", "--id", "standup"]);
    daemon.cli_json(&["room", "add-member", "standup", "alice"]);
    let token = daemon.cli_json(&["token", "issue", "alice"]);
    let [script] = &of("js")[..] else {
        panic!("one block of JavaScript");
    };
    let folder = TempDir::new().expect("a folder for the browser");
    let silence = folder.path().join("none.wav");
    let mut browser = Browser::start(folder.path(), "alice", &Microphone::Plays(&silence));
    let tab = browser.open(&format!("http://{}/r/standup", daemon.http()), "");
    browser.wait(&tab, "the page", "document.readyState === 'complete'");
    let whole = format!(
        "(async () => {{ const token = {}; {script}; return peer.getConfiguration(); }})()",
        token["token"]
    );
    let used = browser.evaluate(&tab, &whole).expect("the script runs");
    let credential = used["iceServers"][1]["credential"].as_str();
    assert!(credential.is_some_and(|text| text.len() == 28), "{used}");
    assert_eq!(used["iceTransportPolicy"], "all");
}

#[test]
fn the_configurations_are_valid_and_the_proxy_forwards_to_a_listener() {
    let place = TempDir::new().expect("a directory");
    let file = place.path().join("config.toml");
    let cli = crate::support::command::Cli::new();
    let server = crate::support::installed_settings();
    for settings in of("toml").iter().chain([&server]) {
        fs::write(&file, settings).expect("a configuration");
        cli.text(&["--config", file.to_str().expect("a plain path"), "ports"]);
    }
    let [proxy] = &of("caddyfile")[..] else {
        panic!("one Caddyfile");
    };
    let upstream = proxy
        .split("reverse_proxy ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let upstream = upstream.expect("an upstream");
    let behind = format!("listen = [\"{upstream}\"]");
    assert!(
        of("toml").iter().any(|settings| settings.contains(&behind)),
        "nobody listens at {upstream}"
    );
    let name = proxy.split(' ').next().expect("a name");
    assert!(
        server.contains(&format!("public_url = \"https://{name}\"")),
        "{server}"
    );
    // What the unit makes is what the settings name, so that commands find it too.
    let unit = fs::read_to_string(root().join("systemd/parlor.service")).expect("the unit");
    assert!(unit.contains("\nStateDirectory=parlor\n"));
    assert!(
        server.contains("data_dir = \"/var/lib/parlor\""),
        "{server}"
    );
}

#[test]
fn every_link_points_to_a_file_and_heading_that_exist() {
    // The licences are texts by others.
    let documents = files::project_files().into_iter().filter(|path| {
        path.extension().is_some_and(|ending| ending == "md") && !path.ends_with("licences.md")
    });
    let mut links = 0;
    for document in documents {
        let text = fs::read_to_string(&document).expect("text");
        let folder = document.parent().expect("a folder");
        let targets = text.split("](").skip(1);
        for link in targets.filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => document.clone(),
                file => folder.join(file),
            };
            let place = format!("{} links to {link}", document.display());
            assert!(target.exists(), "{place}, which does not exist");
            assert!(
                anchor.is_empty() || anchors(&target).contains(anchor),
                "{place}, a heading that does not exist"
            );
            links += 1;
        }
    }
    assert!(links > 50, "only {links} links");
}

/// The anchors that GitHub makes of the headings of a document.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).expect("text");
    let prose = text.split("\n```").step_by(2);
    let headings = prose.flat_map(str::lines).filter(|l| l.starts_with('#'));
    let anchor = |heading: &str| {
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |c: &char| c.is_alphanumeric() || "_- ".contains(*c);
        text.chars()
            .filter(kept)
            .collect::<String>()
            .replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The distinct files in the numbered steps of each walk.
#[test]
fn each_walk_of_the_architecture_enters_few_files() {
    let path = root().join("docs/architecture.md");
    let text = fs::read_to_string(path).expect("docs/architecture.md");
    for (heading, most) in [
        ("### A media packet", 12),
        ("### An offer", 8),
        ("### `parlor user disable", 9),
    ] {
        let (_, walk) = text.split_once(heading).expect(heading);
        let walk = walk.split("\n#").next().unwrap_or("");
        let steps = walk
            .lines()
            .filter(|l| l.starts_with(|c: char| c.is_ascii_digit()));
        let quoted = steps.flat_map(|step| step.split('`').skip(1).step_by(2));
        let files: BTreeSet<_> = quoted.filter(|path| path.starts_with("src/")).collect();
        assert!((5..=most).contains(&files.len()), "{heading}: {files:?}");
    }
}

/// Every command that `--help` lists is in the guides.
#[test]
fn every_command_is_in_the_guides() {
    let cli = crate::support::command::Cli::new();
    let shown = guides();
    for command in commands(&cli, &[]) {
        let words = command.join(" ");
        assert!(
            shown.contains(&format!("parlor {words}")) || shown.contains(&format!("-- {words}")),
            "no guide has `parlor {words}`"
        );
    }
}

/// The commands below `above` that have no commands of their own.
fn commands(cli: &crate::support::command::Cli, above: &[String]) -> Vec<Vec<String>> {
    let mut args: Vec<&str> = above.iter().map(String::as_str).collect();
    args.push("--help");
    let help = cli.text(&args);
    let Some(list) = help.split("\nCommands:\n").nth(1) else {
        return vec![above.to_vec()];
    };
    let list = list.lines().take_while(|line| line.starts_with("  "));
    let names = list.filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help");
    names
        .flat_map(|name| commands(cli, &[above, &[name.to_owned()]].concat()))
        .collect()
}

/// Where the commands are run: a directory in the place of `/`, and a running daemon.
struct Place<'a> {
    daemon: &'a Daemon,
    root: TempDir,
    python: PathBuf,
}

impl Place<'_> {
    fn new(daemon: &Daemon) -> Place<'_> {
        let root = TempDir::new().expect("a directory");
        for folder in ["etc/systemd/system", "usr/local/bin"] {
            fs::create_dir_all(root.path().join(folder)).expect("a directory");
        }
        let [script] = &of("python")[..] else {
            panic!("one script in Python");
        };
        fs::write(root.path().join("offer.py"), script).expect("a script");
        Place {
            daemon,
            root,
            python: python_with_websockets(),
        }
    }

    /// Runs commands as they are in the guides, except for addresses, places and what CI runs.
    fn run(&self, commands: &str) -> String {
        let root = self.root.path().to_str().expect("a plain path");
        let commands = commands.lines().filter(|line| !OF_CI.contains(line));
        let commands = commands.collect::<Vec<_>>().join("\n");
        let commands = commands
            .replace("target/release/parlor", env!("CARGO_BIN_EXE_parlor"))
            .replace(
                "systemd/parlor.service /",
                &format!("{}/systemd/parlor.service /", env!("CARGO_MANIFEST_DIR")),
            )
            .replace(" /etc/", &format!(" {root}/etc/"))
            .replace(" /usr/", &format!(" {root}/usr/"))
            .replace(
                " /var/lib/parlor",
                &format!(" {}", self.daemon.data_dir().display()),
            )
            .replace("127.0.0.1:8000", &self.daemon.http().to_string())
            .replace("127.0.0.1:9641", &self.daemon.metrics().to_string());
        let prelude = include_str!("readme/prelude.sh");
        let script = self.root.path().join("script");
        fs::write(&script, format!("{prelude}\nset -x\n{commands}\n")).expect("a script");
        let output = Command::new("bash")
            .arg(&script)
            .current_dir(root)
            .env("ROOT", root)
            .env("HOME", root)
            .env("PARLOR", env!("CARGO_BIN_EXE_parlor"))
            .env("PYTHON", &self.python)
            .env("PARLOR_SERVER__DATA_DIR", self.daemon.data_dir())
            .stdin(Stdio::null())
            .output()
            .expect("bash runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let traced = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{traced}\n{printed}");
        printed
    }
}

/// The absolute path of a Python that has `websockets`: the first `python3` on the PATH, or Debian's
/// own. In `prelude.sh` a bare `python3` is the function that calls it.
fn python_with_websockets() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = std::env::split_paths(&path).map(|folder| folder.join("python3"));
    let on_path = on_path.filter(|python| python.is_absolute());
    let mut candidates = on_path.chain([PathBuf::from("/usr/bin/python3")]);
    let has = |python: &PathBuf| {
        let tried = Command::new(python)
            .args(["-c", "import websockets"])
            .output();
        tried.is_ok_and(|output| output.status.success())
    };
    candidates.find(has).expect(
        "no python3 here has `websockets`: ./tests/run installs the Debian package \
         python3-websockets",
    )
}
