//! Loads a configuration: merges the layers, checks the result, and collects every diagnostic.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::origin::{Diagnostic, Entry, Layer, Origin, Origins, Violation};
use super::public_url::PublicUrl;
use super::schema::{self, Schema};
use super::settings::Config;
use super::{acme, aliases, check, environment, file, jwt_keys, names, secrets, tls, warnings};

/// The configuration file of the system, with the lowest priority.
pub const SYSTEM_FILE: &str = "/etc/parlor/config.toml";

/// The maximum number of errors that are reported.
const MAX_DIAGNOSTICS: usize = 200;

/// The inputs of a configuration.
pub struct Sources {
    /// `--config`: exactly this file, regardless of its owner.
    pub file: Option<PathBuf>,
    /// The file to read without `file`, if root or `caller` owns it and no other user may write it.
    pub local_file: PathBuf,
    /// The file to read otherwise, if it exists.
    pub system_file: PathBuf,
    /// The effective user id.
    pub caller: u32,
    pub environment: Vec<(OsString, OsString)>,
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
pub struct Flag {
    /// The flag as typed: `--data-dir`.
    pub name: &'static str,
    /// The key it sets: `server.data_dir`.
    pub key: &'static str,
    /// The value; lists are separated by commas.
    pub text: String,
}

/// An effective configuration and its origins.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// The origin of each key that is not at its default.
    pub origins: Origins,
    /// Valid but risky settings.
    pub warnings: Vec<Diagnostic>,
    /// Remarks for standard error: the reason why a file was skipped.
    pub remarks: Vec<String>,
}

/// The errors of an unusable configuration.
#[derive(Debug)]
pub struct ConfigErrors {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// The errors, at least one.
    pub errors: Vec<Diagnostic>,
    /// The warnings of the values that can be read.
    pub warnings: Vec<Diagnostic>,
    pub remarks: Vec<String>,
}

impl Sources {
    /// The sources of this process.
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

/// Merges the layers and checks the result.
///
/// # Errors
/// Every error of every layer, in their order, then every violation by values that can be read.
/// A violation that may follow from an unreadable value is omitted.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let located = match &sources.file {
        Some(path) => file::LocatedFile {
            path: Some(path.clone()),
            remarks: Vec::new(),
        },
        None => file::locate(&sources.local_file, &sources.system_file, sources.caller),
    };
    let layers = MergedLayers::new(sources, located.path.as_deref());
    let mut validated = layers.validate(&sources.environment);
    if validated.errors.is_empty() {
        return Ok(Loaded {
            config: validated.config,
            file: located.path,
            origins: validated.origins,
            warnings: validated.warnings,
            remarks: located.remarks,
        });
    }
    truncate(&mut validated.errors);
    Err(ConfigErrors {
        file: located.path,
        errors: validated.errors,
        warnings: validated.warnings,
        remarks: located.remarks,
    })
}

/// The merged layers, as far as they can be read.
struct MergedLayers {
    tree: Value,
    origins: Origins,
    /// Keys whose value can't be read.
    unreadable: BTreeSet<String>,
    /// Keys that an unreadable entry may have been meant for.
    suspected: BTreeSet<String>,
    /// Old and new names of renamed keys.
    aliases: aliases::Uses,
    errors: Vec<Diagnostic>,
}

/// The checked configuration with its diagnostics.
struct Validated {
    config: Config,
    origins: Origins,
    errors: Vec<Diagnostic>,
    warnings: Vec<Diagnostic>,
}

impl MergedLayers {
    fn new(sources: &Sources, file: Option<&Path>) -> MergedLayers {
        let schema = Schema::known();
        let mut layers = MergedLayers {
            tree: schema::built_in(),
            origins: Origins::new(),
            unreadable: BTreeSet::new(),
            suspected: BTreeSet::new(),
            aliases: aliases::Uses::default(),
            errors: Vec::new(),
        };
        for layer in [
            file.map_or_else(Layer::new, |path| file::read(path, &schema)),
            environment::read(&sources.environment, &schema),
            flags(&sources.flags, &schema),
        ] {
            for one in layer {
                match one {
                    Ok(entry) => layers.set(entry),
                    Err(diagnostic) => layers.reject(diagnostic, &schema),
                }
            }
        }
        layers
    }

    fn set(&mut self, entry: Entry) {
        self.aliases.record(&entry);
        schema::insert(&mut self.tree, &entry.key, entry.value);
        self.unreadable.remove(&entry.key);
        self.origins.insert(entry.key, entry.origin);
    }

    /// Records an unreadable value. It outranks earlier values too: its key returns to the default.
    fn reject(&mut self, diagnostic: Diagnostic, schema: &Schema) {
        match schema.default_of(&diagnostic.key) {
            Some(default) => {
                schema::insert(&mut self.tree, &diagnostic.key, default.clone());
                self.origins.remove(&diagnostic.key);
                self.unreadable.insert(diagnostic.key.clone());
            }
            None => {
                let near = schema.likely_keys(&diagnostic.key).into_iter();
                self.suspected.extend(near.map(str::to_owned));
            }
        }
        self.errors.push(diagnostic);
    }

    fn validate(self, environment: &[(OsString, OsString)]) -> Validated {
        let MergedLayers {
            tree,
            mut origins,
            unreadable: mut unreliable,
            suspected,
            aliases,
            mut errors,
        } = self;
        let (twice, mut warnings) = aliases.report();
        errors.extend(twice);
        let unset = |key: &String| !origins.contains_key(key);
        unreliable.extend(suspected.into_iter().filter(unset));
        let mut config = serde_json::from_value(tree).unwrap_or_else(|error| {
            errors.push(Diagnostic::new(Origin::BuiltIn, "", error.to_string()));
            Config::default()
        });
        normalise(&mut config);
        let unreadable = secrets::read(&mut config, environment, &mut origins);
        let behind = unreadable
            .iter()
            .flat_map(|violation| violation.with.iter().copied());
        let behind: Vec<_> = behind.map(str::to_owned).collect();
        errors.extend(report(unreadable, &unreliable, &origins));
        // A secret in an unreadable file is unknown, not unset.
        unreliable.extend(behind);
        for violations in [
            check::check(&config),
            acme::check(&config),
            jwt_keys::load_public_keys(&mut config.auth),
            tls::load_identity(&mut config.tls),
        ] {
            errors.extend(report(violations, &unreliable, &origins));
        }
        let risky = warnings::check(&config, &origins);
        warnings.extend(report(risky, &unreliable, &origins));
        Validated {
            config,
            origins,
            errors,
            warnings,
        }
    }
}

/// Turns violations into diagnostics with their origins. Omits those that may follow from an unreadable value.
fn report(
    violations: Vec<Violation>,
    unreliable: &BTreeSet<String>,
    origins: &Origins,
) -> Vec<Diagnostic> {
    let sure = |violation: &Violation| violation.keys().all(|key| !unreliable.contains(key));
    let messages = violations.into_iter().filter(sure).map(|violation| {
        let origin = origins
            .get(violation.key)
            .cloned()
            .unwrap_or(Origin::BuiltIn);
        Diagnostic::new(origin, violation.key, violation.text)
    });
    messages.collect()
}

/// Limits the number of errors. A file of another kind has thousands.
fn truncate(errors: &mut Vec<Diagnostic>) {
    if let Some(more) = errors.len().checked_sub(MAX_DIAGNOSTICS).filter(|n| *n > 0) {
        errors.truncate(MAX_DIAGNOSTICS);
        let text = format!("there are {more} more problems");
        errors.push(Diagnostic::new(Origin::BuiltIn, "", text));
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

fn flags(flags: &[Flag], schema: &Schema) -> Layer {
    let set = flags.iter().flat_map(|flag| {
        let origin = Origin::Flag(flag.name.to_owned());
        schema.setting(flag.key, schema.from_text(flag.key, &flag.text), origin)
    });
    set.collect()
}

#[cfg(test)]
mod tests {
    use super::super::origin::variable;
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

    fn report(refused: ConfigErrors) -> Vec<String> {
        refused.errors.iter().map(Diagnostic::to_string).collect()
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
    fn the_problems_of_all_layers_are_reported_together() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = sources(dir.path(), "\n[turn]\nrelm = 1\n", &[("PARLOR_X__Y", "1")]);
        sources.flags.push(Flag {
            name: "--listen",
            key: "http.listen",
            text: "here".to_owned(),
        });
        let messages = report(load(&sources).unwrap_err());
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(
            messages[0].contains("given.toml:3: turn.relm"),
            "{messages:?}"
        );
        assert!(
            messages[1].starts_with("PARLOR_X__Y is not"),
            "{messages:?}"
        );
        assert!(
            messages[2].starts_with("--listen is wrong at \"here\""),
            "{messages:?}"
        );
    }

    #[test]
    fn an_invalid_value_is_reported_with_its_origin() {
        let dir = tempfile::tempdir().unwrap();
        let short = [("SECRET_KEY", "short"), ("WEBSOCKET_PING_TIMEOUT", "0")];
        let messages =
            report(load(&sources(dir.path(), "signaling.burst = 0", &short)).unwrap_err());
        assert_eq!(messages.len(), 3, "{messages:?}");
        assert!(
            messages[0].starts_with("WEBSOCKET_PING_TIMEOUT must be longer"),
            "{messages:?}"
        );
        assert!(
            messages[1].contains("given.toml:1: signaling.burst must be"),
            "{messages:?}"
        );
        assert!(
            messages[2].starts_with("SECRET_KEY must have at least 32 bytes"),
            "{messages:?}"
        );
    }

    #[test]
    fn urls_are_normalized_as_in_browsers() {
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
    fn internationalized_names_are_stored_in_their_dns_form() {
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
        let messages = report(load(&bad).unwrap_err());
        assert!(
            messages[0].contains("not `https://bü cher`"),
            "{messages:?}"
        );
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
        let messages = report(load(&sources(dir.path(), &file, &[])).unwrap_err());
        assert!(
            messages[0].ends_with("is UTF-16 text: save it as UTF-8"),
            "{messages:?}"
        );
    }

    #[test]
    fn a_secret_in_a_world_readable_file_gets_a_warning() {
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
            about_files.map(Diagnostic::to_string).collect::<Vec<_>>()
        };
        let secret = "auth.previous_secrets = [\"0123456789abcdef0123456789abcdef\"]";
        let messages = remarks(secret, 0o644);
        assert!(
            messages[0].contains("auth.previous_secrets"),
            "{messages:?}"
        );
        assert!(!messages[0].contains("turn.secret"), "{messages:?}");
        assert!(remarks(secret, 0o640).is_empty());
        assert!(remarks("turn.realm = \"open\"", 0o644).is_empty());
    }

    #[test]
    fn a_short_turn_secret_gets_a_warning_and_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let remarks = |secret: &str, older: &str| {
            let variables = [
                ("PARLOR_TURN__SECRET", secret),
                ("PARLOR_TURN__PREVIOUS_SECRETS", older),
            ];
            let warnings = load(&sources(dir.path(), "", &variables)).unwrap().warnings;
            warnings
                .iter()
                .map(Diagnostic::to_string)
                .collect::<Vec<_>>()
        };
        let long = "0123456789abcdef";
        assert_eq!(remarks(long, long), [""; 0]);
        let messages = remarks("fifteen-bytes..", &format!("{long},old-and-short"));
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].starts_with("PARLOR_TURN__SECRET has 15 bytes"));
        assert!(messages[1].starts_with("PARLOR_TURN__PREVIOUS_SECRETS has 13 bytes"));
        let messages = messages.concat();
        assert!(!messages.contains("fifteen") && !messages.contains("old-"));
    }

    #[test]
    fn a_missing_file_of_the_config_flag_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let mut sources = sources(dir.path(), "", &[]);
        sources.file = Some(dir.path().join("absent.toml"));
        let messages = report(load(&sources).unwrap_err());
        assert!(
            messages[0].ends_with("absent.toml does not exist"),
            "{messages:?}"
        );
    }

    proptest! {
        #[test]
        fn no_value_makes_the_checks_panic(
            values in proptest::collection::vec((0usize..100, "[ -~]{0,20}|[0-9.:/-]{0,12}"), 0..4),
        ) {
            let keys: Vec<_> = Schema::known().iter().map(|(key, _)| variable(key)).collect();
            let pairs = values.iter().map(|(at, text)| (&*keys[at % keys.len()], &**text));
            let pairs: Vec<_> = pairs.collect();
            let dir = tempfile::tempdir().unwrap();
            if let Err(refused) = load(&sources(dir.path(), "", &pairs)) {
                prop_assert!(!refused.errors.is_empty());
            }
        }
    }
}
