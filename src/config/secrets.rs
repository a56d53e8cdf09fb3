//! Secrets that stand in files of their own: those that a `*_file` key names, or systemd's credentials
//! (`LoadCredential=`, systemd.exec(5)), so that neither a file of settings nor an environment holds them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Config;
use super::origin::{Fault, Origin};
use crate::secret::Secret;
use crate::text_file;

/// No secret is longer.
const LONGEST: u64 = 4096;

/// Every key that holds secrets.
pub const KEYS: [&str; 5] = [
    "auth.secret",
    "auth.previous_secrets",
    "turn.secret",
    "turn.previous_secrets",
    "ice.turn_password",
];

/// Secrets of one key, and the key that may name their file. systemd's credential is called as the
/// first is.
struct Place<'a> {
    /// One, in the form that a fault wants.
    key: &'static [&'static str; 1],
    file_key: &'static str,
    secrets: Secrets<'a>,
    file: &'a Option<PathBuf>,
}

enum Secrets<'a> {
    One(&'a mut Option<Secret>),
    /// In a file, one on each line.
    Several(&'a mut Vec<Secret>),
}

/// Fills in the secrets that stand in files, and where each was found. Gives every fault; what it is
/// about besides its key stays unset.
pub fn read(
    config: &mut Config,
    environment: &[(OsString, OsString)],
    origins: &mut BTreeMap<String, Origin>,
) -> Vec<Fault> {
    let credentials = environment
        .iter()
        .find(|(name, value)| name == "CREDENTIALS_DIRECTORY" && !value.is_empty())
        .map(|(_, value)| PathBuf::from(value));
    let mut faults = Vec::new();
    for place in places(config) {
        let (key, file_key) = (place.key, place.file_key);
        match place.fill(credentials.as_deref()) {
            Ok(None) => {}
            Ok(Some(path)) => {
                origins.insert(key[0].to_owned(), Origin::File { path, line: 1 });
            }
            Err(text) => faults.push(Fault::with(file_key, key, text)),
        }
    }
    faults
}

fn places(config: &mut Config) -> [Place<'_>; 5] {
    let Config {
        auth, turn, ice, ..
    } = config;
    [
        Place {
            key: &["auth.secret"],
            file_key: "auth.secret_file",
            secrets: Secrets::One(&mut auth.secret),
            file: &auth.secret_file,
        },
        Place {
            key: &["auth.previous_secrets"],
            file_key: "auth.previous_secrets_file",
            secrets: Secrets::Several(&mut auth.previous_secrets),
            file: &auth.previous_secrets_file,
        },
        Place {
            key: &["turn.secret"],
            file_key: "turn.secret_file",
            secrets: Secrets::One(&mut turn.secret),
            file: &turn.secret_file,
        },
        Place {
            key: &["turn.previous_secrets"],
            file_key: "turn.previous_secrets_file",
            secrets: Secrets::Several(&mut turn.previous_secrets),
            file: &turn.previous_secrets_file,
        },
        Place {
            key: &["ice.turn_password"],
            file_key: "ice.turn_password_file",
            secrets: Secrets::One(&mut ice.turn_password),
            file: &ice.turn_password_file,
        },
    ]
}

impl Place<'_> {
    /// The file that the secrets came from, if they came from one.
    fn fill(self, credentials: Option<&Path>) -> Result<Option<PathBuf>, String> {
        let path = match (self.secrets.are_set(), self.file) {
            (true, Some(_)) => {
                return Err(format!(
                    "is set, and so is {}: keep one of the two",
                    self.key[0]
                ));
            }
            (true, None) => return Ok(None),
            (false, Some(path)) => path.clone(),
            (false, None) => match credentials.map(|dir| dir.join(self.key[0])) {
                // One that can't even be looked at is told of, not passed over.
                Some(path) if !matches!(path.try_exists(), Ok(false)) => path,
                _ => return Ok(None),
            },
        };
        let read = contents(&path);
        let text = read.map_err(|why| format!("names {}, which {why}", path.display()))?;
        self.secrets.set(&text);
        Ok(Some(path))
    }
}

impl Secrets<'_> {
    fn are_set(&self) -> bool {
        match self {
            Secrets::One(secret) => secret.is_some(),
            Secrets::Several(secrets) => !secrets.is_empty(),
        }
    }

    fn set(self, text: &str) {
        match self {
            Secrets::One(secret) => *secret = Some(Secret::new(text)),
            Secrets::Several(secrets) => {
                let lines = text.lines().filter(|line| !line.is_empty());
                *secrets = lines.map(Secret::new).collect();
            }
        }
    }
}

/// All of the file but the end of its last line.
fn contents(path: &Path) -> Result<String, String> {
    let text = text_file::read(path, LONGEST).map_err(|why| why.to_string())?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    match secret.is_empty() {
        true => Err("is empty".to_owned()),
        false => Ok(secret.to_owned()),
    }
}
