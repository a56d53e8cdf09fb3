//! A daemon whose HTTP speaks TLS, and who may come by.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

use crate::support::certificate::Authority;
use crate::support::http::Client as Http;
use crate::support::turn::{self, Client, Secured, secured};
use crate::support::{Builder, DEADLINE, Daemon};

const SECRET: &str = "a secret of the tests, thirty-two bytes and more";
pub(super) const LOBBY: &str = "lobby";

/// A daemon, and who signed its certificate.
pub(super) struct Fixture {
    pub daemon: Daemon,
    pub authority: Authority,
    /// Where its certificate and key are, and that of the authority.
    pub place: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Fixture {
        Fixture::with(|builder| builder)
    }

    pub(super) fn with(change: impl FnOnce(Builder) -> Builder) -> Fixture {
        let (place, authority) = (TempDir::new().unwrap(), Authority::new());
        let (cert, key) = authority.issue(place.path(), &["127.0.0.1", "talk.example.org"]);
        std::fs::write(place.path().join("ca.pem"), &authority.pem).unwrap();
        let builder = Builder::new()
            .env("SECRET_KEY", SECRET)
            .env("PARLOR_AUTH__PROVISION_USERS", "true")
            .env("PARLOR_TURN__SECRET", turn::SECRET)
            .env("PARLOR_HTTP__PLAIN_LISTEN", "127.0.0.1:0")
            .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0")
            .env("PARLOR_TLS__MODE", "files")
            .env("PARLOR_TLS__CERT_FILE", cert.to_str().unwrap())
            .env("PARLOR_TLS__KEY_FILE", key.to_str().unwrap());
        Fixture {
            daemon: change(builder).start(),
            authority,
            place,
        }
    }

    /// The one port.
    pub(super) fn address(&self) -> SocketAddr {
        self.daemon.all("https")[0]
    }

    /// The port beside it that speaks no TLS.
    pub(super) fn plain(&self) -> SocketAddr {
        self.daemon.all("http")[0]
    }

    /// A client's side of TLS that names these protocols.
    pub(super) fn client(&self, protocols: &[&[u8]]) -> Arc<ClientConfig> {
        let mut config = self.authority.client();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    pub(super) fn secured(&self, protocols: &[&[u8]]) -> Secured {
        secured(self.address(), &self.client(protocols))
    }

    /// TURN over TLS, at the one port.
    pub(super) fn turn(&self, user: &str, protocols: &[&[u8]]) -> Client {
        Client::tls(self.address(), user, &self.client(protocols))
    }

    /// Returns the output of curl with these arguments and a path.
    pub(super) fn curl(&self, args: &[&str], path: &str) -> String {
        let authority: PathBuf = self.place.path().join("ca.pem");
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60", "--cacert"])
            .arg(authority)
            .args(args)
            .arg(format!("https://{}{path}", self.address()))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{args:?} {path}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    pub(super) fn token(&self, user: &str) -> String {
        crate::support::token(SECRET, user)
    }

    /// Makes the user a participant of the room [`LOBBY`], and returns the response.
    pub(super) fn join(&self, user: &str) -> Value {
        let bearer = format!("Authorization: Bearer {}", self.token(user));
        let path = format!("/api/rooms/{LOBBY}/join");
        let answer = self.curl(&["-X", "POST", "-H", &bearer], &path);
        serde_json::from_str(&answer).expect("JSON")
    }

    /// Joins, and opens a WebSocket over TLS.
    pub(super) fn enter(&self, user: &str, protocols: &[&[u8]]) -> WebSocket<Secured> {
        self.join(user);
        let token = self.token(user);
        let url = format!(
            "wss://{}/api/ws/rooms/{LOBBY}?token={token}",
            self.address()
        );
        let request = url.into_client_request().expect("a request");
        let (socket, _) = client(request, self.secured(protocols)).expect("an upgrade");
        socket
    }

    /// One figure of `/metrics`, by its line's beginning.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let answer = Http::new(self.daemon.metrics()).get("/metrics");
        let text = String::from_utf8(answer.body).expect("text");
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in {text}"));
        value.trim().parse().expect("a number")
    }
}

/// The next message, as JSON.
pub(super) fn heard(socket: &mut WebSocket<Secured>) -> Value {
    loop {
        match socket.read().expect("a message") {
            Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
            Message::Ping(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Waits until something is so; fails with what it was after the deadline of all tests.
pub(super) fn until(what: &str, so: impl Fn() -> bool) {
    let start = parlor::clock::now().mono;
    while !so() {
        let waited = parlor::clock::now().mono.since(start);
        assert!(waited < DEADLINE, "waited too long: {what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

pub(super) fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}
