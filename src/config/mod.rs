//! Settings: built-in < file < environment < flags, with every problem named by its place.
//!
//! The struct in `settings` is the only list of keys. Nothing here reads the environment or the
//! command line behind the caller's back: both come in as [`Sources`].

mod acme;
mod alternate_server;
mod check;
mod cidr;
mod discovery;
pub mod duration;
mod environment;
mod external_ip;
mod file;
mod jwt_keys;
mod names;
mod origin;
mod parse_errors;
mod port_list;
mod public_url;
mod reload_scope;
mod schema;
mod secrets;
mod segmentation;
mod settings;
mod tls;
mod urls;
mod warnings;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

pub use acme::{acme_directory, acme_domains};
pub use discovery::discovery_pairs;
pub use environment::{LEGACY, variable};
pub use origin::{Origin, Problem};
pub use public_url::PublicUrl;
pub use reload_scope::{EFFECTS, Effect, Report, keep};
pub use schema::Keys;
pub use segmentation::Segmentation;
pub use settings::*;
pub use tls::{
    https_listen, own_hosts, plain_listen, read_certificate, tcp_listeners, turn_tls_listen,
};
pub use urls::{
    HTTPS_PORT, STUN_PORT, base_url, invite_link, offered_port, offered_tls, public_url, reachable,
    turn_host,
};

use origin::{Entry, Fault, Layer};

/// Where `serve` looks last for a file.
pub const SYSTEM_FILE: &str = "/etc/parlor/config.toml";

/// More problems than this are of no help to anybody.
const PROBLEMS_TOLD: usize = 200;

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
    pub origins: Origins,
    /// What can be used and is unwise.
    pub warnings: Vec<Problem>,
    /// What the caller should be told on standard error: why a file was passed over.
    pub remarks: Vec<String>,
}

/// A configuration that can't be used.
#[derive(Debug)]
pub struct Refused {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// At least one.
    pub problems: Vec<Problem>,
    /// Of what can be read.
    pub warnings: Vec<Problem>,
    pub remarks: Vec<String>,
}

/// Keys and the places that set them.
pub type Origins = BTreeMap<String, Origin>;

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
/// Every problem of every layer at once, in their order; then what is wrong with values that can be
/// read. What only follows from a value that can't be read is not told.
pub fn load(sources: &Sources) -> Result<Loaded, Refused> {
    let found = match &sources.file {
        Some(path) => file::Found {
            path: Some(path.clone()),
            remarks: Vec::new(),
        },
        None => file::find(&sources.local_file, &sources.system_file, sources.caller),
    };
    let draft = Draft::new(sources, found.path.as_deref());
    let mut judged = draft.judge(&sources.environment);
    if judged.problems.is_empty() {
        return Ok(Loaded {
            config: judged.config,
            file: found.path,
            origins: judged.origins,
            warnings: judged.warnings,
            remarks: found.remarks,
        });
    }
    bound(&mut judged.problems);
    Err(Refused {
        file: found.path,
        problems: judged.problems,
        warnings: judged.warnings,
        remarks: found.remarks,
    })
}

/// Layers put together, as far as they can be read.
struct Draft {
    tree: Value,
    origins: Origins,
    /// Keys whose value can't be read.
    unread: BTreeSet<String>,
    /// Keys that may have been meant by what can't be read.
    suspected: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// A draft as a configuration, and what is to be said of it.
struct Judged {
    config: Config,
    origins: Origins,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Draft {
    fn new(sources: &Sources, file: Option<&Path>) -> Draft {
        let keys = Keys::known();
        let mut draft = Draft {
            tree: schema::built_in(),
            origins: Origins::new(),
            unread: BTreeSet::new(),
            suspected: BTreeSet::new(),
            problems: Vec::new(),
        };
        for layer in [
            file.map_or_else(Layer::new, |path| file::read(path, &keys)),
            environment::read(&sources.environment, &keys),
            flags(&sources.flags, &keys),
        ] {
            for one in layer {
                match one {
                    Ok(entry) => draft.set(entry),
                    Err(problem) => draft.doubt(problem, &keys),
                }
            }
        }
        draft
    }

    fn set(&mut self, entry: Entry) {
        schema::put(&mut self.tree, &entry.key, entry.value);
        self.unread.remove(&entry.key);
        self.origins.insert(entry.key, entry.origin);
    }

    /// A value that can't be read outranks what was there, too: the key is built in then.
    fn doubt(&mut self, problem: Problem, keys: &Keys) {
        match keys.default_of(&problem.key) {
            Some(default) => {
                schema::put(&mut self.tree, &problem.key, default.clone());
                self.origins.remove(&problem.key);
                self.unread.insert(problem.key.clone());
            }
            None => {
                let near = keys.probably_meant(&problem.key).into_iter();
                self.suspected.extend(near.map(str::to_owned));
            }
        }
        self.problems.push(problem);
    }

    fn judge(self, environment: &[(OsString, OsString)]) -> Judged {
        let Draft {
            tree,
            mut origins,
            unread: mut doubtful,
            suspected,
            mut problems,
        } = self;
        let unset = |key: &String| !origins.contains_key(key);
        doubtful.extend(suspected.into_iter().filter(unset));
        let mut config = serde_json::from_value(tree).unwrap_or_else(|error| {
            problems.push(Problem::new(Origin::BuiltIn, "", error.to_string()));
            Config::default()
        });
        normalise(&mut config);
        let unread = secrets::read(&mut config, environment, &mut origins);
        let behind = unread.iter().flat_map(|fault| fault.with.iter().copied());
        let behind: Vec<_> = behind.map(str::to_owned).collect();
        problems.extend(told(unread, &doubtful, &origins));
        // What stands in a file that can't be read is unknown, not unset.
        doubtful.extend(behind);
        for faults in [
            check::check(&config),
            acme::check(&config),
            jwt_keys::read(&mut config.auth),
            tls::read(&mut config.tls),
        ] {
            problems.extend(told(faults, &doubtful, &origins));
        }
        let unwise = warnings::check(&config, &origins);
        Judged {
            warnings: told(unwise, &doubtful, &origins),
            config,
            origins,
            problems,
        }
    }
}

/// Faults by the places that set their keys, without those that may only follow from a doubtful one.
fn told(faults: Vec<Fault>, doubtful: &BTreeSet<String>, origins: &Origins) -> Vec<Problem> {
    let sure = |fault: &Fault| fault.keys().all(|key| !doubtful.contains(key));
    let told = faults.into_iter().filter(sure).map(|fault| {
        let origin = origins.get(fault.key).cloned().unwrap_or(Origin::BuiltIn);
        Problem::new(origin, fault.key, fault.text)
    });
    told.collect()
}

/// A file of something else altogether has thousands.
fn bound(problems: &mut Vec<Problem>) {
    if let Some(more) = problems.len().checked_sub(PROBLEMS_TOLD).filter(|n| *n > 0) {
        problems.truncate(PROBLEMS_TOLD);
        let text = format!("there are {more} more problems");
        problems.push(Problem::new(Origin::BuiltIn, "", text));
    }
}

/// Writes URLs like browser origins, so that they can be compared as text, and names in their DNS form.
fn normalise(config: &mut Config) {
    let ice = &mut config.ice;
    for url in ice.stun_urls.iter_mut().chain(&mut ice.turn_urls) {
        *url = names::ice_url_to_ascii(url).into_owned();
    }
    let hosts = config.turn.public_host.iter_mut();
    for host in hosts.chain(&mut config.tls.domains) {
        *host = names::to_ascii(host).into_owned();
    }
    let urls = config.server.public_url.iter_mut();
    for text in urls.chain(&mut config.http.allowed_origins) {
        if let Ok(url) = PublicUrl::parse(text) {
            *text = url.to_string();
        }
    }
}

fn flags(flags: &[Flag], keys: &Keys) -> Layer {
    let set = flags.iter().flat_map(|flag| {
        let origin = Origin::Flag(flag.name.to_owned());
        keys.setting(flag.key, keys.from_text(flag.key, &flag.text), origin)
    });
    set.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use crate::secret::Secret;
    use proptest::prelude::*;

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
    fn internationalised_names_are_kept_as_dns_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = "server.public_url = \"https://Bücher.example:8443/\"\n\
                    turn.public_host = \"bücher.example\"\n\
                    tls.domains = [\"Bücher.example\"]\n\
                    http.allowed_origins = [\"https://bücher.example\"]\n\
                    ice.stun_urls = [\"stun:bücher.example:3478\"]";
        let config = load(&sources(dir.path(), file, &[])).unwrap().config;
        let name = "xn--bcher-kva.example";
        assert_eq!(
            config.server.public_url,
            Some(format!("https://{name}:8443"))
        );
        assert_eq!(config.turn.public_host.as_deref(), Some(name));
        assert_eq!(config.tls.domains, [name]);
        assert_eq!(config.http.allowed_origins, [format!("https://{name}")]);
        assert_eq!(config.ice.stun_urls, [format!("stun:{name}:3478")]);
        let bad = sources(dir.path(), "server.public_url = \"https://bü cher\"", &[]);
        let told = told(load(&bad).unwrap_err());
        assert!(told[0].contains("not `https://bü cher`"), "{told:?}");
    }

    #[test]
    fn a_secret_in_a_file_has_no_byte_order_mark() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        let file = format!("turn.secret_file = \"{}\"", secret.display());
        fs::write(&secret, "\u{feff}0123456789abcdef\r\n").unwrap();
        let config = load(&sources(dir.path(), &file, &[])).unwrap().config;
        assert_eq!(config.turn.secret, Some(Secret::new("0123456789abcdef")));
        fs::write(&secret, [0xff, 0xfe, b'x', 0]).unwrap();
        let told = told(load(&sources(dir.path(), &file, &[])).unwrap_err());
        assert!(
            told[0].ends_with("is UTF-16 text: save it as UTF-8"),
            "{told:?}"
        );
    }

    #[test]
    fn a_secret_in_a_file_that_everybody_may_read_is_warned_of() {
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
            let warnings = load(&sources).unwrap().warnings;
            let about_files = warnings.iter().filter(|one| one.text.contains("chmod o-r"));
            about_files.map(Problem::to_string).collect::<Vec<_>>()
        };
        let secret = "auth.previous_secrets = [\"0123456789abcdef0123456789abcdef\"]";
        let told = remarks(secret, 0o644);
        assert!(told[0].contains("auth.previous_secrets"), "{told:?}");
        assert!(!told[0].contains("turn.secret"), "{told:?}");
        assert!(remarks(secret, 0o640).is_empty());
        assert!(remarks("turn.realm = \"open\"", 0o644).is_empty());
    }

    #[test]
    fn a_short_secret_of_the_relay_is_warned_of_and_never_printed() {
        let dir = tempfile::tempdir().unwrap();
        let remarks = |secret: &str, older: &str| {
            let variables = [
                ("PARLOR_TURN__SECRET", secret),
                ("PARLOR_TURN__PREVIOUS_SECRETS", older),
            ];
            let warnings = load(&sources(dir.path(), "", &variables)).unwrap().warnings;
            warnings.iter().map(Problem::to_string).collect::<Vec<_>>()
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

    proptest! {
        #[test]
        fn no_value_of_any_key_makes_the_checks_panic(
            values in proptest::collection::vec((0usize..100, "[ -~]{0,20}|[0-9.:/-]{0,12}"), 0..4),
        ) {
            let keys: Vec<_> = Keys::known().iter().map(|(key, _)| variable(key)).collect();
            let pairs = values.iter().map(|(at, text)| (&*keys[at % keys.len()], &**text));
            let pairs: Vec<_> = pairs.collect();
            let dir = tempfile::tempdir().unwrap();
            if let Err(refused) = load(&sources(dir.path(), "", &pairs)) {
                prop_assert!(!refused.problems.is_empty());
            }
        }
    }
}
