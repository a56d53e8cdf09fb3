//! The balancer of docs/run/several-machines.md, run as it stands there: HAProxy in front of three nodes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;
use tempfile::TempDir;

use crate::proxies::example_of;
use crate::support::balancer::Balancer;
use crate::support::certificate::Authority;
use crate::support::cluster::{Cluster, SHORT_LEASE, cluster_token, join};
use crate::support::command::Cli;
use crate::support::http::Client;
use crate::support::socket::{self, Socket};
use crate::support::{Daemon, postgres, redis, wait_until};

const BIND: &str = ":443 ssl crt /etc/haproxy/talk.example.org.pem alpn h2,http/1.1";

/// Three nodes behind a balancer.
struct Fixture {
    nodes: Vec<Daemon>,
    balancer: Balancer,
    postgres: &'static postgres::Server,
    _cluster: Cluster,
}

impl Fixture {
    fn start() -> Fixture {
        let postgres = postgres::Server::start();
        let cluster = Cluster::at(postgres, redis::server().database(), SHORT_LEASE);
        let nodes: Vec<Daemon> = ["n1", "n2", "n3"].map(|name| cluster.start(name)).into();
        let balancer = Balancer::with(|bind, directory| {
            let mut example = example("haproxy");
            assert!(example.contains(BIND));
            example = example.replace(BIND, bind);
            for (number, node) in nodes.iter().enumerate() {
                let address = format!("10.0.0.1{}:8000", number + 1);
                assert_eq!(example.matches(&address).count(), 2, "{address}");
                example = example.replace(&address, &node.http().to_string());
            }
            let stats = directory.join("stats");
            format!("global\n    stats socket {}\n{example}", stats.display())
        });
        Fixture {
            nodes,
            balancer,
            postgres,
            _cluster: cluster,
        }
    }

    /// Connects a user through the balancer; `None` if a node refuses, or the balancer has none.
    fn connect(&self, room: &str, user: &str) -> Option<Socket> {
        let opened = socket::open(self.balancer.address(), room, &cluster_token(user), "");
        let mut socket = opened.ok()?;
        socket::has_entered(&mut socket).then_some(socket)
    }

    /// The nodes of the sessions whose user or room has this id.
    fn nodes_of(&self, field: &str, id: &str) -> BTreeSet<String> {
        let sessions = self.nodes[0].cli_json(&["sessions", "--all"]);
        let all = sessions.as_array().expect("sessions");
        let found = all.iter().filter(|session| session[field]["id"] == id);
        found.map(|session| text(&session["node"])).collect()
    }

    /// The number of nodes that the balancer considers as down.
    fn nodes_down(&self) -> usize {
        let mut socket =
            UnixStream::connect(self.balancer.directory().join("stats")).expect("HAProxy");
        socket.write_all(b"show stat\n").expect("written");
        let mut text = String::new();
        socket.read_to_string(&mut text).expect("read");
        let down = |line: &&str| line.starts_with("nodes,n") && line.contains(",DOWN,");
        text.lines().filter(down).count()
    }

    fn status(&self, path: &str) -> u16 {
        Client::new(self.balancer.address()).get(path).status
    }
}

/// The first example of a language in the document.
fn example(language: &str) -> String {
    example_of("docs/run/several-machines.md", "## Set up", language)
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

#[test]
fn the_settings_of_a_node_are_valid() {
    let place = TempDir::new().expect("a place");
    let ca = place.path().join("authority.pem");
    fs::write(&ca, Authority::new().pem).expect("written");
    let settings = example("toml").replace("/etc/parlor/authority.pem", ca.to_str().unwrap());
    let file = place.path().join("config.toml");
    fs::write(&file, settings).expect("written");
    let cli = Cli::new();
    let output = cli.command(&["check", "--config"]).arg(file).output();
    let output = output.expect("parlor runs");
    assert!(output.status.success(), "{output:?}");
    // The unit passes the secrets.
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8(printed).expect("text");
    for text in ["auth.secret", "turn.secret"].map(|key| format!("{key} is not set here")) {
        assert_eq!(printed.matches(&text).count(), 1, "{printed}");
    }
    assert_eq!(printed.matches("warning: ").count(), 2, "{printed}");
}

#[test]
fn the_balancer_sends_a_room_to_one_node_and_nobody_to_a_node_that_drains() {
    let fixture = Fixture::start();
    let rooms: Vec<String> = (0..12).map(|number| format!("room-{number}")).collect();
    wait_until("three nodes are ready", || fixture.status("/readyz") == 200);
    wait_until("n1 knows the others", || {
        let nodes = fixture.nodes[0].cli_json(&["nodes"]);
        nodes.as_array().expect("nodes").len() == 3
    });
    let mut connections = Vec::new();
    for room in &rooms {
        let node = &fixture.nodes[0];
        node.cli_json(&["room", "create", room, "--id", room]);
        for user in ["alice", "bob"] {
            join(node, room, user);
            connections.push(fixture.connect(room, user).expect("an entry"));
        }
    }
    let served: Vec<_> = rooms
        .iter()
        .map(|room| fixture.nodes_of("room", room))
        .collect();
    for (room, nodes) in rooms.iter().zip(&served) {
        assert_eq!(nodes.len(), 1, "{room} is on {nodes:?}");
    }
    let all: BTreeSet<_> = served.iter().flatten().collect();
    assert_eq!(all.len(), 3, "{served:?}");

    let mut placed = rooms.iter().zip(&served);
    let (room, _) = placed
        .find(|(_, nodes)| nodes.contains("n3"))
        .expect("a room on n3");
    fixture.nodes[2].cli_json(&["drain", "--timeout", "1m", "--detach"]);
    join(&fixture.nodes[0], room, "carol");
    let mut carol = None;
    wait_until("carol enters on another node", || {
        carol = fixture.connect(room, "carol");
        carol.is_some()
    });
    let nodes = fixture.nodes_of("user", "carol");
    assert!(nodes.len() == 1 && !nodes.contains("n3"), "{nodes:?}");
}

#[test]
fn if_no_node_is_ready_the_balancer_still_passes_on_what_each_says() {
    let fixture = Fixture::start();
    wait_until("three nodes are ready", || fixture.status("/readyz") == 200);
    fixture.postgres.kill();
    // The answer of a node: HAProxy's own is HTML.
    wait_until("a node says why it is not ready", || {
        let answer = Client::new(fixture.balancer.address()).get("/readyz");
        answer.status == 503 && answer.header("content-type") == Some("application/json")
    });
    wait_until("the balancer finds no node ready", || {
        fixture.nodes_down() == 3
    });
    assert_eq!(fixture.status("/healthz"), 200);
    fixture.postgres.restart();
    wait_until("ready again", || fixture.status("/readyz") == 200);
}
