//! Searches the logs of all servers of a test run for secrets.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::http::Client;
use crate::support::leaks::{DIRECTORY, LOG, MIN_SECRET_LENGTH, SECRETS};
use crate::support::{Builder, Daemon, turn};
use serde_json::json;

/// The result of a search.
#[derive(Debug, Default)]
struct Search {
    daemons: usize,
    lines: usize,
    secrets: usize,
    /// Location and kind of each secret, without the secret.
    found: Vec<String>,
}

/// Searches every log in a directory for the secrets that are noted there, and for text that looks like a
/// secret.
fn search(directory: &Path) -> Search {
    let read = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let lists: Vec<_> = files(directory, SECRETS).iter().map(read).collect();
    let secrets: BTreeSet<_> = lists.iter().flat_map(|list| list.lines()).collect();
    let mut noted = Noted {
        pairs: vec![false; 1 << 16],
        by_start: HashMap::new(),
    };
    for secret in &secrets {
        let start = &secret.as_bytes()[..MIN_SECRET_LENGTH];
        noted.pairs[pair(start)] = true;
        noted.by_start.entry(start).or_default().push(secret);
    }
    let mut search = Search {
        secrets: secrets.len(),
        ..Search::default()
    };
    for path in files(directory, LOG) {
        search.daemons += 1;
        for (number, line) in read(&path).lines().enumerate() {
            search.lines += 1;
            let has_one = noted.any_in(line);
            let kind = has_one
                .then_some("a noted secret")
                .or_else(|| suspect(line));
            if let Some(kind) = kind {
                let name = path.file_name().unwrap_or_default().display();
                search.found.push(format!("{name}:{}: {kind}", number + 1));
            }
        }
    }
    search
}

/// An index by the first two bytes: a run has too many lines to search each for every secret.
struct Noted<'a> {
    /// Whether a secret begins with these two bytes.
    pairs: Vec<bool>,
    by_start: HashMap<&'a [u8], Vec<&'a str>>,
}

impl Noted<'_> {
    fn any_in(&self, line: &str) -> bool {
        let bytes = line.as_bytes();
        for at in 0..bytes.len().saturating_sub(MIN_SECRET_LENGTH - 1) {
            if !self.pairs[pair(&bytes[at..])] {
                continue;
            }
            let secrets = self.by_start.get(&bytes[at..at + MIN_SECRET_LENGTH]);
            let mut secrets = secrets.into_iter().flatten();
            if secrets.any(|secret| bytes[at..].starts_with(secret.as_bytes())) {
                return true;
            }
        }
        false
    }
}

fn pair(bytes: &[u8]) -> usize {
    usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]))
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory of logs");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|known| known == extension))
        .collect();
    paths.sort();
    paths
}

/// Returns the kind of secret that a line seems to contain, noted or not.
fn suspect(line: &str) -> Option<&'static str> {
    let url_safe = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let is_jwt = |word: &str| {
        let parts: Vec<_> = word.split('.').collect();
        let whole = parts.len() == 3 && parts.iter().all(|part| part.len() > 8);
        whole && parts[0].starts_with("eyJ") && parts[1].starts_with("eyJ")
    };
    if line.split(|letter| !url_safe(letter)).any(is_jwt) {
        return Some("a JWT");
    }
    let standard = |letter: char| letter.is_ascii_alphanumeric() || "+/=".contains(letter);
    // HMAC-SHA1, 20 bytes: a TURN credential.
    let is_credential = |word: &str| word.len() == 28 && word.find('=') == Some(27);
    if line.split(|letter| !standard(letter)).any(is_credential) {
        return Some("a TURN credential");
    }
    let lower = line.to_ascii_lowercase();
    let patterns = ["token=", "bearer ", "password=", "/r/lobby#", "$argon2id$"];
    let named = patterns.iter().any(|pattern| lower.contains(pattern));
    named.then_some("a word before a secret")
}

/// The directory of the run, if `tests/run` set one.
#[test]
#[ignore = "searches the logs of a whole run: tests/run runs it at its end"]
fn no_log_of_this_run_contains_a_secret() {
    let directory = std::env::var_os(DIRECTORY).expect("the directory of a run's logs");
    let search = search(Path::new(&directory));
    println!(
        "searched {} lines of {} daemons for {} secrets and what looks like one",
        search.lines, search.daemons, search.secrets
    );
    assert!(search.daemons > 0 && search.lines > 0, "there is no log");
    assert!(search.secrets > 0, "no test noted a secret");
    assert!(search.found.is_empty(), "{:#?}", search.found);
}

#[test]
fn a_planted_secret_is_found() {
    let directory = tempfile::TempDir::new().expect("a directory");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
    write(
        "one.secrets",
        "a secret that was noted\nanother one of them\n",
    );
    write(
        "clean.log",
        "INFO ready\nDEBUG request completed route=\"/api/auth/me\"\n",
    );
    assert!(search(directory.path()).found.is_empty());
    let planted = [
        "DEBUG a secret that was noted, in a sentence",
        "x=another one of them",
        "t eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJlLW9mLWl0 t",
        "\"credential\":\"3q2+7wAAAAAAAAAAAAAAAAAAAAA=\"",
        "GET /api/ws/rooms/lobby?token=abc",
        "authorization: Bearer abc",
        "http://127.0.0.1:8000/r/lobby#abc",
        "INFO nothing at all",
    ];
    write("dirty.log", &planted.join("\n"));
    let searched = search(directory.path());
    assert_eq!(
        (searched.daemons, searched.lines, searched.secrets),
        (2, 10, 2)
    );
    let places: Vec<_> = searched.found.iter().map(String::as_str).collect();
    assert_eq!(
        places,
        [
            "dirty.log:1: a noted secret",
            "dirty.log:2: a noted secret",
            "dirty.log:3: a JWT",
            "dirty.log:4: a TURN credential",
            "dirty.log:5: a word before a secret",
            "dirty.log:6: a word before a secret",
            "dirty.log:7: a word before a secret",
        ]
    );
}

/// Passes every kind of secret through one server in the same run as the search.
#[test]
fn secrets_of_a_server_are_noted_and_not_logged() {
    const RETAINED: &str = "PARLOR_TEST_LOGS_OF_ITS_OWN";
    let Some(directory) = std::env::var_os(RETAINED) else {
        let directory = tempfile::TempDir::new().expect("a directory");
        let name = "secrets_of_a_server_are_noted_and_not_logged";
        let again = std::process::Command::new(std::env::current_exe().expect("this test"))
            .args(["--exact", name])
            .env(RETAINED, directory.path())
            .env(DIRECTORY, directory.path())
            .output();
        let again = again.expect("this test runs again");
        assert!(
            again.status.success(),
            "{}",
            String::from_utf8_lossy(&again.stdout)
        );
        return;
    };
    let directory = Path::new(&directory);
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start();
    let given = pass_secrets_through(&daemon);
    daemon.stop();
    let lists = files(directory, SECRETS);
    let [list] = &lists[..] else {
        panic!("one list, not {lists:?}");
    };
    let noted = fs::read_to_string(list).expect("a list");
    for secret in &given {
        assert!(noted.lines().any(|line| line == secret), "{secret}");
    }
    let searched = search(directory);
    assert_eq!(searched.daemons, 1);
    assert!(searched.lines > 5, "{searched:?}");
    assert!(searched.found.is_empty(), "{searched:?}");
    // A logged secret would be found.
    fs::write(directory.join("planted.log"), &given[0]).unwrap();
    assert_eq!(search(directory).found.len(), 1);
}

/// Uses a token, an invite, a password and a credential, and returns them.
fn pass_secrets_through(daemon: &Daemon) -> Vec<String> {
    daemon.cli_json(&["user", "add", "alice"]);
    let token = daemon.cli_json(&["token", "issue", "alice"])["token"].take();
    let token = token.as_str().expect("a token").to_owned();
    let client = Client::new(daemon.http());
    let alice = client.with_token(&token);
    let servers = alice.get("/api/ice-servers").ok();
    let credential = servers["iceServers"][1]["credential"].as_str();
    let credential = credential.expect("a credential").to_owned();
    let password = "a password that fits nobody";
    let login = json!({"username": "alice", "password": password});
    assert_eq!(client.post_json("/api/auth/login", &login).status, 401);
    let link = daemon.invite_link();
    let invite = link.split_once('#').expect("an invite").1.to_owned();
    let guest = json!({"invite": invite, "name": "Gast"});
    client.post_json("/api/auth/guest", &guest).ok();
    vec![
        token,
        invite,
        password.to_owned(),
        credential,
        turn::SECRET.to_owned(),
    ]
}
