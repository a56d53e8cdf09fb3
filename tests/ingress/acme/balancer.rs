//! The examples of docs/run/certificates-several-machines.md: HAProxy in front of two nodes that request a certificate.

use socket2::{Domain, Socket, Type};
use tokio_tungstenite::tungstenite::client;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::shared::{LOADED, certificates, stop_attempts};
use super::*;
use crate::proxies::example_of;
use crate::support::balancer::Haproxy;
use crate::support::certificate::Authority;
use crate::support::cluster::{Cluster, LONG_LEASE, cluster_token};
use crate::support::{log_fields, wait_until};

const DOCUMENT: &str = "docs/run/certificates-several-machines.md";

/// A client address that is not the balancer's.
const CLIENT: &str = "127.0.0.2";

/// Starts HAProxy with an example below a heading and other addresses, and waits until it listens at one of them.
fn start_haproxy(
    acme: &AcmeNetwork,
    heading: &str,
    addresses: &[(&str, String)],
    listens: SocketAddr,
) -> Haproxy {
    let mut text = example_of(DOCUMENT, heading, "haproxy");
    for (from, to) in addresses {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let file = acme.place().join("haproxy.cfg");
    fs::write(&file, text).unwrap();
    let haproxy = Haproxy::start(&file);
    wait_until("haproxy listens", || TcpStream::connect(listens).is_ok());
    haproxy
}

/// Two nodes with the settings below a heading, at ports that the kernel picks. All names lead to this host.
struct Nodes {
    acme: AcmeNetwork,
    cluster: Cluster,
    nodes: Vec<Daemon>,
}

impl Nodes {
    fn new(heading: &str) -> Nodes {
        let (acme, cluster) = (AcmeNetwork::new(), Cluster::new(LONG_LEASE));
        let mut nodes = Vec::new();
        for name in ["n1", "n2"] {
            let settings = example_of(DOCUMENT, heading, "toml")
                .replace("10.0.0.11:8443", "127.0.0.1:0")
                .replace("10.0.0.11:443", "127.0.0.1:0")
                .replace("10.0.0.11:80", "127.0.0.1:0")
                .replace("10.0.0.5", "127.0.0.1")
                .replace("public_host = \"n1.", &format!("public_host = \"{name}."));
            let file = acme.place().join(format!("{name}.toml"));
            fs::write(&file, settings).unwrap();
            let mut builder = with_acme(cluster.node(name), &acme)
                .without("PARLOR_HTTP__LISTEN")
                .env("PARLOR_TURN__SECRET", crate::support::turn::SECRET)
                .arg("--config")
                .arg(file.to_str().unwrap());
            // The document has port 5349 there by default, which only one process of this host can have.
            let is_challenged = heading == AT_BALANCER && name == "n1";
            let turn_tls = if is_challenged {
                acme.tls.to_string()
            } else {
                "127.0.0.1:0".to_owned()
            };
            builder = builder.env("PARLOR_TURN__TLS_LISTEN", &turn_tls);
            let node = builder.start();
            if nodes.is_empty() {
                // Without an authority. From now on, an attempt needs a reload.
                node.wait_for_log("there is no certificate yet");
            }
            nodes.push(node);
        }
        Nodes {
            acme,
            cluster,
            nodes,
        }
    }

    fn wait_for_certificate(&self) {
        let [one, two] = &self.nodes[..] else {
            unreachable!("two nodes")
        };
        one.wait_for_log(ISSUED);
        two.wait_for_log(LOADED);
        assert_eq!(certificates(one), certificates(two));
        assert_eq!(self.acme.issued(), 1);
    }

    /// Every second connection would lead to a node that still relays a call.
    fn a_draining_node_gets_no_newcomers(&self, balancer: SocketAddr, config: &ClientConfig) {
        let mut caller = Client::udp(self.nodes[0].turn(), "alice", None);
        caller.allocated();
        let file = self.acme.place().join("n1.toml");
        let config_file = ["--config", file.to_str().unwrap()];
        let drain = [&["drain", "--timeout", "10m", "--detach"], &config_file[..]].concat();
        let drained = self.nodes[0].cli(&drain);
        assert!(drained.status.success(), "{drained:?}");
        let is_ready = || request(balancer, config, "GET /readyz", "").starts_with("HTTP/1.1 200");
        wait_until("the balancer avoids the draining node", || {
            (0..6).all(|_| is_ready())
        });
        let own = Http::new(self.nodes[0].metrics()).get("/readyz");
        assert_eq!(own.status, 503);
    }

    /// Requests pass the balancer to both nodes, which know the client, and so does a WebSocket.
    fn are_served(&self, balancer: SocketAddr, config: &ClientConfig) {
        wait_until("both nodes answer requests", || {
            let answer = request(balancer, config, "GET /healthz", "");
            let has_answered = |node: &Daemon| lines(node, "\"route\":\"/healthz\"") > 0;
            answer.starts_with("HTTP/1.1 200") && self.nodes.iter().all(has_answered)
        });
        for node in &self.nodes {
            let seen = log_fields(&node.wait_for_log("\"route\":\"/healthz\""));
            assert_eq!(seen["client"], CLIENT, "{seen}");
        }
        let token = cluster_token("alice");
        let bearer = format!("Authorization: Bearer {token}\r\n");
        let joined = request(balancer, config, "POST /api/rooms/lobby/join", &bearer);
        assert!(joined.starts_with("HTTP/1.1 200"), "{joined}");
        let url = format!("wss://{DOMAIN}/api/ws/rooms/lobby?token={token}");
        let stream = dial_from_elsewhere(balancer, DOMAIN, config);
        let (mut socket, _) = client(url.into_client_request().unwrap(), stream).unwrap();
        socket.close(None).unwrap();
        while socket.read().is_ok() {}
    }
}

const AT_NODES: &str = "## TLS at the nodes";
const AT_BALANCER: &str = "## TLS at the balancer";

/// A TLS session of a client that has another address than the balancer.
fn dial_from_elsewhere(to: SocketAddr, name: &str, config: &ClientConfig) -> Secured {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("{CLIENT}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let session = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    let size = usize::MAX;
    StreamOwned::new(session, SmallWrites { stream, size })
}

/// Returns the response to an HTTPS request, or a part of it.
fn request(to: SocketAddr, config: &ClientConfig, line: &str, headers: &str) -> String {
    let mut stream = dial_from_elsewhere(to, DOMAIN, config);
    let head = format!("{line} HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n");
    let text = format!("{head}Content-Length: 0\r\n{headers}\r\n");
    let mut answer = Vec::new();
    if stream.write_all(text.as_bytes()).is_ok() {
        let _ = stream.read_to_end(&mut answer);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// A TURN client that verifies the name of a node at the node itself.
fn turn_over_tls_is_served(node: SocketAddr, name: &str, root: &str) {
    let stream = dial_from_elsewhere(node, name, &believing(root));
    let mut client = Client::over(Wire::Tls(Box::new(stream)), "alice", None);
    client.request(Method::BINDING, &[]);
}

/// Challenges of one kind pass the balancer to any node.
fn a_balancer_passes_challenges_on(over: &str, unused: &str) {
    let fixture = Nodes::new(AT_NODES);
    let (acme, nodes) = (&fixture.acme, &fixture.nodes);
    stop_attempts(fixture.cluster.database(), over == "http-01");
    let https = |at: usize| nodes[at].all("https")[0].to_string();
    let http = |at: usize| nodes[at].all("http")[0].to_string();
    let check = |at: usize| format!("{} port {}", https(at), nodes[at].all("http")[0].port());
    let addresses = [
        ("bind :443", format!("bind {}", acme.tls)),
        ("bind :80", format!("bind {}", acme.http)),
        ("10.0.0.11:443 port 80", check(0)),
        ("10.0.0.12:443 port 80", check(1)),
        ("10.0.0.11:80", http(0)),
        ("10.0.0.12:80", http(1)),
    ];
    let _haproxy = start_haproxy(acme, AT_NODES, &addresses, acme.tls);
    let _pebble = acme.open(&[(unused, json!(AcmeNetwork::unused_port()))]);
    nodes[0].signal("HUP");
    nodes[0].wait_for_log_of("a request by the reload", |line| {
        line.contains("requesting a certificate") && line.contains(over)
    });
    fixture.wait_for_certificate();
    let root = acme.root();
    fixture.are_served(acme.tls, &believing(&root));
    for (node, name) in nodes.iter().zip(["n1.example.org", "n2.example.org"]) {
        turn_over_tls_is_served(node.all("https")[0], name, &root);
    }
    let sent_on = Http::new(acme.http).get("/r/lobby");
    assert_eq!(sent_on.status, 308);
    fixture.a_draining_node_gets_no_newcomers(acme.tls, &believing(&root));
}

#[test]
fn a_balancer_passes_tls_alpn_challenges_and_connections_to_any_node() {
    a_balancer_passes_challenges_on("tls-alpn-01", "httpPort");
}

#[test]
fn a_balancer_passes_http_challenges_and_connections_to_any_node() {
    a_balancer_passes_challenges_on("http-01", "tlsPort");
}

#[test]
fn a_balancer_with_a_certificate_verifies_those_of_the_nodes() {
    let fixture = Nodes::new(AT_BALANCER);
    let (acme, nodes) = (&fixture.acme, &fixture.nodes);
    stop_attempts(fixture.cluster.database(), false);
    let _pebble = acme.open(&[("httpPort", json!(AcmeNetwork::unused_port()))]);
    nodes[0].signal("HUP");
    fixture.wait_for_certificate();
    let root = acme.root();
    let root_file = acme.place().join("issued-root.pem");
    fs::write(&root_file, &root).unwrap();
    let (place, authority) = (tempfile::TempDir::new().unwrap(), Authority::new());
    let (cert, key) = authority.issue(place.path(), &[DOMAIN]);
    let both = [cert, key].map(|file| fs::read_to_string(file).unwrap());
    let both_file = place.path().join("both.pem");
    fs::write(&both_file, both.concat()).unwrap();
    let listens = SocketAddr::from(([127, 0, 0, 1], AcmeNetwork::unused_port()));
    let addresses = [
        ("bind :443", format!("bind {listens}")),
        (
            "/etc/haproxy/talk.example.org.pem",
            both_file.display().to_string(),
        ),
        ("@system-ca", root_file.display().to_string()),
        ("10.0.0.11:8443", nodes[0].all("https")[0].to_string()),
        ("10.0.0.12:8443", nodes[1].all("https")[0].to_string()),
    ];
    let _haproxy = start_haproxy(acme, AT_BALANCER, &addresses, listens);
    fixture.are_served(listens, &authority.client());
    for (node, name) in nodes.iter().zip(["n1.example.org", "n2.example.org"]) {
        turn_over_tls_is_served(node.all("turn-tls")[0], name, &root);
    }
}
