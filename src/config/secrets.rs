//! Secrets in files of their own: named by a `*_file` key, or credentials of systemd
//! (`LoadCredential=`, systemd.exec(5)). They keep secrets out of the configuration and the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Config;
use super::value_source::{ValueSource, Violation};
use crate::secret::Secret;
use crate::text_file;

/// The maximum size of a secret file.
const MAX_FILE_BYTES: u64 = 4096;

/// Every key that holds secrets.
pub(super) const SECRET_KEYS: [&str; 7] = [
    "auth.secret",
    "auth.previous_secrets",
    "turn.secret",
    "turn.previous_secrets",
    "ice.turn_password",
    "store.password",
    "cluster.redis_password",
];

/// Secrets of one key, and the key that may name their file. The credential of systemd has the name
/// of the first key.
struct SecretSetting<'a> {
    /// The key, as a slice for [`Violation::with`].
    key: &'static [&'static str; 1],
    file_key: &'static str,
    secrets: SecretField<'a>,
    file: &'a Option<PathBuf>,
}

enum SecretField<'a> {
    Single(&'a mut Option<Secret>),
    /// A list of secrets; a file has one on each line.
    List(&'a mut Vec<Secret>),
}

/// Fills in the secrets from files, and their sources. Returns every violation; its secret stays unset.
pub(super) fn read(
    config: &mut Config,
    environment: &[(OsString, OsString)],
    value_sources: &mut BTreeMap<String, ValueSource>,
) -> Vec<Violation> {
    let credentials = environment
        .iter()
        .find(|(name, value)| name == "CREDENTIALS_DIRECTORY" && !value.is_empty())
        .map(|(_, value)| PathBuf::from(value));
    let mut violations = Vec::new();
    for setting in secret_settings(config) {
        let (key, file_key) = (setting.key, setting.file_key);
        match setting.fill(credentials.as_deref()) {
            Ok(None) => {}
            Ok(Some(path)) => {
                value_sources.insert(key[0].to_owned(), ValueSource::File { path, line: 1 });
            }
            Err(text) => violations.push(Violation::with(file_key, key, text)),
        }
    }
    violations
}

fn secret_settings(config: &mut Config) -> [SecretSetting<'_>; 7] {
    let Config {
        auth,
        turn,
        ice,
        store,
        cluster,
        ..
    } = config;
    [
        SecretSetting {
            key: &["auth.secret"],
            file_key: "auth.secret_file",
            secrets: SecretField::Single(&mut auth.secret),
            file: &auth.secret_file,
        },
        SecretSetting {
            key: &["auth.previous_secrets"],
            file_key: "auth.previous_secrets_file",
            secrets: SecretField::List(&mut auth.previous_secrets),
            file: &auth.previous_secrets_file,
        },
        SecretSetting {
            key: &["turn.secret"],
            file_key: "turn.secret_file",
            secrets: SecretField::Single(&mut turn.secret),
            file: &turn.secret_file,
        },
        SecretSetting {
            key: &["turn.previous_secrets"],
            file_key: "turn.previous_secrets_file",
            secrets: SecretField::List(&mut turn.previous_secrets),
            file: &turn.previous_secrets_file,
        },
        SecretSetting {
            key: &["ice.turn_password"],
            file_key: "ice.turn_password_file",
            secrets: SecretField::Single(&mut ice.turn_password),
            file: &ice.turn_password_file,
        },
        SecretSetting {
            key: &["store.password"],
            file_key: "store.password_file",
            secrets: SecretField::Single(&mut store.password),
            file: &store.password_file,
        },
        SecretSetting {
            key: &["cluster.redis_password"],
            file_key: "cluster.redis_password_file",
            secrets: SecretField::Single(&mut cluster.redis_password),
            file: &cluster.redis_password_file,
        },
    ]
}

impl SecretSetting<'_> {
    /// The file that the secrets came from, if they came from one.
    fn fill(self, credentials: Option<&Path>) -> Result<Option<PathBuf>, String> {
        let path = match (self.secrets.is_set(), self.file) {
            (true, Some(_)) => {
                return Err(format!(
                    "is set, and so is {}: keep one of the two",
                    self.key[0]
                ));
            }
            (true, None) => return Ok(None),
            (false, Some(path)) => path.clone(),
            (false, None) => match credentials.map(|dir| dir.join(self.key[0])) {
                // A credential that can't be accessed is an error, not an absent one.
                Some(path) if !matches!(path.try_exists(), Ok(false)) => path,
                _ => return Ok(None),
            },
        };
        let read = read_secret(&path);
        let text = read.map_err(|why| format!("names {}, which {why}", path.display()))?;
        self.secrets.set(&text);
        Ok(Some(path))
    }
}

impl SecretField<'_> {
    fn is_set(&self) -> bool {
        match self {
            SecretField::Single(secret) => secret.is_some(),
            SecretField::List(secrets) => !secrets.is_empty(),
        }
    }

    fn set(self, text: &str) {
        match self {
            SecretField::Single(secret) => *secret = Some(Secret::new(text)),
            SecretField::List(secrets) => {
                let lines = text.lines().filter(|line| !line.is_empty());
                *secrets = lines.map(Secret::new).collect();
            }
        }
    }
}

/// Returns the content of the file without its last line ending.
fn read_secret(path: &Path) -> Result<String, String> {
    let text = text_file::read(path, MAX_FILE_BYTES).map_err(|why| why.to_string())?;
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    if secret.is_empty() {
        Err("is empty".to_owned())
    } else {
        Ok(secret.to_owned())
    }
}

impl Config {
    /// The secrets that all nodes of a cluster share and that are not configured; none if this is no node.
    pub fn missing_secrets_of_nodes(&self) -> Vec<&'static str> {
        if self.cluster.redis_url.is_none() {
            return Vec::new();
        }
        let secrets = [
            ("auth.secret", &self.auth.secret),
            ("turn.secret", &self.turn.secret),
        ];
        let missing = secrets.into_iter().filter(|(_, secret)| secret.is_none());
        missing.map(|(key, _)| key).collect()
    }
}
