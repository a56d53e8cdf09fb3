//! Debian's `pebble`, a small ACME authority, and the names that it looks up: every name is this host.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::DEADLINE;
use super::certificate::Authority;
use super::turn::secured;

/// Addresses and files of the authority, which may or may not run.
pub(crate) struct AcmeNetwork {
    place: TempDir,
    authority: Authority,
    names: SocketAddr,
    acme: SocketAddr,
    management: SocketAddr,
    /// Where challenges are looked for.
    pub tls: SocketAddr,
    pub http: SocketAddr,
}

/// The authority and its names; ended when dropped.
pub(crate) struct Pebble(Vec<Child>);

impl AcmeNetwork {
    pub(crate) fn new() -> AcmeNetwork {
        let (place, authority) = (TempDir::new().unwrap(), Authority::new());
        authority.issue(place.path(), &["127.0.0.1"]);
        fs::write(place.path().join("root.pem"), &authority.pem).unwrap();
        // All at once, so that they differ.
        let ports = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [names, acme, management, tls, http] = ports.map(|one| one.local_addr().unwrap());
        AcmeNetwork {
            place,
            authority,
            names,
            acme,
            management,
            tls,
            http,
        }
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.acme)
    }

    /// The CA certificate of the authority's own HTTPS server.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.place.path().join("root.pem")
    }

    pub(crate) fn place(&self) -> &Path {
        self.place.path()
    }

    /// A port without a listener.
    pub(crate) fn unused_port() -> u16 {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    }

    /// Starts the authority with these settings in place of the defaults.
    pub(crate) fn open(&self, settings: &[(&str, Value)]) -> Pebble {
        let place = self.place.path();
        let mut config = json!({
            "listenAddress": self.acme,
            "managementListenAddress": self.management,
            "certificate": place.join("cert.pem"),
            "privateKey": place.join("key.pem"),
            "httpPort": self.http.port(),
            "tlsPort": self.tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
        });
        for (name, value) in settings {
            config[*name] = value.clone();
        }
        let file = place.join("pebble.json");
        fs::write(&file, json!({ "pebble": config }).to_string()).unwrap();
        let mut names = Command::new("pebble-challtestsrv");
        names.args(["-dns01", &self.names.to_string()]);
        names.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""]);
        names.args(["-http01", "", "-https01", "", "-tlsalpn01", ""]);
        names.args([
            "-management",
            &format!("127.0.0.1:{}", AcmeNetwork::unused_port()),
        ]);
        let mut pebble = Command::new("pebble");
        pebble.arg("-config").arg(file);
        pebble.args(["-dnsserver", &self.names.to_string()]);
        // Challenges are looked for at once, for each order anew.
        pebble.envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]);
        let log = |name: &str| File::create(place.join(name)).unwrap();
        let started = [(names, "names.log"), (pebble, "pebble.log")];
        let started = started.map(|(mut command, name)| {
            command.stdin(Stdio::null()).stderr(log(name));
            command.stdout(log(&format!("out-{name}")));
            command.spawn().expect("Debian's pebble is installed")
        });
        let pebble = Pebble(started.into());
        let end = std::time::Duration::from_millis(50);
        let mut waited = std::time::Duration::ZERO;
        while TcpStream::connect(self.acme).is_err() {
            assert!(waited < DEADLINE, "pebble does not listen");
            std::thread::sleep(end);
            waited += end;
        }
        pebble
    }

    /// The number of certificates that the authority has issued since its start.
    pub(crate) fn issued(&self) -> usize {
        let log = fs::read_to_string(self.place.path().join("out-pebble.log")).unwrap();
        log.lines()
            .filter(|line| line.contains("Issued certificate serial"))
            .count()
    }

    /// The root of the certificates that are issued, in PEM.
    pub(crate) fn root(&self) -> String {
        let client = Arc::new(self.authority.client());
        let mut stream = secured(self.management, &client);
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        // Its exit status does not matter.
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8(answer).unwrap();
        let begin = answer.find("-----BEGIN").expect("a certificate");
        answer[begin..].to_owned()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
