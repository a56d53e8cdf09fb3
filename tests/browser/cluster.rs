//! People who reached different nodes: one node relays their room, and another takes over when it ends.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use parlor::clock;
use tempfile::TempDir;

use crate::support::call::{Person, Via};
use crate::support::cluster::{Cluster, SHORT_LEASE, cluster_token};
use crate::support::http::Client;
use crate::support::namespace::in_a_namespace;
use crate::support::{DEADLINE, Daemon};
use crate::{ADA, GRACE, documented_client, enters, folder, opens};

/// A longer silence is a gap, even where other tests run beside this one.
const GAP_LIMIT_MS: f64 = 1_000.0;

/// After the relay node was killed with a lease of two seconds, people hear each other again.
const MOVE_LIMIT: Duration = Duration::from_secs(20);
/// The default of `cluster.lease`, and the limit with it.
const DEFAULT_LEASE: &str = "10s";
const DEFAULT_MOVE_LIMIT: Duration = Duration::from_secs(30);

in_a_namespace! {
    fn people_of_two_nodes_hear_each_other_through_the_relay_of_a_third() {
        let mut call = ClusterCall::start();
        call.is_relayed_by_one_node();
        let [ada, grace] = &mut call.people;
        ada.has_seen_no_errors();
        grace.has_seen_no_errors();
    }

    fn a_call_has_no_gap_when_a_node_with_signaling_is_killed() {
        let mut call = ClusterCall::start();
        call.is_relayed_by_one_node();
        for person in &mut call.people {
            person.ask("test.listens()");
            person.ask("test.watches()");
            person.ask("test.frames = []");
        }
        call.gateways[0].leads_to(call.nodes[GRACES].as_ref().expect("a node").http());
        call.nodes[ADAS].take().expect("a node").signal("KILL");
        let [ada, grace] = &mut call.people;
        ada.wait("for the connection to end", "test.closes.length === 1");
        ada.is_in_the_room();
        // Ada's new connection replaces the lost one.
        grace.wait("for Ada to return", "test.frames.includes('user-joined')");
        call.is_relayed_by_one_node();
        for person in &mut call.people {
            let seen = person.ask("test.seen");
            println!("{}: longest without a sound and without a packet, in ms: {seen}", person.name);
            for what in ["silence", "pause"] {
                let longest = seen[what].as_f64().expect("a number");
                assert!(longest < GAP_LIMIT_MS, "{what}: {seen}");
            }
            assert_eq!(person.ask("test.connections.length"), 1, "the connection is the same");
            person.has_seen_no_errors();
        }
    }

    fn a_call_moves_to_another_relay_when_the_relay_node_is_killed() {
        let mut call = ClusterCall::start();
        call.is_relayed_by_one_node();
        call.kills_relay(MOVE_LIMIT);
        call.is_relayed_by_one_node();
        let [ada, grace] = &mut call.people;
        assert_eq!(ada.ask("test.connections.length"), 1, "the connection is the same");
        assert_eq!(grace.ask("test.connections.length"), 1, "the connection is the same");
        ada.has_seen_no_errors();
        grace.has_seen_no_errors();
    }

    fn documented_clients_move_to_another_relay_before_their_connections_fail() {
        let mut call = ClusterCall::start_documented();
        for (person, other) in call.people.iter_mut().zip([GRACE, ADA]) {
            person.hears_as_documented(other);
            person.ask("test.earlier = test.ice()");
            person.ask("test.states = []");
            person.ask("test.connections[0].addEventListener('connectionstatechange', \
                ({ target }) => test.states.push(target.connectionState))");
        }
        call.nodes[RELAY].take().expect("a node").signal("KILL");
        for (person, other) in call.people.iter_mut().zip([GRACE, ADA]) {
            person.wait("for the notice", "test.frames.includes('ice-servers')");
            person.wait("for a restart of ICE", "test.ice() !== test.earlier");
            person.hears_as_documented(other);
            person.is_relayed_over("udp");
            assert_eq!(person.ask("test.states.includes('failed')"), false);
            assert_eq!(person.ask("test.connections.length"), 1, "the connection is the same");
            person.has_seen_no_errors();
        }
    }

    fn a_call_moves_to_another_relay_when_a_node_with_signaling_and_the_relay_is_killed() {
        let mut call = ClusterCall::start_with(SHORT_LEASE, [RELAY, GRACES]);
        call.is_relayed_by_one_node();
        call.gateways[0].leads_to(call.nodes[ADAS].as_ref().expect("a node").http());
        call.kills_relay(MOVE_LIMIT);
        call.is_relayed_by_one_node();
    }

    #[ignore = "takes long: see tests/long/relay-node"]
    fn a_call_moves_within_thirty_seconds_with_the_default_lease() {
        let mut call = ClusterCall::start_with(DEFAULT_LEASE, [ADAS, GRACES]);
        call.is_relayed_by_one_node();
        call.kills_relay(DEFAULT_MOVE_LIMIT);
        call.is_relayed_by_one_node();
    }
}

/// The nodes, by what they do in a test.
const RELAY: usize = 0;
const ADAS: usize = 1;
const GRACES: usize = 2;

/// Ada and Grace in a room of three nodes, each at a node of their own.
struct ClusterCall {
    people: [Person; 2],
    gateways: [Gateway; 2],
    /// The one that relays the room is the first.
    nodes: [Option<Daemon>; 3],
    _cluster: Cluster,
    _folder: TempDir,
}

impl ClusterCall {
    fn start() -> ClusterCall {
        ClusterCall::start_with(SHORT_LEASE, [ADAS, GRACES])
    }

    /// Ada and Grace use the client of `docs/build/javascript-client.md`.
    fn start_documented() -> ClusterCall {
        ClusterCall::start_at(SHORT_LEASE, [ADAS, GRACES], |address, _, person, folder| {
            let server = format!("http://{address}");
            let token = cluster_token(person.0);
            let mut opened = opens(&server, person, Via::RelayUdp, folder);
            let client = documented_client();
            opened.ask(&format!("{client}\ntalk({server:?}, 'lobby', {token:?})"));
            opened
        })
    }

    /// Ada and Grace use the page, at these nodes.
    fn start_with(lease: &'static str, places: [usize; 2]) -> ClusterCall {
        ClusterCall::start_at(lease, places, |address, invite, person, folder| {
            let (_, path) = invite.split_once("/r/").expect("a room's link");
            let link = format!("http://{address}/r/{path}");
            enters(&link, person, Via::RelayUdp, folder)
        })
    }

    /// `enter` lets a person into the room at an address. It also gets the link of an invite.
    fn start_at(
        lease: &'static str,
        places: [usize; 2],
        enter: impl Fn(SocketAddr, &str, (&'static str, u32), &TempDir) -> Person,
    ) -> ClusterCall {
        let cluster = Cluster::new(lease);
        let mut nodes = ["one", "two", "three"].map(|name| cluster.start(name));
        let invite = nodes[0].invite_link();
        let relay = relay_of_lobby(&nodes[0]);
        let index = nodes.iter().position(|node| node.turn().port() == relay);
        nodes.swap(0, index.expect("a node relays the room"));
        let gateways = places.map(|place| Gateway::to(nodes[place].http()));
        let folder = folder();
        let mut entering = [ADA, GRACE].into_iter().zip(&gateways);
        let people = [(); 2].map(|()| {
            let (person, gateway) = entering.next().expect("two people");
            enter(gateway.address, &invite, person, &folder)
        });
        ClusterCall {
            people,
            gateways,
            nodes: nodes.map(Some),
            _cluster: cluster,
            _folder: folder,
        }
    }

    /// Waits until both hear each other through a relay, and all their packets pass between two allocations of one
    /// node.
    fn is_relayed_by_one_node(&mut self) {
        for (person, other) in self.people.iter_mut().zip([GRACE, ADA]) {
            person.hears(&[other]);
            person.is_relayed_over("udp");
        }
        let relayed = |path: &str| {
            let nodes = self.nodes.iter().flatten();
            nodes
                .map(|node| relayed_packets(node, path))
                .collect::<Vec<_>>()
        };
        let before = relayed("hairpin");
        for person in &mut self.people {
            person.is_relayed_over("udp");
        }
        let after = relayed("hairpin");
        let growing = before
            .iter()
            .zip(&after)
            .filter(|(before, after)| before < after);
        assert_eq!(growing.count(), 1, "{before:?} {after:?}");
        let outside = relayed("to_peer");
        assert!(outside.iter().all(|count| *count == 0), "{outside:?}");
    }

    /// Kills the relay node, and waits until both have heard silence and then each other again.
    fn kills_relay(&mut self, limit: Duration) {
        let killed = clock::now().mono;
        self.nodes[RELAY].take().expect("a node").signal("KILL");
        for person in &mut self.people {
            person.wait("for silence", "test.heard().every((tone) => tone === 0)");
        }
        for (person, other) in self.people.iter_mut().zip([GRACE, ADA]) {
            person.hears(&[other]);
            let took = clock::now().mono.since(killed);
            println!("{} heard the other again after {took:?}", person.name);
            assert!(took < limit, "{}: {took:?}", person.name);
        }
    }
}

/// The port of the relay that a node names to a member of the room `lobby`.
fn relay_of_lobby(node: &Daemon) -> u16 {
    let scout = Client::new(node.http()).with_token(&cluster_token("scout"));
    let joined = scout.post("/api/rooms/lobby/join").ok();
    let urls = joined["ice_servers"][1]["urls"].as_array().expect("URLs");
    let url = urls[0].as_str().expect("a URL");
    let port = url.trim_start_matches("turn:127.0.0.1:");
    port.split('?')
        .next()
        .expect("a port")
        .parse()
        .expect("a port")
}

fn relayed_packets(node: &Daemon, path: &str) -> u64 {
    let metrics = Client::new(node.metrics()).get("/metrics").body;
    let metrics = String::from_utf8(metrics).expect("text");
    let name = "parlor_turn_relayed_packets_total{";
    let rows = metrics.lines().filter(|line| line.starts_with(name));
    let rows = rows.filter(|line| line.contains(&format!("path=\"{path}")));
    rows.map(|line| {
        line.rsplit(' ')
            .next()
            .expect("a count")
            .parse::<u64>()
            .expect("a number")
    })
    .sum()
}

/// A load balancer for one person: passes connections on to the node that the test chooses.
struct Gateway {
    address: SocketAddr,
    node: Arc<Mutex<SocketAddr>>,
}

impl Gateway {
    fn to(node: SocketAddr) -> Gateway {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let gateway = Gateway {
            address: listener.local_addr().expect("an address"),
            node: Arc::new(Mutex::new(node)),
        };
        let node = gateway.node.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let node = *node.lock().unwrap();
                thread::spawn(move || pass_on(client, node));
            }
        });
        gateway
    }

    /// Passes later connections on to another node.
    fn leads_to(&self, node: SocketAddr) {
        *self.node.lock().unwrap() = node;
    }
}

fn pass_on(client: TcpStream, node: SocketAddr) -> io::Result<()> {
    let node = TcpStream::connect_timeout(&node, DEADLINE)?;
    let (client_copy, node_copy) = (client.try_clone()?, node.try_clone()?);
    let there = thread::spawn(move || copy(client_copy, node_copy));
    let back = copy(node, client);
    there.join().expect("copied").and(back)
}

fn copy(mut from: TcpStream, mut to: TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
    copied.map(drop)
}
