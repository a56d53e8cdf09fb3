//! Settings of ACME (RFC 8555): the certificate authority and the names in the certificate.

use std::net::SocketAddr;
use std::path::Path;

use hyper::Uri;
use hyper::http::uri::Scheme;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::urls::page_host;
use super::value_source::Violation;
use super::{Config, Tls, TlsMode, ice_host};
use crate::text_file;
use crate::url::Host;

const KNOWN_DIRECTORIES: [(&str, &str); 2] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
];

/// The maximum number of names in a certificate. Let's Encrypt rejects more.
const MAX_DOMAINS: usize = 100;

/// The maximum size of a CA file.
const MAX_CA_FILE_BYTES: u64 = 1024 * 1024;

const DOMAIN_KEYS: &[&str] = &["tls.mode", "server.public_url", "turn.public_host"];

/// The URL of the authority's directory.
pub fn acme_directory(tls: &Tls) -> &str {
    let known = KNOWN_DIRECTORIES
        .iter()
        .find(|(word, _)| *word == tls.acme_directory);
    known.map_or(&tls.acme_directory, |(_, url)| url)
}

/// The names in the certificate request, in lower case: `tls.domains`, else the hosts of
/// `server.public_url` and `turn.public_host` as far as they are names.
pub fn acme_domains(config: &Config) -> Vec<String> {
    let mut domains: Vec<String> = Vec::new();
    let named = config.tls.domains.iter().cloned();
    let hosts = [page_host(config), ice_host(config)].into_iter().flatten();
    let hosts = hosts.map(|host| host.to_string());
    let hosts = hosts.filter(|host| config.tls.domains.is_empty() && domain_error(host).is_none());
    for domain in named.chain(hosts) {
        let domain = domain.to_ascii_lowercase();
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

/// Returns every violation of the settings: the key, and what must change.
pub(super) fn check(config: &Config) -> Vec<Violation> {
    let tls = &config.tls;
    let mut violations = Vec::new();
    for domain in &tls.domains {
        if let Some(what) = domain_error(domain) {
            violations.push(Violation::new(
                "tls.domains",
                format!("has \"{domain}\", which {what}"),
            ));
        }
    }
    if tls.domains.len() > MAX_DOMAINS {
        let text = format!("has more than {MAX_DOMAINS} names: Let's Encrypt rejects more");
        violations.push(Violation::new("tls.domains", text));
    }
    if tls.mode == TlsMode::Acme && tls.domains.is_empty() && acme_domains(config).is_empty() {
        violations.push(Violation::with(
            "tls.domains",
            DOMAIN_KEYS,
            no_domains_text(config),
        ));
    }
    if !is_directory(acme_directory(tls)) {
        let text = "must be \"letsencrypt\", \"letsencrypt-staging\", or the URL of an authority's \
                    directory, which begins with https://";
        violations.push(Violation::new("tls.acme_directory", text));
    }
    if tls
        .acme_contact
        .as_deref()
        .is_some_and(|mail| !is_email(mail))
    {
        let text = "must be an e-mail address, such as admin@example.org";
        violations.push(Violation::new("tls.acme_contact", text));
    }
    let ca_file_error = tls.acme_ca_file.as_deref().and_then(ca_file_error);
    violations.extend(ca_file_error.map(|text| Violation::new("tls.acme_ca_file", text)));
    violations
}

/// Returns the error text for a configuration without a name for the certificate.
fn no_domains_text(config: &Config) -> String {
    let host = page_host(config).map(|host| host.to_string());
    let why = host.and_then(|host| Some(format!(" has {host}, which {}", domain_error(&host)?)));
    let why = why.unwrap_or_else(|| " is unset".to_owned());
    format!(
        "must name the hosts of the certificate, because tls.mode is acme and server.public_url{why}"
    )
}

/// Returns why a certificate authority rejects `name`, as the end of a sentence that named it.
fn domain_error(name: &str) -> Option<&'static str> {
    if Host::parse(name).is_ok_and(|host| host.ip().is_some()) {
        return Some("is an address: certificates are issued for names only");
    }
    if name.starts_with("*.") {
        return Some(
            "is a wildcard, which needs the DNS challenge (parlor has none): name each host",
        );
    }
    let sound = matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)));
    (!sound || name.ends_with('.')).then_some("is not a domain name such as talk.example.org")
}

fn is_directory(text: &str) -> bool {
    text.parse::<Uri>()
        .is_ok_and(|uri| uri.scheme() == Some(&Scheme::HTTPS) && uri.host().is_some())
}

fn is_email(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_graphic() && !",:<>\"".contains(c);
    let parts = text.split_once('@');
    text.chars().all(sound)
        && parts
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

/// Returns the error in the file with the root certificate, if it has one.
pub(super) fn ca_file_error(path: &Path) -> Option<String> {
    let wrong = |what: &str| Some(format!("names {}, which {what}", path.display()));
    let text = match text_file::read(path, MAX_CA_FILE_BYTES) {
        Ok(text) => text,
        Err(error) => return wrong(&error.to_string()),
    };
    match CertificateDer::from_pem_slice(text.as_bytes()) {
        Ok(root) if RootCertStore::empty().add(root.clone()).is_ok() => None,
        _ => wrong("has no CA certificate in PEM"),
    }
}

/// Warnings: settings without effect, and a certificate that browsers reject.
pub(super) fn warnings(config: &Config) -> Vec<Violation> {
    let tls = &config.tls;
    let mut violations = Vec::new();
    if tls.mode != TlsMode::Acme {
        let set = [
            ("tls.domains", !tls.domains.is_empty()),
            (
                "tls.acme_directory",
                tls.acme_directory != Tls::default().acme_directory,
            ),
            ("tls.acme_contact", tls.acme_contact.is_some()),
            ("tls.acme_ca_file", tls.acme_ca_file.is_some()),
        ];
        for (key, _) in set.into_iter().filter(|(_, set)| *set) {
            let mode = tls.mode.name();
            let text = format!("is set, but tls.mode is {mode}, so it has no effect");
            violations.push(Violation::with(key, &["tls.mode"], text));
        }
        return violations;
    }
    let domains = acme_domains(config);
    let host = ice_host(config).map(|host| host.to_string());
    if let Some(host) = host.filter(|host| !domains.contains(host)) {
        let text = format!(
            "does not have {host}, the host of ICE URLs: browsers reject the certificate there"
        );
        violations.push(Violation::with("tls.domains", DOMAIN_KEYS, text));
    }
    violations.extend(unreachable_by_authority(config));
    violations
}

/// Warns if no listener has a port for validation: 443 (RFC 8737 §3) or 80 (RFC 8555 §8.3). Port 0
/// matches any port.
fn unreachable_by_authority(config: &Config) -> Option<Violation> {
    let has = |listen: &[SocketAddr], wanted: u16| {
        let mut ports = listen.iter().map(SocketAddr::port);
        ports.any(|port| port == wanted || port == 0)
    };
    let is_reachable = has(&config.http.listen, 443) || has(&config.http.plain_listen, 80);
    (!is_reachable).then(|| {
        let text = "has no address with port 443, and http.plain_listen none with port 80, where \
                    authorities look: listen there, or have one of them forwarded to parlor";
        Violation::with("http.listen", &["http.plain_listen", "tls.mode"], text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: Option<&str>, domains: &[&str]) -> Config {
        let mut config = Config::default();
        config.tls.mode = TlsMode::Acme;
        config.http.listen = vec!["[::]:443".parse().unwrap()];
        config.server.public_url = url.map(str::to_owned);
        config.tls.domains = domains.iter().map(|name| (*name).to_owned()).collect();
        config
    }

    fn report(config: &Config) -> String {
        let messages = check(config).into_iter().chain(warnings(config));
        let messages: Vec<_> = messages
            .map(|violation| format!("{} {}", violation.key, violation.text))
            .collect();
        messages.join("\n")
    }

    #[test]
    fn the_public_hosts_are_the_default_domains() {
        let mut config = config(Some("https://Talk.example.org"), &[]);
        config.turn.public_host = Some("turn.example.org".to_owned());
        assert_eq!(
            acme_domains(&config),
            ["talk.example.org", "turn.example.org"]
        );
        config.turn.public_host = Some("192.0.2.1".to_owned());
        assert_eq!(acme_domains(&config), ["talk.example.org"]);
        config.tls.domains = vec!["A.example.org".to_owned(), "a.example.org".to_owned()];
        assert_eq!(acme_domains(&config), ["a.example.org"]);
        config.turn.public_host = None;
        let warnings = report(&config);
        assert!(
            warnings.contains("does not have talk.example.org"),
            "{warnings}"
        );
    }

    #[test]
    fn a_domain_that_no_authority_signs_is_an_error() {
        assert_eq!(report(&config(Some("https://talk.example.org"), &[])), "");
        for (url, domains, expected) in [
            (None, &[][..], "server.public_url is unset"),
            (
                Some("https://192.0.2.1"),
                &[],
                "has 192.0.2.1, which is an address",
            ),
            (
                None,
                &["192.0.2.1"],
                "has \"192.0.2.1\", which is an address",
            ),
            (None, &["[2001:db8::1]"], "which is an address"),
            (None, &["*.example.org"], "is a wildcard"),
            (None, &["tälk example.org"], "is not a domain name"),
            (None, &["https://talk.example.org"], "is not a domain name"),
            (None, &["talk.example.org."], "is not a domain name"),
            (None, &[""], "is not a domain name"),
            (None, &["talk.example.org"; 101], "more than 100 names"),
        ] {
            let messages = report(&config(url, domains));
            assert!(messages.contains(expected), "{messages}");
        }
    }

    #[test]
    fn a_server_that_acme_cannot_reach_gets_a_warning() {
        let mut config = config(Some("https://talk.example.org"), &[]);
        assert_eq!(report(&config), "");
        config.http.listen = vec!["[::]:8443".parse().unwrap()];
        let messages = report(&config);
        assert!(
            messages.starts_with("http.listen has no address with port 443"),
            "{messages}"
        );
        config.http.plain_listen = vec!["[::]:80".parse().unwrap()];
        assert_eq!(self::report(&config), "");
    }

    #[test]
    fn an_acme_directory_is_a_known_name_or_a_url() {
        let mut config = config(Some("https://talk.example.org"), &[]);
        let url = acme_directory(&config.tls).to_owned();
        assert_eq!(url, "https://acme-v02.api.letsencrypt.org/directory");
        for good in ["letsencrypt-staging", "https://[::1]:14000/dir"] {
            config.tls.acme_directory = good.to_owned();
            assert_eq!(report(&config), "");
        }
        for bad in [
            "",
            "http://ca.example/dir",
            "https://",
            "https:// /",
            "zerossl",
        ] {
            config.tls.acme_directory = bad.to_owned();
            assert!(
                report(&config).contains("tls.acme_directory must be"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_contact_is_an_email_address_and_a_ca_file_holds_a_certificate() {
        let mut config = config(Some("https://talk.example.org"), &[]);
        config.tls.acme_contact = Some("admin@example.org".to_owned());
        assert_eq!(report(&config), "");
        for bad in [
            "",
            "admin",
            "mailto:admin@example.org",
            "a@b@c",
            "a b@c",
            "@c",
        ] {
            config.tls.acme_contact = Some(bad.to_owned());
            assert!(
                report(&config).contains("must be an e-mail address"),
                "{bad}"
            );
        }
        config.tls.acme_contact = None;
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("root.pem");
        config.tls.acme_ca_file = Some(file.clone());
        assert!(report(&config).contains("root.pem, which does not exist"));
        std::fs::write(&file, "nonsense").unwrap();
        assert!(report(&config).contains("has no CA certificate"));
    }

    #[test]
    fn acme_settings_without_acme_mode_get_a_warning() {
        let mut config = config(None, &["talk.example.org"]);
        config.tls.mode = TlsMode::SelfSigned;
        config.tls.acme_contact = Some("admin@example.org".to_owned());
        let messages = report(&config);
        assert!(
            messages.contains("tls.domains is set, but tls.mode is self-signed"),
            "{messages}"
        );
        assert!(messages.contains("tls.acme_contact is set"), "{messages}");
    }
}
