//! Certificates from a real authority on this host (Debian's `pebble`): issued by each challenge,
//! renewed, refused, and waited for.

mod balancer;
mod shared;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::support::http::Client as Http;
use crate::support::pebble::AcmeNetwork;
use crate::support::turn::{Client, Secured, SmallWrites, Wire, both_hear_each_other, connected};
use crate::support::{Builder, DEADLINE, Daemon};
use parlor::stun::Method;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::json;

const DOMAIN: &str = "talk.example.org";
const ISSUED: &str = "certificate issued";

/// A parlor that asks the authority of this acme.
fn builder(acme: &AcmeNetwork) -> Builder {
    with_acme(Builder::new(), acme)
        .env("PARLOR_TURN__SECRET", crate::support::turn::SECRET)
        .env("PARLOR_TURN__ALLOWED_PEERS", "127.0.0.0/8")
        .env("PARLOR_TURN__TLS_LISTEN", &acme.tls.to_string())
        .env("PARLOR_HTTP__LISTEN", &acme.http.to_string())
}

/// Certificates by the authority of this acme.
fn with_acme(builder: Builder, acme: &AcmeNetwork) -> Builder {
    builder
        .env("PARLOR_TLS__MODE", "acme")
        .env("PARLOR_TLS__ACME_DIRECTORY", &acme.directory())
        .env("PARLOR_TLS__ACME_CA_FILE", acme.ca_file().to_str().unwrap())
}

fn for_the_domain(acme: &AcmeNetwork) -> Builder {
    builder(acme).env("PARLOR_TLS__DOMAINS", DOMAIN)
}

/// A client that believes the authority's certificates.
fn believing(root: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let root = CertificateDer::from_pem_slice(root.as_bytes()).unwrap();
    roots.add(root).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Looks for a name in the certificate.
fn dial(acme: &AcmeNetwork, domain: &str, config: ClientConfig) -> Secured {
    dial_at(acme.tls, domain, config)
}

fn dial_at(address: SocketAddr, domain: &str, config: ClientConfig) -> Secured {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::try_from(domain.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let size = usize::MAX;
    StreamOwned::new(session, SmallWrites { stream, size })
}

/// A TURN client that has verified the certificate of a domain.
fn client(acme: &AcmeNetwork, domain: &str, user: &str) -> Client {
    let stream = dial(acme, domain, believing(&acme.root()));
    let mut client = Client::over(Wire::Tls(Box::new(stream)), user, None);
    client.request(Method::BINDING, &[]);
    client
}

/// Shakes hands, if that can be done.
fn shake_hands(stream: &mut Secured) -> std::io::Result<()> {
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(())
}

/// The stored files of the authority: account and certificate.
fn kept(daemon: &Daemon) -> [PathBuf; 2] {
    let find = |ending: &str| {
        let entries = fs::read_dir(daemon.data_dir()).unwrap();
        let mut paths = entries.map(|entry| entry.unwrap().path());
        let fits = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("acme-") && name.ends_with(ending)
        };
        paths
            .find(fits)
            .unwrap_or_else(|| panic!("no acme-…{ending}"))
    };
    [find(".account"), find(".pem")]
}

fn lines(daemon: &Daemon, text: &str) -> usize {
    let log = daemon.log();
    log.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_certificate_is_issued_over_tls_and_a_client_verifies_it() {
    let acme = AcmeNetwork::new();
    let _pebble = acme.open(&[("httpPort", json!(AcmeNetwork::unused_port()))]);
    let domains = format!("{DOMAIN},turn.example.org");
    let daemon = builder(&acme).env("PARLOR_TLS__DOMAINS", &domains).start();
    let text = daemon.wait_for_log(ISSUED);
    for domain in [DOMAIN, "turn.example.org"] {
        assert_eq!(client(&acme, domain, "alice").allocate().code(), None);
    }
    let status = daemon.cli_json(&["status"]);
    let fingerprint = status["certificate"]["sha256"].as_str().unwrap();
    assert!(text.contains(fingerprint), "{text}");
    for path in kept(&daemon) {
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }
    let metrics = Http::new(daemon.metrics()).get("/metrics").body;
    let metrics = String::from_utf8(metrics).unwrap();
    // A validation is no failed handshake.
    for count in [
        "parlor_http_tls_handshake_errors_total 0\n",
        "parlor_turn_streams_rejected_total{reason=\"tls handshake\"} 0\n",
    ] {
        assert!(metrics.contains(count), "{metrics}");
    }
    let end = "parlor_tls_certificate_expiry_timestamp_seconds ";
    let end = metrics.lines().find_map(|line| line.strip_prefix(end));
    assert!(end.unwrap().parse::<u64>().unwrap() > 1_700_000_000);
    // The challenge is over, and nothing but an authority's client sees its protocol.
    let mut config = believing(&acme.root());
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    assert!(shake_hands(&mut dial(&acme, DOMAIN, config)).is_err());
}

#[test]
fn the_server_of_the_readme_gets_its_certificate_and_lets_people_in_over_https() {
    let acme = AcmeNetwork::new();
    let _pebble = acme.open(&[]);
    let file = acme.place().join("config.toml");
    fs::write(&file, crate::support::installed_settings()).unwrap();
    // Its ports are root's, and its authority is far away; the rest is as it stands there.
    let daemon = Builder::new()
        .arg("--config")
        .arg(file.to_str().unwrap())
        .env("PARLOR_HTTP__LISTEN", &acme.tls.to_string())
        .env("PARLOR_HTTP__PLAIN_LISTEN", &acme.http.to_string())
        .env("PARLOR_TLS__ACME_DIRECTORY", &acme.directory())
        .env("PARLOR_TLS__ACME_CA_FILE", acme.ca_file().to_str().unwrap())
        .start();
    daemon.wait_for_log(ISSUED);
    let mut stream = dial(&acme, DOMAIN, believing(&acme.root()));
    let request = format!("GET /r/lobby HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let sent_on = Http::new(acme.http).get("/r/lobby");
    assert_eq!(sent_on.status, 308);
    let place = sent_on.header("location").unwrap_or_default().to_owned();
    assert_eq!(place, format!("https://{DOMAIN}/r/lobby"));
    daemon.cli_json(&["user", "add", "alice"]);
    let minted = daemon
        .cli_json(&["turn", "credential", "alice"])
        .to_string();
    let hotel = format!("turns:{DOMAIN}:443?transport=tcp");
    assert!(minted.contains(&hotel), "{minted}");
}

#[test]
fn after_a_failed_tls_alpn_validation_http_01_is_used_and_the_failure_is_reported() {
    let acme = AcmeNetwork::new();
    let _pebble = acme.open(&[("tlsPort", json!(AcmeNetwork::unused_port()))]);
    let daemon = for_the_domain(&acme).start();
    let text = daemon.wait_for_log("there is no certificate yet");
    assert!(
        text.contains("talk.example.org: the authority says:"),
        "{text}"
    );
    assert!(text.contains("\"next\":\"20"), "{text}");
    let ready = Http::new(daemon.metrics()).get("/readyz").ok();
    assert_eq!(ready["checks"]["certificate"], "there is none yet");
    let status = daemon.cli_json(&["status"]);
    assert_eq!(status["certificate"]["until"], json!(null));
    let trouble = status["certificate"]["trouble"].as_str().unwrap();
    assert!(trouble.contains("the authority says"), "{trouble}");
    assert!(shake_hands(&mut dial(&acme, DOMAIN, believing(&acme.root()))).is_err());
    let issued = daemon.wait_for_log_of("asking over HTTP", |line| {
        line.contains("requesting a certificate") && line.contains("http-01")
    });
    assert!(issued.contains(DOMAIN), "{issued}");
    daemon.wait_for_log(ISSUED);
    assert_eq!(client(&acme, DOMAIN, "alice").allocate().code(), None);
    let ready = Http::new(daemon.metrics()).get("/readyz").ok();
    assert_eq!(ready["checks"]["certificate"], "ok");
    let status = daemon.cli_json(&["status"]);
    assert_eq!(status["certificate"]["trouble"], json!(null));
    let path = "/.well-known/acme-challenge/of-nobody";
    assert_eq!(Http::new(daemon.http()).get(path).status, 404);
}

#[test]
fn an_unreachable_authority_is_retried_until_it_responds() {
    let acme = AcmeNetwork::new();
    let daemon = for_the_domain(&acme).start();
    let text = daemon.wait_for_log("there is no certificate yet");
    assert!(
        text.contains("the certificate authority cannot be reached"),
        "{text}"
    );
    let _pebble = acme.open(&[]);
    daemon.wait_for_log(ISSUED);
    client(&acme, DOMAIN, "alice");
}

#[test]
fn a_restart_uses_the_stored_account_and_certificate() {
    let acme = AcmeNetwork::new();
    let pebble = acme.open(&[]);
    let daemon = for_the_domain(&acme).start();
    daemon.wait_for_log(ISSUED);
    let [account, certificate] = kept(&daemon);
    let read = |path: &PathBuf| fs::read(path).unwrap();
    let (first_account, first) = (read(&account), read(&certificate));
    client(&acme, DOMAIN, "alice");
    let daemon = daemon.restart();
    client(&acme, DOMAIN, "alice");
    assert_eq!(lines(&daemon, "requesting a certificate"), 0);
    // Without its certificate another is asked for, by the same account.
    let daemon = daemon.restart_after(|| fs::remove_file(&certificate).unwrap());
    daemon.wait_for_log(ISSUED);
    assert_ne!(read(&certificate), first);
    assert_eq!(read(&account), first_account);
    // An authority that does not know the account any more gets another one.
    let mut again = None;
    let daemon = daemon.restart_after(|| {
        fs::remove_file(&certificate).unwrap();
        drop(pebble);
        again = Some(acme.open(&[]));
    });
    daemon.wait_for_log(ISSUED);
    assert_ne!(read(&account), first_account);
    client(&acme, DOMAIN, "alice");
}

#[test]
fn a_certificate_is_renewed_at_two_thirds_of_its_life_and_nobody_is_disconnected() {
    let acme = AcmeNetwork::new();
    let _pebble = acme.open(&[("certificateValidityPeriod", json!(30))]);
    let daemon = for_the_domain(&acme).start();
    daemon.wait_for_log(ISSUED);
    let first = fs::read(&kept(&daemon)[1]).unwrap();
    let calling = ["alice", "bob"].map(|user| client(&acme, DOMAIN, user));
    let [alice, bob] = calling;
    let (mut alice, mut bob) = connected(alice, bob);
    daemon.wait_for_logs(&[ISSUED], 2);
    assert_ne!(fs::read(&kept(&daemon)[1]).unwrap(), first);
    client(&acme, DOMAIN, "carol");
    both_hear_each_other(&mut alice, &mut bob, true);
    assert_eq!(lines(&daemon, "not renewed yet"), 0);
}

#[test]
fn a_rejected_order_is_reported_and_a_reload_retries_at_once() {
    let acme = AcmeNetwork::new();
    let _pebble = acme.open(&[("domainBlocklist", json!(["blocked.example.org"]))]);
    let file = acme.place().join("config.toml");
    fs::write(&file, "tls.domains = [\"blocked.example.org\"]").unwrap();
    let daemon = builder(&acme)
        .arg("--config")
        .arg(file.to_str().unwrap())
        .start();
    // By the one challenge, and by the other; then it is minutes until the next time.
    daemon.wait_for_logs(&["there is no certificate yet"], 2);
    let text = daemon.wait_for_log("there is no certificate yet");
    assert!(text.contains("(rejectedIdentifier)"), "{text}");
    fs::write(&file, format!("tls.domains = [\"{DOMAIN}\"]")).unwrap();
    daemon.signal("HUP");
    let text = daemon.wait_for_log("configuration reloaded");
    assert!(text.contains("\"changed\":\"tls.domains\""), "{text}");
    daemon.wait_for_log(ISSUED);
    client(&acme, DOMAIN, "alice");
}
