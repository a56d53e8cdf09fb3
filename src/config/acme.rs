//! What is asked of an authority that signs certificates by ACME (RFC 8555), and of which.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use hyper::Uri;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

use super::origin::Fault;
use super::urls::page_host;
use super::{Config, Tls, TlsMode, turn_host};
use crate::text_file;

const DIRECTORIES: [(&str, &str); 2] = [
    (
        "letsencrypt",
        "https://acme-v02.api.letsencrypt.org/directory",
    ),
    (
        "letsencrypt-staging",
        "https://acme-staging-v02.api.letsencrypt.org/directory",
    ),
];

/// Names in a certificate: Let's Encrypt takes no more.
const MOST: usize = 100;

/// No file of roots is larger.
const LARGEST: u64 = 1024 * 1024;

const WITH: &[&str] = &["tls.mode", "server.public_url", "turn.public_host"];

/// The URL of the authority's directory.
pub fn acme_directory(tls: &Tls) -> &str {
    let known = DIRECTORIES
        .iter()
        .find(|(word, _)| *word == tls.acme_directory);
    known.map_or(&tls.acme_directory, |(_, url)| url)
}

/// The names that a certificate is asked for, in lower case: `tls.domains`, else the hosts of
/// `server.public_url` and `turn.public_host` as far as they are names.
pub fn acme_domains(config: &Config) -> Vec<String> {
    let mut domains: Vec<String> = Vec::new();
    let named = config.tls.domains.iter().cloned();
    let hosts = [page_host(config), turn_host(config)].into_iter().flatten();
    let hosts = hosts.filter(|host| config.tls.domains.is_empty() && fault(host).is_none());
    for domain in named.chain(hosts) {
        let domain = domain.to_ascii_lowercase();
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    domains
}

/// Every fault of the settings: the key, and what must change.
pub fn check(config: &Config) -> Vec<Fault> {
    let tls = &config.tls;
    let mut faults = Vec::new();
    for domain in &tls.domains {
        if let Some(what) = fault(domain) {
            faults.push(Fault::new(
                "tls.domains",
                format!("has \"{domain}\", which {what}"),
            ));
        }
    }
    if tls.domains.len() > MOST {
        let text = format!("has more than {MOST} names, which no authority takes");
        faults.push(Fault::new("tls.domains", text));
    }
    if tls.mode == TlsMode::Acme && tls.domains.is_empty() && acme_domains(config).is_empty() {
        faults.push(Fault::with("tls.domains", WITH, nameless(config)));
    }
    if !is_directory(acme_directory(tls)) {
        let text = "must be \"letsencrypt\", \"letsencrypt-staging\", or the URL of an authority's \
                    directory, which begins with https://";
        faults.push(Fault::new("tls.acme_directory", text));
    }
    if tls
        .acme_contact
        .as_deref()
        .is_some_and(|mail| !is_mail(mail))
    {
        let text = "must be an e-mail address, such as admin@example.org";
        faults.push(Fault::new("tls.acme_contact", text));
    }
    let unfit = tls.acme_ca_file.as_deref().and_then(unfit);
    faults.extend(unfit.map(|text| Fault::new("tls.acme_ca_file", text)));
    faults
}

/// Why there is nothing to ask for.
fn nameless(config: &Config) -> String {
    let host = page_host(config);
    let why = host.and_then(|host| Some(format!(" has {host}, which {}", fault(&host)?)));
    let why = why.unwrap_or_else(|| " is unset".to_owned());
    format!(
        "must name what the certificate is for, because tls.mode is acme and server.public_url{why}"
    )
}

/// What an authority would not take about a name: the end of a sentence that named it.
fn fault(name: &str) -> Option<&'static str> {
    let bare = name.trim_matches(['[', ']']);
    if bare.parse::<IpAddr>().is_ok() {
        return Some("is an address: authorities sign for names");
    }
    if name.starts_with("*.") {
        return Some(
            "stands for many names, and is proven by DNS alone, which parlor can't: name each host",
        );
    }
    let sound = matches!(ServerName::try_from(name), Ok(ServerName::DnsName(_)));
    (!sound || name.ends_with('.')).then_some("is no domain name, such as talk.example.org")
}

fn is_directory(text: &str) -> bool {
    let parsed = text.parse::<Uri>();
    text.starts_with("https://") && parsed.is_ok_and(|uri| uri.host().is_some())
}

fn is_mail(text: &str) -> bool {
    let sound = |c: char| c.is_ascii_graphic() && !",:<>\"".contains(c);
    let parts = text.split_once('@');
    text.chars().all(sound)
        && parts
            .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
}

/// What is wrong with a file of a root.
fn unfit(path: &Path) -> Option<String> {
    let wrong = |what: &str| Some(format!("names {}, which {what}", path.display()));
    let text = match text_file::read(path, LARGEST) {
        Ok(text) => text,
        Err(error) => return wrong(&error.to_string()),
    };
    match CertificateDer::from_pem_slice(text.as_bytes()) {
        Ok(root) if RootCertStore::empty().add(root.clone()).is_ok() => None,
        _ => wrong("holds no certificate of an authority in PEM"),
    }
}

/// What is unwise: settings that nothing comes of, and a certificate that browsers refuse.
pub fn unwise(config: &Config) -> Vec<Fault> {
    let tls = &config.tls;
    let mut faults = Vec::new();
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
            let text = format!("is set, but tls.mode is {mode}, so that no authority is asked");
            faults.push(Fault::with(key, &["tls.mode"], text));
        }
        return faults;
    }
    let domains = acme_domains(config);
    let host = turn_host(config).map(|host| host.to_ascii_lowercase());
    if let Some(host) = host.filter(|host| !domains.contains(host)) {
        let text = format!(
            "does not have {host}, the host of ICE URLs: browsers refuse the certificate there"
        );
        faults.push(Fault::with("tls.domains", WITH, text));
    }
    faults.extend(unvisited(config));
    faults
}

/// An authority connects only to port 443 (RFC 8737 §3) or 80 (RFC 8555 §8.3). Port 0 matches any port.
fn unvisited(config: &Config) -> Option<Fault> {
    let has = |listen: &[SocketAddr], wanted: u16| {
        let mut ports = listen.iter().map(SocketAddr::port);
        ports.any(|port| port == wanted || port == 0)
    };
    let visited = has(&config.http.listen, 443) || has(&config.http.plain_listen, 80);
    (!visited).then(|| {
        let text = "has no address with port 443, and http.plain_listen none with port 80, where \
                    authorities look: listen there, or have one of them forwarded to parlor";
        Fault::with("http.listen", &["http.plain_listen", "tls.mode"], text)
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

    fn told(config: &Config) -> String {
        let told = check(config).into_iter().chain(unwise(config));
        let told: Vec<_> = told
            .map(|fault| format!("{} {}", fault.key, fault.text))
            .collect();
        told.join("\n")
    }

    #[test]
    fn the_hosts_of_the_page_and_of_turn_are_asked_for_unless_names_are_given() {
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
        let unwise = told(&config);
        assert!(
            unwise.contains("does not have talk.example.org"),
            "{unwise}"
        );
    }

    #[test]
    fn what_no_authority_would_sign_is_told() {
        assert_eq!(told(&config(Some("https://talk.example.org"), &[])), "");
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
            (None, &["*.example.org"], "stands for many names"),
            (None, &["tälk example.org"], "is no domain name"),
            (None, &["https://talk.example.org"], "is no domain name"),
            (None, &["talk.example.org."], "is no domain name"),
            (None, &[""], "is no domain name"),
            (None, &["talk.example.org"; 101], "more than 100 names"),
        ] {
            let told = told(&config(url, domains));
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn an_authority_that_would_find_nobody_is_told_of() {
        let mut config = config(Some("https://talk.example.org"), &[]);
        assert_eq!(told(&config), "");
        config.http.listen = vec!["[::]:8443".parse().unwrap()];
        let told = told(&config);
        assert!(
            told.starts_with("http.listen has no address with port 443"),
            "{told}"
        );
        config.http.plain_listen = vec!["[::]:80".parse().unwrap()];
        assert_eq!(self::told(&config), "");
    }

    #[test]
    fn an_authority_is_known_by_a_word_or_by_its_url() {
        let mut config = config(Some("https://talk.example.org"), &[]);
        let url = acme_directory(&config.tls).to_owned();
        assert_eq!(url, "https://acme-v02.api.letsencrypt.org/directory");
        for good in ["letsencrypt-staging", "https://[::1]:14000/dir"] {
            config.tls.acme_directory = good.to_owned();
            assert_eq!(told(&config), "");
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
                told(&config).contains("tls.acme_directory must be"),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_contact_is_an_address_and_a_root_is_a_certificate() {
        let mut config = config(Some("https://talk.example.org"), &[]);
        config.tls.acme_contact = Some("admin@example.org".to_owned());
        assert_eq!(told(&config), "");
        for bad in [
            "",
            "admin",
            "mailto:admin@example.org",
            "a@b@c",
            "a b@c",
            "@c",
        ] {
            config.tls.acme_contact = Some(bad.to_owned());
            assert!(told(&config).contains("must be an e-mail address"), "{bad}");
        }
        config.tls.acme_contact = None;
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("root.pem");
        config.tls.acme_ca_file = Some(file.clone());
        assert!(told(&config).contains("root.pem, which does not exist"));
        std::fs::write(&file, "nonsense").unwrap();
        assert!(told(&config).contains("holds no certificate of an authority"));
    }

    #[test]
    fn settings_that_nothing_comes_of_are_told() {
        let mut config = config(None, &["talk.example.org"]);
        config.tls.mode = TlsMode::SelfSigned;
        config.tls.acme_contact = Some("admin@example.org".to_owned());
        let told = told(&config);
        assert!(
            told.contains("tls.domains is set, but tls.mode is self-signed"),
            "{told}"
        );
        assert!(told.contains("tls.acme_contact is set"), "{told}");
    }
}
