//! Records the secrets of a test run and the logs in which none of them may appear.
//!
//! `tests/run` names a directory in `PARLOR_TEST_LOGS`. Each daemon's log is then kept there, beside
//! the secrets that the tests gave to a daemon or got from it; `tests/daemon/logs.rs` searches at the end.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde_json::Value;

/// Environment variable that names the directory.
pub(crate) const DIRECTORY: &str = "PARLOR_TEST_LOGS";
/// Extensions of logs and of lists of secrets.
pub(crate) const LOG: &str = "log";
pub(crate) const SECRETS: &str = "secrets";

/// Shorter secrets could be ordinary words of a log.
pub(crate) const MIN_SECRET_LENGTH: usize = 12;

/// Keys in JSON whose values are secret.
const KEYS: [&str; 7] = [
    "access_token",
    "credential",
    "invite",
    "link",
    "password",
    "secret",
    "token",
];

fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// A new file for a daemon's log, if logs are kept.
pub(crate) fn log_file() -> Option<File> {
    Some(new_file(&directory()?, "daemon", LOG))
}

/// Not named after the process id: tests in namespaces of their own all have the same one.
fn new_file(directory: &Path, what: &str, extension: &str) -> File {
    let path = directory.join(format!("{what}-{}.{extension}", uuid::Uuid::new_v4()));
    File::create_new(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Records a secret; of a link, its fragment.
pub(crate) fn note(secret: &str) {
    static FILE: Mutex<Option<File>> = Mutex::new(None);
    let secret = match secret.rsplit_once('#') {
        Some((link, fragment)) if link.contains("/r/") => fragment,
        _ => secret.trim(),
    };
    if secret.len() < MIN_SECRET_LENGTH || secret.contains('\n') {
        return;
    }
    let Some(directory) = directory() else {
        return;
    };
    let mut file = FILE.lock().unwrap();
    let file = file.get_or_insert_with(|| new_file(&directory, "test", SECRETS));
    writeln!(file, "{secret}").expect("a secret is noted");
}

/// Records every secret in a request or response, at any depth.
pub(crate) fn note_all(value: &Value) {
    match value {
        Value::Array(items) => items.iter().for_each(note_all),
        Value::Object(pairs) => {
            for (key, value) in pairs {
                match value {
                    Value::String(text) if KEYS.contains(&key.as_str()) => note(text),
                    value => note_all(value),
                }
            }
        }
        _ => {}
    }
}

/// Records the secrets in a daemon's environment and in its data directory.
pub(crate) fn note_secrets_of(env: &HashMap<String, String>, data_dir: &Path) {
    for (key, value) in env {
        let secret = key.contains("SECRET") || key.contains("PASSWORD");
        if secret && !key.ends_with("_FILE") {
            value.split(',').for_each(note);
        }
    }
    for name in ["auth.secret", "turn.secret", "nonce.key"] {
        if let Ok(text) = fs::read_to_string(data_dir.join(name)) {
            text.split_whitespace().for_each(note);
        }
    }
}
