//! Certificates and TLS listeners. The files are read while the configuration is loaded, so that
//! their errors are reported with all others.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rustls::pki_types::ServerName;
use time::OffsetDateTime;

use super::urls::page_host;
use super::value_source::Violation;
use super::{Config, Tls, TlsMode, ice_host};
use crate::clock;
use crate::tls::{self, Identity, PemFile, PemFileError};

/// The default port of TURN over TLS (RFC 8656 section 18.7).
const TURNS_PORT: u16 = 5349;

/// The listeners for TURN over TLS alone: none without TLS; else `turn.tls_listen`, or the default port
/// on the addresses of `turn.listen`, unless HTTP uses it.
pub fn turn_tls_listen(config: &Config) -> Vec<SocketAddr> {
    let turn = &config.turn;
    if !turn.tls_listen.is_empty() {
        return if_tls(config, &turn.tls_listen);
    }
    let mut usual: Vec<SocketAddr> = Vec::new();
    for address in &turn.listen {
        let address = SocketAddr::new(address.ip(), TURNS_PORT);
        if !usual.contains(&address) && !config.http.listen.contains(&address) {
            usual.push(address);
        }
    }
    if_tls(config, &usual)
}

/// The listeners for HTTPS, which also serve TURN over TLS; none without TLS.
pub fn https_listen(config: &Config) -> Vec<SocketAddr> {
    if_tls(config, &config.http.listen)
}

/// The plain HTTP listeners that redirect to HTTPS; none without TLS.
pub fn plain_listen(config: &Config) -> Vec<SocketAddr> {
    if_tls(config, &config.http.plain_listen)
}

/// The settings with TCP listeners.
pub(super) const TCP_LISTENERS: [&str; 5] = [
    "http.listen",
    "http.plain_listen",
    "turn.listen",
    "turn.tls_listen",
    "admin.metrics_listen",
];

/// The TCP listeners by setting.
pub fn tcp_listeners(config: &Config) -> [(&'static str, Vec<SocketAddr>); 5] {
    let mut addresses = [
        config.http.listen.clone(),
        plain_listen(config),
        config.turn.listen.clone(),
        turn_tls_listen(config),
        config.admin.metrics_listen.clone(),
    ]
    .into_iter();
    TCP_LISTENERS.map(|key| (key, addresses.next().unwrap_or_default()))
}

fn if_tls(config: &Config, listen: &[SocketAddr]) -> Vec<SocketAddr> {
    match config.tls.mode {
        TlsMode::Off => Vec::new(),
        _ => listen.to_vec(),
    }
}

/// Fills in `tls.identity`. Returns every violation: the key, and what must change.
pub(super) fn load_identity(tls: &mut Tls) -> Vec<Violation> {
    tls.identity = None;
    match (tls.mode, &tls.cert_file, &tls.key_file) {
        (TlsMode::Off | TlsMode::SelfSigned | TlsMode::Acme, certificate, key) => {
            unused_files(tls.mode, certificate, key)
        }
        (TlsMode::Files, Some(certificate), Some(key)) => match tls::read(certificate, key) {
            Ok(identity) => {
                tls.identity = Some(identity);
                Vec::new()
            }
            Err(violations) => {
                let messages = violations
                    .iter()
                    .map(|violation| identity_violation(violation, certificate, key));
                messages.collect()
            }
        },
        (TlsMode::Files, certificate, key) => {
            let missing = [
                ("tls.cert_file", certificate, "the certificate"),
                ("tls.key_file", key, "the certificate's key"),
            ];
            let missing = missing.into_iter().filter(|(_, path, _)| path.is_none());
            let messages = missing.map(|(key, _, what)| {
                let text = format!("must name the file of {what}, because tls.mode is files");
                Violation::with(key, &["tls.mode"], text)
            });
            messages.collect()
        }
    }
}

/// Reads the certificate files again after a renewal. Returns warnings about the certificate.
///
/// # Errors
/// The errors of the files, a sentence each.
pub fn read_certificate(config: &mut Config) -> Result<Vec<String>, Vec<String>> {
    let messages_of = |violations: Vec<Violation>| {
        let messages = violations.into_iter();
        messages
            .map(|violation| format!("{} {}", violation.key, violation.text))
            .collect()
    };
    match load_identity(&mut config.tls) {
        violations if violations.is_empty() => Ok(messages_of(warnings(config))),
        violations => Err(messages_of(violations)),
    }
}

/// The hosts that clients may verify in a certificate: configured names and addresses, and the name of
/// this host.
pub fn own_hosts(config: &Config) -> Vec<String> {
    let turn_tls = turn_tls_listen(config);
    let listen = config.http.listen.iter().chain(&turn_tls);
    let listen = listen.map(|address| address.ip());
    let listen = listen.filter(|ip| !ip.is_unspecified());
    let named = page_host(config).into_iter().chain(ice_host(config));
    let named = named.map(|host| host.unbracketed());
    let named = named.chain(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let mut hosts: Vec<String> = Vec::new();
    for host in named.chain(listen.map(|ip| ip.to_string())) {
        let can_be = ServerName::try_from(host.as_str()).is_ok();
        if can_be && !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

/// Rejects certificate files in a mode that does not read them: the author expects TLS with them.
fn unused_files(
    mode: TlsMode,
    certificate: &Option<PathBuf>,
    key: &Option<PathBuf>,
) -> Vec<Violation> {
    let set = [("tls.cert_file", certificate), ("tls.key_file", key)];
    let set = set.into_iter();
    let set = set.filter_map(|(key, path)| Some((key, path.as_ref()?)));
    let messages = set.map(|(key, path)| {
        let path = path.display();
        let mode = mode.name();
        let text = format!("names {path}, but tls.mode is {mode}: set that to files");
        Violation::with(key, &["tls.mode"], text)
    });
    messages.collect()
}

fn identity_violation(error: &PemFileError, certificate: &Path, key: &Path) -> Violation {
    match error.file {
        PemFile::Certificate => {
            let text = format!("names {}, which {error}", certificate.display());
            Violation::with("tls.cert_file", &["tls.mode"], text)
        }
        PemFile::Key => {
            let text = format!("names {}, which {error}", key.display());
            Violation::with("tls.key_file", &["tls.mode", "tls.cert_file"], text)
        }
    }
}

/// Warnings: a certificate that clients reject, or listeners without effect.
pub(super) fn warnings(config: &Config) -> Vec<Violation> {
    let tls = &config.tls;
    if let (Some(identity), Some(file)) = (&tls.identity, &tls.cert_file) {
        let refused = [
            outside_validity(identity, file),
            wrong_host(config, identity, file),
            incomplete_chain(identity, file),
        ];
        return refused.into_iter().flatten().collect();
    }
    let text = "is set, but tls.mode is off, so it has no effect";
    let unused = [
        ("http.plain_listen", &config.http.plain_listen),
        ("turn.tls_listen", &config.turn.tls_listen),
    ];
    let unused = unused.into_iter();
    let unused = unused.filter(|(_, listen)| tls.mode == TlsMode::Off && !listen.is_empty());
    let messages = unused.map(|(key, _)| Violation::with(key, &["tls.mode"], text));
    messages.collect()
}

fn outside_validity(identity: &Identity, file: &Path) -> Option<Violation> {
    let validity = identity.validity();
    let now = clock::now().unix;
    let (what, when) = if validity.is_expired(now) {
        ("expired on", validity.until)
    } else if validity.is_not_yet_valid(now) {
        ("is not valid before", validity.from)
    } else {
        return None;
    };
    let when = OffsetDateTime::from_unix_timestamp(when).ok()?.date();
    let text = format!(
        "names {}, whose certificate {what} {when}: clients reject it",
        file.display()
    );
    Some(Violation::new("tls.cert_file", text))
}

/// Warns of a certificate without the host of the ICE URLs, which browsers verify.
fn wrong_host(config: &Config, identity: &Identity, file: &Path) -> Option<Violation> {
    let host = ice_host(config).filter(|host| !identity.is_valid_for(&host.unbracketed()))?;
    let text = format!(
        "names {}, whose certificate is not for {host}, the host of ICE URLs: browsers reject it \
         there; get one that is, or set turn.public_host to what it is for",
        file.display()
    );
    let with = &["turn.public_host", "server.public_url"];
    Some(Violation::with("tls.cert_file", with, text))
}

/// Warns of a chain that lacks an intermediate certificate. Some browsers fetch it; TURN clients do not.
fn incomplete_chain(identity: &Identity, file: &Path) -> Option<Violation> {
    let issuer = identity.missing_issuer()?;
    let text = format!(
        "names {}, which lacks the certificate of its issuer, {issuer}: clients that don't have \
         that one as a root refuse it; name the file with the whole chain (fullchain.pem)",
        file.display()
    );
    Some(Violation::new("tls.cert_file", text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A configuration with a certificate for `talk.example.org`, valid in these years.
    fn config(place: &Path, years: (i32, i32)) -> Config {
        let signing = rcgen::KeyPair::generate().unwrap();
        let names = vec!["talk.example.org".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let (cert, key) = (place.join("cert.pem"), place.join("key.pem"));
        fs::write(&cert, params.self_signed(&signing).unwrap().pem()).unwrap();
        fs::write(&key, signing.serialize_pem()).unwrap();
        let mut config = Config::default();
        config.tls.mode = TlsMode::Files;
        config.tls.cert_file = Some(cert);
        config.tls.key_file = Some(key);
        assert_eq!(load_identity(&mut config.tls), []);
        config
    }

    fn texts(violations: Vec<Violation>) -> Vec<String> {
        let texts = violations.into_iter();
        texts.map(|f| format!("{} {}", f.key, f.text)).collect()
    }

    #[test]
    fn without_tls_there_are_no_tls_and_redirect_listeners() {
        let mut config = Config::default();
        config.turn.tls_listen = vec!["[::1]:1".parse().unwrap()];
        config.http.plain_listen = vec!["[::1]:2".parse().unwrap()];
        for listen in [turn_tls_listen, https_listen, plain_listen] {
            assert!(listen(&config).is_empty());
        }
        config.tls.mode = TlsMode::Files;
        assert_eq!(turn_tls_listen(&config), config.turn.tls_listen);
        assert_eq!(https_listen(&config), config.http.listen);
        assert_eq!(plain_listen(&config), config.http.plain_listen);
    }

    #[test]
    fn turn_over_tls_listens_on_port_5349_by_default() {
        let mut config = Config::default();
        assert!(turn_tls_listen(&config).is_empty());
        config.tls.mode = TlsMode::Files;
        let usual: [SocketAddr; 2] = ["0.0.0.0:5349", "[::]:5349"].map(|a| a.parse().unwrap());
        assert_eq!(turn_tls_listen(&config), usual);
        config.turn.listen.push("0.0.0.0:443".parse().unwrap());
        assert_eq!(turn_tls_listen(&config), usual);
        config.http.listen = vec![usual[0]];
        assert_eq!(turn_tls_listen(&config), usual[1..]);
    }

    #[test]
    fn mode_files_needs_a_certificate_and_a_key() {
        let mut tls = Tls {
            mode: TlsMode::Files,
            ..Tls::default()
        };
        let messages = texts(load_identity(&mut tls));
        assert!(messages[0].starts_with("tls.cert_file must name the file of the certificate"));
        assert!(
            messages[1].starts_with("tls.key_file must name the file of the certificate's key")
        );
        tls.cert_file = Some("nowhere.pem".into());
        assert_eq!(texts(load_identity(&mut tls)).len(), 1);
        tls.key_file = Some("nowhere.key".into());
        assert_eq!(
            texts(load_identity(&mut tls)),
            [
                "tls.cert_file names nowhere.pem, which does not exist",
                "tls.key_file names nowhere.key, which does not exist"
            ]
        );
    }

    #[test]
    fn a_certificate_that_clients_reject_gets_a_warning() {
        let place = tempfile::tempdir().unwrap();
        let good = config(place.path(), (2020, 2999));
        assert_eq!(warnings(&good), []);
        let messages = texts(warnings(&config(place.path(), (2020, 2021))));
        assert!(
            messages[0].contains("expired on 2021-01-01"),
            "{messages:?}"
        );
        let messages = texts(warnings(&config(place.path(), (2998, 2999))));
        assert!(
            messages[0].contains("is not valid before 2998-01-01"),
            "{messages:?}"
        );
        let mut other = good.clone();
        other.turn.public_host = Some("turn.example.org".to_owned());
        let messages = texts(warnings(&other));
        assert!(
            messages[0].contains("is not for turn.example.org"),
            "{messages:?}"
        );
        other.turn.public_host = Some("talk.example.org".to_owned());
        assert_eq!(warnings(&other), []);
    }

    #[test]
    fn a_chain_without_the_issuer_gets_a_warning() {
        let place = tempfile::tempdir().unwrap();
        let mut config = config(place.path(), (2020, 2999));
        let [root_key, key] = [(); 2].map(|()| rcgen::KeyPair::generate().unwrap());
        let mut root = rcgen::CertificateParams::new(["ca.example".to_owned()]).unwrap();
        root.distinguished_name
            .push(rcgen::DnType::CommonName, "Middle R3");
        let issuer = rcgen::Issuer::from_params(&root, &root_key);
        let names = vec!["talk.example.org".to_owned()];
        let leaf = rcgen::CertificateParams::new(names).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
        let chain = leaf.clone() + &root.self_signed(&root_key).unwrap().pem();
        fs::write(place.path().join("key.pem"), key.serialize_pem()).unwrap();
        for (certificates, warned) in [(leaf, true), (chain, false)] {
            fs::write(place.path().join("cert.pem"), certificates).unwrap();
            assert_eq!(load_identity(&mut config.tls), []);
            let messages = texts(warnings(&config)).concat();
            assert_eq!(
                messages.contains("of its issuer, Middle R3:"),
                warned,
                "{messages}"
            );
        }
    }

    #[test]
    fn tls_settings_without_tls_are_reported() {
        let mut config = Config::default();
        assert_eq!(warnings(&config), []);
        config.turn.tls_listen = vec!["[::1]:1".parse().unwrap()];
        config.http.plain_listen = vec!["[::1]:2".parse().unwrap()];
        let messages = texts(warnings(&config));
        assert!(messages[0].starts_with("http.plain_listen is set, but tls.mode is off"));
        assert!(messages[1].starts_with("turn.tls_listen is set, but tls.mode is off"));
        config.tls.cert_file = Some("cert.pem".into());
        let messages = texts(load_identity(&mut config.tls));
        assert_eq!(
            messages,
            ["tls.cert_file names cert.pem, but tls.mode is off: set that to files"]
        );
    }
}
