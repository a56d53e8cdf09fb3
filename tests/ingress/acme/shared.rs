//! Several nodes with one certificate: one requests it, all answer challenges and use it.

use std::collections::HashSet;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::{Condvar, Mutex};
use std::thread;

use super::*;
use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::postgres::Database;
use crate::support::{log_fields, wait_until};

pub(super) const LOADED: &str = "certificate loaded from the database";
const REQUESTED: &str = "requesting a certificate";

/// A node that asks the authority, on ports that the authority does not know.
fn node(cluster: &Cluster, acme: &AcmeNetwork, name: &str) -> Builder {
    with_acme(cluster.node(name), acme)
        .env("PARLOR_TURN__TLS_LISTEN", "127.0.0.1:0")
        .env("PARLOR_TLS__DOMAINS", DOMAIN)
}

/// A node that the authority reaches.
fn reachable_node(cluster: &Cluster, acme: &AcmeNetwork, name: &str) -> Builder {
    node(cluster, acme, name)
        .env("PARLOR_TURN__TLS_LISTEN", &acme.tls.to_string())
        .env("PARLOR_HTTP__LISTEN", &acme.http.to_string())
}

/// Lets no node order by itself, once a node has failed: only a reload starts an attempt.
pub(super) fn stop_attempts(database: &Database, http_first: bool) {
    let sql = format!(
        "UPDATE parlor.acme_orders SET retry_at = now() + interval '1 day',
                backoff = jsonb_set(backoff::jsonb, '{{http_first}}', '{http_first}')::text
         WHERE lease_until = '-infinity' AND backoff IS NOT NULL RETURNING 'stopped'"
    );
    wait_until("no node orders", || database.sql(&sql) == "stopped");
}

/// The fingerprints of the certificates that a node has used, oldest first.
pub(super) fn certificates(node: &Daemon) -> Vec<String> {
    let log = node.log();
    let used = log
        .iter()
        .filter(|line| line.contains(ISSUED) || line.contains(LOADED));
    used.map(|line| log_fields(line)["sha256"].as_str().unwrap().to_owned())
        .collect()
}

/// The fingerprint of the certificate that a node uses.
fn fingerprint(node: &Daemon) -> Option<String> {
    let status = node.cli_json(&["status"]);
    let fingerprint = status["certificate"]["sha256"].as_str();
    fingerprint.map(str::to_owned)
}

/// A client that verifies the certificate which an address serves.
fn is_served(acme: &AcmeNetwork, address: SocketAddr) {
    let stream = dial_at(address, DOMAIN, believing(&acme.root()));
    let mut client = Client::over(Wire::Tls(Box::new(stream)), "alice", None);
    client.request(Method::BINDING, &[]);
}

/// An order of a node that the authority does not reach, with challenges of one kind.
fn another_node_answers(over: &str, unused: &str) {
    let (acme, cluster) = (AcmeNetwork::new(), Cluster::new(LONG_LEASE));
    let one = node(&cluster, &acme, "one").start();
    one.wait_for_log("there is no certificate yet");
    stop_attempts(cluster.database(), over == "http-01");
    let two = reachable_node(&cluster, &acme, "two").start();
    let _pebble = acme.open(&[(unused, json!(AcmeNetwork::unused_port()))]);
    one.signal("HUP");
    let requested = one.wait_for_log_of("a request by the reload", |line| {
        line.contains(REQUESTED) && line.contains(over)
    });
    assert!(requested.contains(DOMAIN), "{requested}");
    one.wait_for_log(ISSUED);
    two.wait_for_log(LOADED);
    assert_eq!(lines(&two, REQUESTED), 0);
    assert_eq!(fingerprint(&one), fingerprint(&two));
    for node in [&one, &two] {
        is_served(&acme, node.all("turn-tls")[0]);
    }
    assert_eq!(
        cluster
            .database()
            .sql("SELECT count(*) FROM parlor.acme_challenges"),
        "0"
    );
}

#[test]
fn a_node_that_does_not_order_answers_a_tls_alpn_challenge() {
    another_node_answers("tls-alpn-01", "httpPort");
}

#[test]
fn a_node_that_does_not_order_answers_an_http_challenge() {
    another_node_answers("http-01", "tlsPort");
}

#[test]
fn of_several_nodes_one_orders_and_a_later_one_has_the_certificate_at_once() {
    let (acme, cluster) = (AcmeNetwork::new(), Cluster::new(LONG_LEASE));
    let mut nodes = vec![node(&cluster, &acme, "one").start()];
    nodes[0].wait_for_log("there is no certificate yet");
    stop_attempts(cluster.database(), false);
    nodes.push(node(&cluster, &acme, "two").start());
    nodes.push(reachable_node(&cluster, &acme, "three").start());
    let pebble = acme.open(&[]);
    for node in &nodes {
        node.signal("HUP");
    }
    wait_until("a certificate on all nodes", || {
        nodes.iter().all(|node| !certificates(node).is_empty())
    });
    let root = acme.root();
    assert_eq!(acme.issued(), 1);
    // The authority is away: nothing can be requested any more.
    drop(pebble);
    nodes.push(node(&cluster, &acme, "four").start());
    for node in &nodes {
        let stream = dial_at(node.all("turn-tls")[0], DOMAIN, believing(&root));
        let mut client = Client::over(Wire::Tls(Box::new(stream)), "alice", None);
        client.request(Method::BINDING, &[]);
    }
    let used: HashSet<_> = nodes.iter().map(fingerprint).collect();
    assert_eq!(used.len(), 1, "{used:?}");
    let issued: usize = nodes.iter().map(|node| lines(node, ISSUED)).sum();
    assert_eq!(issued, 1);
    assert_eq!(lines(&nodes[3], REQUESTED), 0);
    let kept = "SELECT string_agg(kind || version, ' ' ORDER BY kind) FROM parlor.acme_values";
    assert_eq!(cluster.database().sql(kept), "account1 certificate1");
}

#[test]
fn a_renewed_certificate_reaches_all_nodes() {
    let (acme, cluster) = (AcmeNetwork::new(), Cluster::new(LONG_LEASE));
    let _pebble = acme.open(&[("certificateValidityPeriod", json!(30))]);
    let nodes = [
        node(&cluster, &acme, "one").start(),
        reachable_node(&cluster, &acme, "two").start(),
    ];
    let mut first = None;
    wait_until("another certificate on both nodes", || {
        let [one, two] = nodes.each_ref().map(fingerprint);
        if one.is_none() || one != two {
            return false;
        }
        let first = first.get_or_insert_with(|| one.clone());
        *first != one
    });
    for node in &nodes {
        assert_eq!(lines(node, "not renewed yet"), 0);
    }
}

/// A port of the authority's challenges: connections wait until they lead to a node.
struct Gate {
    target: Mutex<Option<SocketAddr>>,
    /// The number of connections so far, and the changes of `target`.
    connections: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn open(address: SocketAddr) -> Arc<Gate> {
        let gate = Arc::new(Gate {
            target: Mutex::new(None),
            connections: Mutex::new(0),
            changed: Condvar::new(),
        });
        let listener = TcpListener::bind(address).unwrap();
        let accepting = gate.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let gate = accepting.clone();
                *gate.connections.lock().unwrap() += 1;
                gate.changed.notify_all();
                thread::spawn(move || gate.forward(client));
            }
        });
        gate
    }

    fn wait_for_connection(&self) {
        let connections = self.connections.lock().unwrap();
        let waited = self
            .changed
            .wait_timeout_while(connections, DEADLINE, |count| *count == 0);
        assert!(!waited.unwrap().1.timed_out(), "no connection");
    }

    fn lead_to(&self, node: SocketAddr) {
        *self.target.lock().unwrap() = Some(node);
    }

    /// Forwards a connection; one from before the change of the target is never answered.
    fn forward(&self, mut client: TcpStream) -> io::Result<()> {
        let target = *self.target.lock().unwrap();
        let Some(target) = target else {
            thread::sleep(DEADLINE);
            return Ok(());
        };
        let mut node = TcpStream::connect(target)?;
        let (mut from_node, mut to_client) = (node.try_clone()?, client.try_clone()?);
        thread::spawn(move || {
            let copied = io::copy(&mut from_node, &mut to_client);
            let _ = to_client.shutdown(Shutdown::Both);
            copied
        });
        io::copy(&mut client, &mut node)?;
        node.shutdown(Shutdown::Write)
    }
}

#[test]
fn an_order_ends_and_stores_nothing_when_another_process_has_its_lease() {
    let (acme, cluster) = (AcmeNetwork::new(), Cluster::new(LONG_LEASE));
    let gate = Gate::open(acme.tls);
    let _pebble = acme.open(&[("httpPort", json!(AcmeNetwork::unused_port()))]);
    let one = node(&cluster, &acme, "one").start();
    gate.wait_for_connection();
    let set = "UPDATE parlor.acme_orders SET";
    let database = cluster.database();
    database.sql(&format!(
        "{set} holder = 'another', lease_until = now() + interval '1 day'"
    ));
    one.wait_for_log("certificate order abandoned");
    assert_eq!(
        database.sql("SELECT reason IS NULL, holder FROM parlor.acme_orders"),
        "t|another"
    );
    // The other process has died.
    gate.lead_to(one.all("turn-tls")[0]);
    database.sql(&format!("{set} lease_until = now()"));
    one.wait_for_log(ISSUED);
    assert_eq!(acme.issued(), 1);
}

#[test]
fn another_node_orders_when_the_one_that_ordered_was_killed() {
    let (acme, cluster) = (AcmeNetwork::new(), Cluster::new(LONG_LEASE));
    let gate = Gate::open(acme.tls);
    let _pebble = acme.open(&[("httpPort", json!(AcmeNetwork::unused_port()))]);
    let one = node(&cluster, &acme, "one").start();
    // The authority validates, and waits for the response.
    gate.wait_for_connection();
    one.signal("KILL");
    one.wait();
    let begun = "SELECT count(*) FROM parlor.acme_orders WHERE lease_until > '-infinity' AND backoff IS NULL";
    assert_eq!(cluster.database().sql(begun), "1");
    let two = node(&cluster, &acme, "two").start();
    gate.lead_to(two.all("turn-tls")[0]);
    two.wait_for_log(ISSUED);
    is_served(&acme, two.all("turn-tls")[0]);
    assert_eq!(lines(&two, REQUESTED), 1);
    let kept = "SELECT string_agg(kind || version, ' ' ORDER BY kind) FROM parlor.acme_values";
    assert_eq!(cluster.database().sql(kept), "account1 certificate1");
}
