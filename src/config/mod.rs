//! Settings: built-in < file < environment < flags, with every problem named by its place.
//!
//! The struct in `settings` is the only list of keys. Nothing here reads the environment or the
//! command line behind the caller's back: both come in as [`Sources`].

mod check;
pub mod duration;
mod environment;
mod external;
mod file;
mod keys;
mod links;
mod nets;
mod origin;
mod public_url;
mod secrets;
mod settings;
mod signers;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

pub use environment::{LEGACY, variable};
pub use keys::Keys;
pub use links::{base_url, invite_link, reachable, turn_host};
pub use origin::{Entry, Origin, Problem};
pub use public_url::PublicUrl;
pub use settings::*;

/// Where `serve` looks last for a file.
pub const SYSTEM_FILE: &str = "/etc/parlor/config.toml";

/// More problems than this are of no help to anybody.
const PROBLEMS_TOLD: usize = 50;

/// Bytes below which a secret of the relay is remarked on.
const TURN_SECRET_BYTES: usize = 16;

/// What a configuration is made of.
pub struct Sources {
    /// `--config`: exactly this file, whoever owns it.
    pub file: Option<PathBuf>,
    /// Otherwise this one, where root or `caller` owns it and nobody else may write it …
    pub local_file: PathBuf,
    /// … or else this one, where it exists.
    pub system_file: PathBuf,
    /// The effective user id.
    pub caller: u32,
    pub environment: Vec<(OsString, OsString)>,
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
pub struct Flag {
    /// As it is typed: `--data-dir`.
    pub name: &'static str,
    /// The key it sets: `server.data_dir`.
    pub key: &'static str,
    /// Lists are separated by commas.
    pub text: String,
}

/// An effective configuration and how it came about.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Where each key that is not built in came from.
    pub origins: BTreeMap<String, Origin>,
    /// What the caller should be told on standard error.
    pub remarks: Vec<String>,
}

/// A configuration that can't be used.
#[derive(Debug)]
pub struct Refused {
    /// At least one.
    pub problems: Vec<Problem>,
    pub remarks: Vec<String>,
}

impl Sources {
    /// Those of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Sources {
        Sources {
            file,
            local_file: Path::new(".").join("config.toml"),
            system_file: PathBuf::from(SYSTEM_FILE),
            caller: nix::unistd::geteuid().as_raw(),
            environment: std::env::vars_os().collect(),
            flags,
        }
    }
}

/// Puts the layers together and checks the whole.
///
/// # Errors
/// Every problem of every layer at once; what values must be together is judged only when each of
/// them can be read.
pub fn load(sources: &Sources) -> Result<Loaded, Refused> {
    let keys = Keys::known();
    let found = match &sources.file {
        Some(path) => file::Found {
            path: Some(path.clone()),
            remarks: Vec::new(),
        },
        None => file::find(&sources.local_file, &sources.system_file, sources.caller),
    };
    let from_file = found.path.as_ref().map(|path| file::read(path, &keys));
    let layers = [
        from_file.unwrap_or_else(|| Ok(Vec::new())),
        environment::read(&sources.environment, &keys),
        flags(&sources.flags, &keys),
    ];
    let mut remarks = found.remarks;
    match assemble(layers, &sources.environment) {
        Ok((config, origins)) => {
            remarks.extend(
                secrets_by_file(&config, &origins)
                    .into_iter()
                    .filter_map(|(path, secrets)| file::exposure(path, &secrets)),
            );
            remarks.extend(short_secrets(&config, &origins));
            Ok(Loaded {
                config,
                file: found.path,
                origins,
                remarks,
            })
        }
        Err(mut problems) => {
            problems.truncate(PROBLEMS_TOLD);
            Err(Refused { problems, remarks })
        }
    }
}

/// The files that hold secrets, and the keys of these; serialised, a secret is stars.
fn secrets_by_file<'a>(
    config: &Config,
    origins: &'a BTreeMap<String, Origin>,
) -> BTreeMap<&'a Path, Vec<&'a str>> {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let is_secret = |key: &str| {
        let value = key.split('.').fold(&tree, |place, part| &place[part]);
        let value = value.get(0).unwrap_or(value);
        value.as_str() == Some(crate::secret::SHOWN)
    };
    let mut files: BTreeMap<&Path, Vec<&str>> = BTreeMap::new();
    for (key, origin) in origins.iter().filter(|(key, _)| is_secret(key)) {
        if let Origin::File { path, .. } = origin {
            files.entry(path).or_default().push(key);
        }
    }
    files
}

/// Remarks on secrets of the relay that can be guessed. coturn takes them, and whoever shares one
/// with it may have no say in its length.
fn short_secrets(config: &Config, origins: &BTreeMap<String, Origin>) -> Vec<String> {
    let turn = &config.turn;
    let newest = turn.secret.iter().map(|secret| ("turn.secret", secret));
    let older = turn.previous_secrets.iter();
    newest
        .chain(older.map(|secret| ("turn.previous_secrets", secret)))
        .filter(|(_, secret)| secret.expose().len() < TURN_SECRET_BYTES)
        .map(|(key, secret)| {
            let origin = origins.get(key).cloned().unwrap_or(Origin::BuiltIn);
            let bytes = secret.expose().len();
            let text = format!(
                "has {bytes} bytes, so few that anybody with a credential can guess them: \
                 `openssl rand -hex 32` makes a good one"
            );
            Problem::new(origin, key, text).to_string()
        })
        .collect()
}

type Layer = Result<Vec<Entry>, Vec<Problem>>;

fn assemble(
    layers: [Layer; 3],
    environment: &[(OsString, OsString)],
) -> Result<(Config, BTreeMap<String, Origin>), Vec<Problem>> {
    let mut tree = keys::built_in();
    let mut origins = BTreeMap::new();
    let mut problems = Vec::new();
    for layer in layers {
        match layer {
            Ok(entries) => {
                for entry in entries {
                    keys::put(&mut tree, &entry.key, entry.value);
                    origins.insert(entry.key, entry.origin);
                }
            }
            Err(found) => problems.extend(found),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut config: Config = serde_json::from_value(tree)
        .map_err(|error| vec![Problem::new(Origin::BuiltIn, "", error.to_string())])?;
    normalise(&mut config);
    let faults = secrets::read(&mut config, environment, &mut origins).into_iter();
    let faults: Vec<_> = faults
        .chain(check::check(&config))
        .chain(signers::read(&mut config.auth))
        .map(|(key, text)| {
            let origin = origins.get(key).cloned().unwrap_or(Origin::BuiltIn);
            Problem::new(origin, key, text)
        })
        .collect();
    match faults.is_empty() {
        true => Ok((config, origins)),
        false => Err(faults),
    }
}

/// URLs as browsers write origins, so that comparing text compares them.
fn normalise(config: &mut Config) {
    let urls = config.server.public_url.iter_mut();
    for text in urls.chain(&mut config.http.allowed_origins) {
        if let Ok(url) = PublicUrl::parse(text) {
            *text = url.to_string();
        }
    }
}

fn flags(flags: &[Flag], keys: &Keys) -> Layer {
    let mut entries = Vec::new();
    let mut problems = Vec::new();
    for flag in flags {
        let origin = Origin::Flag(flag.name.to_owned());
        let value = keys.from_text(flag.key, &flag.text);
        match keys.judge(flag.key, &value) {
            Ok(()) => entries.push(Entry {
                key: flag.key.to_owned(),
                value,
                origin,
            }),
            Err(text) => problems.push(Problem::new(origin, flag.key, text)),
        }
    }
    match problems.is_empty() {
        true => Ok(entries),
        false => Err(problems),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn sources(dir: &Path, file: &str, variables: &[(&str, &str)]) -> Sources {
        let path = dir.join("given.toml");
        fs::write(&path, file).unwrap();
        Sources {
            file: Some(path),
            local_file: dir.join("absent.toml"),
            system_file: dir.join("absent.toml"),
            caller: 0,
            environment: variables
                .iter()
                .map(|(k, v)| (k.into(), v.into()))
                .collect(),
            flags: Vec::new(),
        }
    }

    fn told(refused: Refused) -> Vec<String> {
        refused.problems.iter().map(Problem::to_string).collect()
    }

    #[test]
    fn a_later_layer_outranks_an_earlier_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = "[turn]\nrealm = \"file\"\n[signaling]\nrate = 1\nburst = 2\n";
        let variables = [
            ("PARLOR_SIGNALING__RATE", "3"),
            ("PARLOR_HTTP__LISTEN", "[::1]:1"),
        ];
        let mut sources = sources(dir.path(), file, &variables);
        sources.flags.push(Flag {
            name: "--listen",
            key: "http.listen",
            text: "[::1]:2".to_owned(),
        });
        let loaded = load(&sources).unwrap();
        let config = loaded.config;
        assert_eq!(config.turn.realm, "file");
        assert_eq!((config.signaling.rate, config.signaling.burst), (3, 2));
        assert_eq!(config.http.listen, ["[::1]:2".parse().unwrap()]);
        assert_eq!(
            loaded.origins["http.listen"],
            Origin::Flag("--listen".to_owned())
        );
    }

    #[test]
    fn every_layer_tells_its_problems_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = sources(dir.path(), "\n[turn]\nrelm = 1\n", &[("PARLOR_X__Y", "1")]);
        sources.flags.push(Flag {
            name: "--listen",
            key: "http.listen",
            text: "here".to_owned(),
        });
        let told = told(load(&sources).unwrap_err());
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(told[0].contains("given.toml:3: turn.relm"), "{told:?}");
        assert!(told[1].starts_with("PARLOR_X__Y is not"), "{told:?}");
        assert!(
            told[2].starts_with("--listen is wrong at \"here\""),
            "{told:?}"
        );
    }

    #[test]
    fn a_faulty_value_is_named_by_the_place_that_set_it() {
        let dir = tempfile::tempdir().unwrap();
        let short = [("SECRET_KEY", "short"), ("WEBSOCKET_PING_TIMEOUT", "0")];
        let told = told(load(&sources(dir.path(), "signaling.burst = 0", &short)).unwrap_err());
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(
            told[0].starts_with("WEBSOCKET_PING_TIMEOUT must be longer"),
            "{told:?}"
        );
        assert!(
            told[1].contains("given.toml:1: signaling.burst must be"),
            "{told:?}"
        );
        assert!(
            told[2].starts_with("SECRET_KEY must have at least 32 bytes"),
            "{told:?}"
        );
    }

    #[test]
    fn urls_are_kept_as_browsers_write_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = "server.public_url = \"HTTPS://Talk.example.org:443/\"\n\
                    http.allowed_origins = [\"https://App.example/\", \"tauri://localhost\"]";
        let config = load(&sources(dir.path(), file, &[])).unwrap().config;
        let url = config.server.public_url.as_deref();
        assert_eq!(url, Some("https://talk.example.org"));
        let origins = ["https://app.example", "tauri://localhost"];
        assert_eq!(config.http.allowed_origins, origins);
    }

    #[test]
    fn a_secret_in_a_file_that_everybody_may_read_is_remarked_on() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("given.toml");
        let remarks = |file: &str, mode| {
            let sources = sources(
                dir.path(),
                file,
                &[("PARLOR_TURN__SECRET", "it is kept elsewhere")],
            );
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            load(&sources).unwrap().remarks
        };
        let secret = "auth.previous_secrets = [\"0123456789abcdef0123456789abcdef\"]";
        let told = remarks(secret, 0o644);
        assert!(told[0].contains("auth.previous_secrets"), "{told:?}");
        assert!(!told[0].contains("turn.secret"), "{told:?}");
        assert!(remarks(secret, 0o640).is_empty());
        assert!(remarks("turn.realm = \"open\"", 0o644).is_empty());
    }

    #[test]
    fn a_short_secret_of_the_relay_is_remarked_on_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let remarks = |secret: &str, older: &str| {
            let variables = [
                ("PARLOR_TURN__SECRET", secret),
                ("PARLOR_TURN__PREVIOUS_SECRETS", older),
            ];
            load(&sources(dir.path(), "", &variables)).unwrap().remarks
        };
        let long = "0123456789abcdef";
        assert_eq!(remarks(long, long), [""; 0]);
        let told = remarks("fifteen-bytes..", &format!("{long},old-and-short"));
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("PARLOR_TURN__SECRET has 15 bytes"));
        assert!(told[1].starts_with("PARLOR_TURN__PREVIOUS_SECRETS has 13 bytes"));
        let told = told.concat();
        assert!(!told.contains("fifteen") && !told.contains("old-"));
    }

    #[test]
    fn a_missing_file_is_a_problem_when_it_was_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = sources(dir.path(), "", &[]);
        sources.file = Some(dir.path().join("absent.toml"));
        let told = told(load(&sources).unwrap_err());
        assert!(told[0].ends_with("absent.toml does not exist"), "{told:?}");
    }
}
