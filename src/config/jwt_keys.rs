//! Public keys of other token issuers. Their files are read while the configuration is loaded,
//! so that their errors are reported with all others.

use std::path::Path;

use super::value_source::Violation;
use super::{Algorithm, Auth};
use crate::public_key::{self, KeyError, Kind, PublicKey};

/// The settings that name files of public keys.
const FILE_KEYS: [&str; 2] = ["auth.public_key_file", "auth.jwks_file"];

const URL_KEY: &str = "auth.jwks_url";

/// Fills in `auth.public_keys`. Returns every violation: the key, and what must change.
pub(super) fn load_public_keys(auth: &mut Auth) -> Vec<Violation> {
    match auth.algorithm.key_kind() {
        None => unused_files(auth),
        Some(kind) => {
            let mut violations = Vec::new();
            auth.public_keys = Vec::new();
            let sources = [
                auth.public_key_file.is_some(),
                auth.jwks_file.is_some(),
                auth.jwks_url.is_some(),
            ];
            if !sources.contains(&true) {
                violations.push(Violation::with(
                    "auth.algorithm",
                    &FILE_KEYS,
                    format!(
                        "is {}, which takes {}: name its file in auth.public_key_file or \
                         auth.jwks_file, or its URL in auth.jwks_url",
                        auth.algorithm.name(),
                        kind.name()
                    ),
                ));
            }
            for (key, found) in files(auth, kind) {
                match found {
                    Ok(keys) => auth.public_keys.extend(keys),
                    Err(text) => violations.push(Violation::with(key, &["auth.algorithm"], text)),
                }
            }
            violations
        }
    }
}

type FileKeys = (&'static str, Result<Vec<PublicKey>, String>);

fn files(auth: &Auth, kind: Kind) -> Vec<FileKeys> {
    let name = auth.algorithm.name();
    let pem = auth.public_key_file.as_deref().map(|path| {
        let keys = public_key::read_pem(path, kind);
        let keys = keys.map_err(|violation| key_error_text(path, &violation, auth.algorithm));
        ("auth.public_key_file", keys)
    });
    let jwks = auth.jwks_file.as_deref().map(|path| {
        let keys = public_key::read_jwks(path, kind, name);
        let keys = keys.map_err(|violation| key_error_text(path, &violation, auth.algorithm));
        ("auth.jwks_file", keys)
    });
    pem.into_iter().chain(jwks).collect()
}

fn key_error_text(path: &Path, violation: &KeyError, algorithm: Algorithm) -> String {
    let path = path.display();
    format!("names {path} for {}, which {violation}", algorithm.name())
}

/// Rejects a source of keys that `auth.algorithm` does not use: it is a mistake.
fn unused_files(auth: &Auth) -> Vec<Violation> {
    let name = auth.algorithm.name();
    let files = FILE_KEYS
        .into_iter()
        .zip([&auth.public_key_file, &auth.jwks_file])
        .filter_map(|(key, path)| Some((key, path.as_ref()?.display().to_string())));
    let url = auth.jwks_url.iter().map(|url| (URL_KEY, url.clone()));
    files
        .chain(url)
        .map(|(key, path)| {
            let text = format!(
                "names {path}, but auth.algorithm is {name}, which takes a shared secret: \
                 set it to what the tokens are signed with, such as RS256 or ES256"
            );
            Violation::with(key, &["auth.algorithm"], text)
        })
        .collect()
}
