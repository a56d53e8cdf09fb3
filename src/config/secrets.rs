//! Secrets that stand in files of their own: those that a `*_file` key names, or systemd's credentials
//! (`LoadCredential=`, systemd.exec(5)), so that neither a file of settings nor an environment holds them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::{Config, Origin};
use crate::secret::Secret;

/// No secret is longer.
const LONGEST: u64 = 4096;

/// A secret and the key that may name its file. systemd's credential is called as the secret is.
struct Place<'a> {
    key: &'static str,
    file_key: &'static str,
    secret: &'a mut Option<Secret>,
    file: &'a Option<PathBuf>,
}

/// Fills in the secrets that stand in files, and where each was found. Gives every fault: the key, and
/// what must change.
pub fn read(
    config: &mut Config,
    environment: &[(OsString, OsString)],
    origins: &mut BTreeMap<String, Origin>,
) -> Vec<(&'static str, String)> {
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
                origins.insert(key.to_owned(), Origin::File { path, line: 1 });
            }
            Err(text) => faults.push((file_key, text)),
        }
    }
    faults
}

fn places(config: &mut Config) -> [Place<'_>; 3] {
    [
        Place {
            key: "auth.secret",
            file_key: "auth.secret_file",
            secret: &mut config.auth.secret,
            file: &config.auth.secret_file,
        },
        Place {
            key: "turn.secret",
            file_key: "turn.secret_file",
            secret: &mut config.turn.secret,
            file: &config.turn.secret_file,
        },
        Place {
            key: "ice.turn_password",
            file_key: "ice.turn_password_file",
            secret: &mut config.ice.turn_password,
            file: &config.ice.turn_password_file,
        },
    ]
}

impl Place<'_> {
    /// The file that the secret came from, if it came from one.
    fn fill(self, credentials: Option<&Path>) -> Result<Option<PathBuf>, String> {
        let path = match (&self.secret, self.file) {
            (Some(_), Some(_)) => {
                return Err(format!(
                    "is set, and so is {}: keep one of the two",
                    self.key
                ));
            }
            (Some(_), None) => return Ok(None),
            (None, Some(path)) => path.clone(),
            (None, None) => match credentials.map(|dir| dir.join(self.key)) {
                // One that can't even be looked at is told of, not passed over.
                Some(path) if !matches!(path.try_exists(), Ok(false)) => path,
                _ => return Ok(None),
            },
        };
        let read = contents(&path);
        let secret = read.map_err(|why| format!("names {}, which {why}", path.display()))?;
        *self.secret = Some(secret);
        Ok(Some(path))
    }
}

/// All of the file but the end of its last line.
fn contents(path: &Path) -> Result<Secret, String> {
    let unreadable = |fault: io::Error| match fault.kind() {
        io::ErrorKind::NotFound => "does not exist".to_owned(),
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        _ => format!("can't be read: {fault}"),
    };
    let file = File::open(path).map_err(unreadable)?;
    let mut text = String::new();
    file.take(LONGEST + 1)
        .read_to_string(&mut text)
        .map_err(unreadable)?;
    if text.len() as u64 > LONGEST {
        return Err(format!("is longer than {LONGEST} bytes"));
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    match secret.is_empty() {
        true => Err("is empty".to_owned()),
        false => Ok(Secret::new(secret)),
    }
}
