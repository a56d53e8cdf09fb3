//! Who may sign tokens beside parlor: the files that the configuration names, read while it is loaded,
//! so that what is wrong with one is told with everything else.

use std::path::Path;

use super::origin::Fault;
use super::{Algorithm, Auth};
use crate::public_key::{self, KeyError, Kind, PublicKey};

/// The keys that name them.
const FILES: [&str; 2] = ["auth.public_key_file", "auth.jwks_file"];

/// Fills in `auth.public_keys`. Gives every fault: the key, and what must change.
pub fn read(auth: &mut Auth) -> Vec<Fault> {
    match auth.algorithm.kind() {
        None => needless(auth),
        Some(kind) => {
            let mut faults = Vec::new();
            auth.public_keys = Vec::new();
            if auth.public_key_file.is_none() && auth.jwks_file.is_none() {
                faults.push(Fault::with(
                    "auth.algorithm",
                    &FILES,
                    format!(
                        "is {}, which takes {}: name its file in auth.public_key_file or \
                         auth.jwks_file",
                        auth.algorithm.name(),
                        kind.name()
                    ),
                ));
            }
            for (key, found) in files(auth, kind) {
                match found {
                    Ok(keys) => auth.public_keys.extend(keys),
                    Err(text) => faults.push(Fault::with(key, &["auth.algorithm"], text)),
                }
            }
            faults
        }
    }
}

type Found = (&'static str, Result<Vec<PublicKey>, String>);

fn files(auth: &Auth, kind: Kind) -> Vec<Found> {
    let name = auth.algorithm.name();
    let pem = auth.public_key_file.as_deref().map(|path| {
        let keys = public_key::read_pem(path, kind);
        let keys = keys.map_err(|fault| told(path, &fault, auth.algorithm));
        ("auth.public_key_file", keys)
    });
    let jwks = auth.jwks_file.as_deref().map(|path| {
        let keys = public_key::read_jwks(path, kind, name);
        let keys = keys.map_err(|fault| told(path, &fault, auth.algorithm));
        ("auth.jwks_file", keys)
    });
    pem.into_iter().chain(jwks).collect()
}

fn told(path: &Path, fault: &KeyError, algorithm: Algorithm) -> String {
    let path = path.display();
    format!("names {path} for {}, which {fault}", algorithm.name())
}

/// A file that nothing would be checked with is a mistake, not a reserve.
fn needless(auth: &Auth) -> Vec<Fault> {
    let name = auth.algorithm.name();
    FILES
        .into_iter()
        .zip([&auth.public_key_file, &auth.jwks_file])
        .filter_map(|(key, path)| Some((key, path.as_ref()?)))
        .map(|(key, path)| {
            let path = path.display();
            let text = format!(
                "names {path}, but auth.algorithm is {name}, which takes a shared secret: \
                 set it to what the tokens are signed with, such as RS256 or ES256"
            );
            Fault::with(key, &["auth.algorithm"], text)
        })
        .collect()
}
