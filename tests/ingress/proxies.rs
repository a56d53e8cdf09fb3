//! The examples of docs/run/proxies.md, run as they stand there: with nginx, Caddy and HAProxy in front of
//! the real binary.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use tokio_tungstenite::tungstenite::client;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::support::certificate::Authority;
use crate::support::namespace::in_a_namespace;
use crate::support::turn::{Client, SmallWrites, Wire};
use crate::support::{Builder, DEADLINE, Daemon, log_fields};

const SECRET: &str = "a secret of the tests, thirty-two bytes and more";
const TALK: &str = "talk.example.org";

/// A client address that is none of the proxies' own.
const CLIENT: &str = "127.0.0.2";

/// parlor as a section of the document has it, behind a proxy.
struct Fixture {
    daemon: Daemon,
    authority: Authority,
    place: TempDir,
    /// The prefix of the host in clients' addresses.
    name: &'static str,
    path: &'static str,
}

/// A proxy, ended with the test.
struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn example(heading: &str, language: &str) -> String {
    example_of("docs/run/proxies.md", heading, language)
}

/// The first example of a language below a heading of a document.
pub(crate) fn example_of(document: &str, heading: &str, language: &str) -> String {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let document = fs::read_to_string(document).expect("a document");
    let after = document.split_once(heading);
    let (_, after) = after.unwrap_or_else(|| panic!("no heading {heading:?}"));
    let block = after.split_once(&format!("```{language}\n"));
    let (_, block) = block.unwrap_or_else(|| panic!("no {language} below {heading:?}"));
    block.split_once("```").expect("an end").0.to_owned()
}

impl Fixture {
    /// By the TOML below a heading.
    fn new(heading: &str, name: &'static str, path: &'static str) -> Fixture {
        let (place, authority) = (TempDir::new().expect("a place"), Authority::new());
        let (cert, key) = authority.issue(place.path(), &[name]);
        fs::write(place.path().join("ca.pem"), &authority.pem).expect("written");
        let both = [&cert, &key].map(|file| fs::read_to_string(file).expect("PEM"));
        fs::write(place.path().join("both.pem"), both.concat()).expect("written");
        let settings = example(heading, "toml")
            .replace("/etc/parlor/fullchain.pem", text(&cert))
            .replace("/etc/parlor/privkey.pem", text(&key));
        let file = place.path().join("config.toml");
        fs::write(&file, settings).expect("written");
        let builder = Builder::new().without("PARLOR_HTTP__LISTEN");
        let builder = builder.arg("--config").arg(text(&file));
        let daemon = builder
            .env("SECRET_KEY", SECRET)
            .env("PARLOR_AUTH__PROVISION_USERS", "true")
            .env("PARLOR_TURN__SECRET", crate::support::turn::SECRET)
            .start();
        Fixture {
            daemon,
            authority,
            place,
            name,
            path,
        }
    }

    /// Puts an example into a file, with the files that are meant by it.
    fn write(&self, name: &str, example: &str) -> PathBuf {
        let at = |name: &str| self.place.path().join(name);
        let live = format!("/etc/letsencrypt/live/{TALK}");
        let text = example
            .replace(&format!("{live}/fullchain.pem"), text(&at("cert.pem")))
            .replace(&format!("{live}/privkey.pem"), text(&at("key.pem")))
            .replace(&format!("/etc/haproxy/{TALK}.pem"), text(&at("both.pem")));
        let file = at(name);
        fs::write(&file, text).expect("written");
        file
    }

    fn proxy(&self, command: &mut Command) -> Proxy {
        let log = fs::File::create(self.place.path().join("proxy.log")).expect("a log");
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        let command = command.env("HOME", self.place.path());
        let command = command.env_remove("XDG_DATA_HOME").stderr(log);
        let mut proxy = Proxy(command.spawn().expect("the proxy starts"));
        let start = parlor::clock::now().mono;
        while TcpStream::connect("127.0.0.1:443").is_err() {
            let ended = proxy.0.try_wait().expect("its state");
            let waited = parlor::clock::now().mono.since(start);
            if ended.is_some() || waited > DEADLINE {
                let log = fs::read_to_string(self.place.path().join("proxy.log"));
                panic!("{ended:?}: {log:?}");
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        proxy
    }

    fn nginx(&self, example: &str) -> Proxy {
        let place = text(self.place.path());
        let all = format!(
            "daemon off; pid {place}/nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {place}/a; proxy_temp_path {place}/b; \
             fastcgi_temp_path {place}/c; uwsgi_temp_path {place}/d; scgi_temp_path {place}/e;\n\
             {example}\n}}"
        );
        let file = self.write("nginx.conf", &all);
        self.proxy(Command::new("nginx").arg("-c").arg(file))
    }

    fn caddy(&self, example: &str) -> Proxy {
        // Where the test runs is no authority that could be asked for a certificate.
        let [cert, key] = ["cert.pem", "key.pem"].map(|name| self.place.path().join(name));
        let own = format!("{} {{\n\ttls {} {}", self.name, text(&cert), text(&key));
        let example = example.replacen(&format!("{} {{", self.name), &own, 1);
        let all = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{example}");
        let file = self.write("Caddyfile", &all);
        let mut command = Command::new("caddy");
        self.proxy(
            command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(file),
        )
    }

    fn haproxy(&self, example: &str) -> Proxy {
        let file = self.write("haproxy.cfg", example);
        self.proxy(Command::new("haproxy").arg("-db").arg("-f").arg(file))
    }

    /// Returns the response to curl from another host.
    fn curl(&self, args: &[&str], path: &str) -> String {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(["--interface", CLIENT, "--cacert"])
            .arg(self.place.path().join("ca.pem"))
            .args(["--resolve", &format!("{}:443:127.0.0.1", self.name)])
            .args(args)
            .arg(format!("https://{}{}{path}", self.name, self.path))
            .output()
            .expect("curl runs");
        assert!(output.status.success(), "{args:?} {path}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A connection over TLS, as a client elsewhere.
    fn secured(&self) -> StreamOwned<ClientConnection, SmallWrites> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let from: SocketAddr = format!("{CLIENT}:0").parse().expect("an address");
        socket.bind(&from.into()).expect("its address");
        let to: SocketAddr = "127.0.0.1:443".parse().expect("an address");
        socket.connect(&to.into()).expect("a connection");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let name = ServerName::try_from(self.name).expect("a name");
        let config = Arc::new(self.authority.client());
        let session = ClientConnection::new(config, name).expect("a session");
        let size = usize::MAX;
        StreamOwned::new(session, SmallWrites { stream, size })
    }

    /// The page, the API over both versions of HTTP, an invite's link, a WebSocket; and parlor knows
    /// who the client is, regardless of the headers that it sends.
    fn is_served(&self) {
        let lie = [
            "-H",
            "X-Forwarded-For: 192.0.2.66",
            "-H",
            "Forwarded: for=192.0.2.67",
        ];
        for version in ["--http1.1", "--http2"] {
            let args = [&lie[..], &[version]].concat();
            assert_eq!(self.curl(&args, "/healthz"), r#"{"status":"ok"}"#);
        }
        assert!(self.curl(&[], "/r/lobby").contains("../assets/room.js"));
        assert!(self.curl(&[], "/assets/room.js").contains("import"));
        let seen = self.daemon.wait_for_log("\"route\":\"/healthz\"");
        let seen = log_fields(&seen);
        assert_eq!(seen["client"], CLIENT, "{seen}");
        // The proxy removed the forged header.
        assert_eq!(seen["alternative"], Value::Null, "{seen}");

        let token = crate::support::token(SECRET, "alice");
        let bearer = format!("Authorization: Bearer {token}");
        self.curl(&["-X", "POST", "-H", &bearer], "/api/rooms/lobby/join");
        let place = format!(
            "wss://{}{}/api/ws/rooms/lobby?token={token}",
            self.name, self.path
        );
        let request = place.into_client_request().expect("a request");
        let (mut socket, _) = client(request, self.secured()).expect("an upgrade");
        socket.close(None).expect("a close is sent");
        while socket.read().is_ok() {}

        let invite = self.daemon.cli_json(&["invite", "create", "lobby"]);
        let link = invite["link"].as_str().expect("a link");
        let root = format!("https://{}{}/r/lobby#", self.name, self.path);
        assert!(link.starts_with(&root), "{link}");
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The ports of the document are free in a network of the test's own alone.
fn cannot_run() -> bool {
    let here = std::env::var_os(crate::support::namespace::INSIDE).is_none();
    if here {
        eprintln!("not run: it needs a network of its own");
    }
    here
}

in_a_namespace! {
    fn nginx_passes_requests_on() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Requests", TALK, "");
        let _proxy = fixture.nginx(&example("### nginx", "nginx"));
        fixture.is_served();
    }

    fn caddy_passes_requests_on() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Requests", TALK, "");
        let _proxy = fixture.caddy(&example("### Caddy", "caddyfile"));
        fixture.is_served();
    }

    fn haproxy_passes_requests_on() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Requests", TALK, "");
        let _proxy = fixture.haproxy(&example("### HAProxy", "haproxy"));
        fixture.is_served();
    }

    fn caddy_has_parlor_below_a_path() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Below a path", "www.example.org", "/talk");
        let _proxy = fixture.caddy(&example("## Below a path", "caddyfile"));
        fixture.is_served();
    }

    fn nginx_has_parlor_below_a_path_whether_it_takes_that_off_or_not() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Below a path", "www.example.org", "/talk");
        let whole = example("### nginx", "nginx")
            .replace("server_name talk", "server_name www")
            .replace("location / {", "location /talk/ {");
        let shorter = whole.replace("127.0.0.1:8000;", "127.0.0.1:8000/;");
        for example in [whole, shorter] {
            let _proxy = fixture.nginx(&example);
            fixture.is_served();
        }
    }

    fn haproxy_has_parlor_below_a_path() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Below a path", "www.example.org", "/talk");
        let below = "use_backend parlor if { path_beg /talk/ }";
        let example = example("### HAProxy", "haproxy").replace("default_backend parlor", below);
        let _proxy = fixture.haproxy(&example);
        fixture.is_served();
    }

    fn haproxy_passes_connections_on_turn_included() {
        if cannot_run() {
            return;
        }
        let fixture = Fixture::new("## Connections", TALK, "");
        let _proxy = fixture.haproxy(&example("## Connections\n", "haproxy"));
        fixture.is_served();
        let mut alice = Client::over(Wire::Tls(Box::new(fixture.secured())), "alice", None);
        alice.allocated();
        let sessions = fixture.daemon.cli_json(&["sessions", "--all"]);
        let client = sessions[0]["client"].as_str().expect("a client");
        assert!(client.starts_with(CLIENT), "{client}");
    }
}
