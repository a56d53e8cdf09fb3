//! The sources of the certificate: files that are renewed during calls, and a self-signed one.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::Arc;

use parlor::stun::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;

use crate::support::Daemon;
use crate::support::turn::{Client, both_hear_each_other, connected};
use crate::tls::{Fixture, NAMES, certificate};
use crate::{Deadline, open_relay};

/// A client that trusts only the certificates in a file.
fn believing(file: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(file).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

fn lines(daemon: &Daemon, text: &str) -> usize {
    let log = daemon.log();
    log.iter().filter(|line| line.contains(text)).count()
}

#[test]
fn a_self_signed_certificate_is_private_logged_with_its_fingerprint_and_reused() {
    let start = || {
        open_relay()
            .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0")
            .env("PARLOR_TLS__MODE", "self-signed")
    };
    let daemon = start().start();
    let file = daemon.data_dir().join("self-signed.pem");
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    let line = daemon.wait_for_log("self-signed certificate in use");
    let believing = believing(&file);
    let mut client = Client::tls(daemon.all("turn-tls")[0], "alice", &believing);
    assert_eq!(client.allocate().code(), None);
    let status = daemon.cli_json(&["status"]);
    let fingerprint = status["certificate"]["sha256"].as_str().unwrap();
    assert!(line.contains(fingerprint), "{line}");
    let made = fs::read(&file).unwrap();
    let daemon = daemon.restart();
    assert_eq!(fs::read(&file).unwrap(), made);
    let mut client = Client::tls(daemon.all("turn-tls")[0], "alice", &believing);
    client.request(Method::BINDING, &[]);
}

#[test]
fn another_public_url_gets_its_own_certificate_without_a_restart() {
    let place = TempDir::new().unwrap();
    let file = place.path().join("config.toml");
    fs::write(&file, "").unwrap();
    let daemon = open_relay()
        .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0")
        .env("PARLOR_TLS__MODE", "self-signed")
        .arg("--config")
        .arg(file.to_str().unwrap())
        .start();
    fs::write(&file, "server.public_url = \"https://talk.example.org\"").unwrap();
    daemon.cli_json(&["reload"]);
    daemon.wait_for_log("self-signed certificate renewed");
    let kept = fs::read_to_string(daemon.data_dir().join("self-signed.pem")).unwrap();
    assert!(
        parlor::tls::parse(&kept)
            .unwrap()
            .is_valid_for("talk.example.org")
    );
}

/// `live/*.pem` as symbolic links into `archive`, like certbot creates them.
fn lay_out(fixture: &Fixture) -> (std::path::PathBuf, std::path::PathBuf) {
    let place = fixture.place.path();
    let (live, archive) = (place.join("live"), place.join("archive"));
    fs::create_dir_all(&live).unwrap();
    for number in ["1", "2"] {
        let made = archive.join(number);
        fs::create_dir_all(&made).unwrap();
        fixture.authority.issue(&made, &NAMES);
    }
    (live, archive)
}

fn point(live: &Path, to: &Path, names: &[&str]) {
    for name in names {
        let beside = live.join("beside");
        symlink(to.join(name), &beside).unwrap();
        fs::rename(beside, live.join(name)).unwrap();
    }
}

#[test]
fn renewed_files_are_loaded_and_connections_stay_open() {
    let fixture = Fixture::new();
    let (live, archive) = lay_out(&fixture);
    let both = ["cert.pem", "key.pem"];
    point(&live, &archive.join("1"), &both);
    // The files that the daemon was started with become links.
    point(fixture.place.path(), &live, &both);
    let deadline = Deadline::new();
    let of = |number: &str| {
        let file = archive.join(number).join("cert.pem");
        CertificateDer::from_pem_file(file).unwrap().to_vec()
    };
    while certificate(&fixture) != of("1") {
        deadline.check("the first certificate");
    }
    let (mut alice, mut bob) = connected(fixture.tls("alice"), fixture.tls("bob"));
    point(&live, &archive.join("2"), &both);
    while certificate(&fixture) != of("2") {
        deadline.check("the second certificate");
    }
    both_hear_each_other(&mut alice, &mut bob, true);
    fixture
        .daemon
        .wait_for_log("certificate reloaded from its files");
}

#[test]
fn an_invalid_pair_of_files_keeps_the_old_certificate_and_is_logged_once() {
    const REFUSED: &str = "certificate files rejected";
    let fixture = Fixture::new();
    let old = certificate(&fixture);
    let (key, other) = (
        fixture.place.path().join("key.pem"),
        TempDir::new().unwrap(),
    );
    let (_, foreign) = fixture.authority.issue(other.path(), &NAMES);
    fs::copy(foreign, &key).unwrap();
    let line = fixture.daemon.wait_for_log("holds another key than that");
    assert!(line.contains("tls.key_file names"), "{line}");
    fixture.daemon.wait_for_log(REFUSED);
    assert_eq!(certificate(&fixture), old);
    // Another error is logged as well, and each error once.
    fs::remove_file(&key).unwrap();
    fixture.daemon.wait_for_log("which does not exist");
    fixture.daemon.wait_for_logs(&[REFUSED], 2);
    assert_eq!(certificate(&fixture), old);
    fixture.authority.issue(fixture.place.path(), &NAMES);
    let deadline = Deadline::new();
    while certificate(&fixture) == old {
        deadline.check("the next certificate");
    }
    assert_eq!(lines(&fixture.daemon, "holds another key than that"), 1);
    assert_eq!(lines(&fixture.daemon, REFUSED), 2);
}
