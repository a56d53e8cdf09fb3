//! Keys that the issuer publishes at a URL.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use super::*;
use crate::support::DEADLINE;
use crate::support::certificate::Authority;
use crate::support::command::Cli;

/// An https server that answers every request with the same status and body.
struct Publisher {
    address: SocketAddr,
    answer: Arc<Mutex<(u16, String)>>,
    folder: TempDir,
}

impl Publisher {
    fn start(answer: (u16, String)) -> Publisher {
        let folder = TempDir::new().expect("a temporary directory");
        let authority = Authority::new();
        let (cert, key) = authority.issue(folder.path(), &["127.0.0.1"]);
        std::fs::write(folder.path().join("ca.pem"), &authority.pem).expect("a file");
        let certs = vec![CertificateDer::from_pem_file(cert).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_file(key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(certs, key)
            .expect("a configuration");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer = Arc::new(Mutex::new(answer));
        let (tls, shared) = (Arc::new(tls), answer.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = respond(stream, tls.clone(), &shared);
            }
        });
        Publisher {
            address,
            answer,
            folder,
        }
    }

    fn answers(&self, status: u16, body: impl ToString) {
        *self.answer.lock().unwrap() = (status, body.to_string());
    }

    /// A server whose issuer this is.
    fn fixture(&self) -> Fixture {
        let url = format!("https://{}/realms/a/keys?v=2", self.address);
        let ca = self.folder.path().join("ca.pem");
        Fixture::pinned("ES256", |builder| {
            builder
                .env("PARLOR_AUTH__JWKS_URL", &url)
                .env("PARLOR_AUTH__JWKS_CA_FILE", ca.to_str().unwrap())
                .env("PARLOR_AUTH__AUDIENCE", "any")
        })
    }
}

fn respond(
    mut stream: TcpStream,
    tls: Arc<ServerConfig>,
    answer: &Mutex<(u16, String)>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let connection = ServerConnection::new(tls).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, &mut stream);
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            read => request.extend_from_slice(&buffer[..read]),
        }
    }
    let (mut status, body) = answer.lock().unwrap().clone();
    if !request.starts_with(b"GET /realms/a/keys?v=2 HTTP/1.1\r\n") {
        status = 404;
    }
    let length = body.len();
    // A redirect leads to the same place, where a client that followed it would find keys.
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\nlocation: /realms/a/keys?v=2\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    stream.flush()?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Waits until the server accepts a token.
fn until(accepts: impl Fn() -> bool) {
    let start = clock::now().mono;
    while !accepts() {
        assert!(clock::now().mono.since(start) < DEADLINE, "not accepted");
        thread::sleep(Duration::from_millis(100));
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn named(issuer: &Issuer, kid: &str) -> String {
    issuer.sign("ES256", &json!({"alg": "ES256", "kid": kid}), &claims())
}

#[test]
fn keys_at_a_url_verify_tokens_and_follow_a_rotation_and_a_lie_changes_nothing() {
    let [first, second] = [(); 2].map(|()| Issuer::of("ES256"));
    let publisher = Publisher::start((200, set(&[first.jwk("1")])));
    let fixture = publisher.fixture();
    until(|| fixture.accepts(&named(&first, "1")));
    assert!(!fixture.accepts(&named(&second, "1")));
    assert!(!fixture.accepts(&named(&second, "2")));

    publisher.answers(200, set(&[second.jwk("2")]));
    until(|| fixture.accepts(&named(&second, "2")));
    assert!(!fixture.accepts(&named(&first, "1")));

    let private = std::fs::read_to_string(second.private_pem()).unwrap();
    for (status, body) in [
        (302, set(&[first.jwk("1")])),
        (200, private),
        (200, "<html>sign in</html>".to_owned()),
        (200, set(&[])),
        (200, set(&[json!({"kty": "oct", "k": "c2VjcmV0"})])),
    ] {
        publisher.answers(status, body);
    }
    // Causes a request.
    assert!(!fixture.accepts(&named(&first, "1")));
    fixture
        .daemon
        .wait_for_log("keys of the token issuer cannot be fetched");
    assert!(fixture.accepts(&named(&second, "2")));
    // parlor's own tokens need no issuer.
    assert!(fixture.accepts(&fixture.own_token()));

    publisher.answers(200, set(&[first.jwk("1")]));
    fixture.daemon.wait_for_log("fetched again");
    until(|| fixture.accepts(&named(&first, "1")));
}

#[test]
fn a_server_starts_while_the_issuer_cannot_be_reached_and_rejects_its_tokens() {
    let issuer = Issuer::of("ES256");
    let publisher = Publisher::start((302, set(&[issuer.jwk("1")])));
    let fixture = publisher.fixture();
    let line = fixture
        .daemon
        .wait_for_log("keys of the token issuer cannot be fetched");
    assert!(line.contains("answered with HTTP status 302"), "{line}");
    assert!(!fixture.accepts(&named(&issuer, "1")));
    assert!(fixture.accepts(&fixture.own_token()));
    publisher.answers(200, set(&[issuer.jwk("1")]));
    until(|| fixture.accepts(&named(&issuer, "1")));
}

#[test]
fn a_server_without_a_trusted_certificate_publishes_no_keys() {
    let issuer = Issuer::of("ES256");
    let publisher = Publisher::start((200, set(&[issuer.jwk("1")])));
    std::fs::write(publisher.folder.path().join("ca.pem"), Authority::new().pem).unwrap();
    let fixture = publisher.fixture();
    let line = fixture
        .daemon
        .wait_for_log("keys of the token issuer cannot be fetched");
    assert!(line.contains("certificate"), "{line}");
    assert!(!fixture.accepts(&named(&issuer, "1")));
}

#[test]
fn keys_at_a_url_without_an_audience_are_an_error_of_the_configuration() {
    let cli = Cli::new()
        .env("PARLOR_AUTH__ALGORITHM", "ES256")
        .env("PARLOR_AUTH__JWKS_URL", "https://id.example/keys");
    cli.misused(&["serve"], "needs auth.audience");
    let by_secret = Cli::new()
        .env("PARLOR_AUTH__AUDIENCE", "parlor")
        .env("PARLOR_AUTH__JWKS_URL", "https://id.example/keys");
    by_secret.misused(&["serve"], "takes a shared secret");
}
