//! coturn's own client (Debian package `coturn`), with `-W` secret credentials.
//!
//! It uses Send indications: the version of Debian 12 selects channel numbers above 0x4FFF, which RFC 8656
//! forbids.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use crate::support::Daemon;
use crate::support::turn::{Client, SECRET};
use crate::tls::Fixture;
use crate::{metric, open_relay};

/// `turnutils_peer`, which echoes datagrams. Dropping it kills the process.
struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    fn start() -> Peer {
        // The tool cannot select a port itself: use one that was free a moment ago.
        let port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = tool("turnutils_peer")
            .args(["-p", &port.to_string(), "-L", "127.0.0.1"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnutils_peer starts");
        Peer { child, port }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn tool(name: &str) -> Command {
    let found = Command::new(name).arg("-h").output();
    assert!(
        found.is_ok(),
        "{name} is missing: apt-get install coturn, or use tests/run"
    );
    Command::new(name)
}

/// Checks the final statistics of the tool. Its exit code is 0 even if all packets were lost.
fn no_packet_is_lost(daemon: &Daemon, arguments: &[&str]) {
    let port = if arguments.contains(&"-S") {
        daemon.all("turn-tls")[0].port().to_string()
    } else {
        daemon.turn().port().to_string()
    };
    let output = tool("turnutils_uclient")
        .args([
            "-s", "-c", "-W", SECRET, "-u", "alice", "-p", &port, "-n", "20",
        ])
        .args(arguments)
        .arg("127.0.0.1")
        .output()
        .expect("turnutils_uclient runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = |name: &str| -> u64 {
        let found = text.rsplit(name).next().expect(name);
        let digits: String = found.chars().take_while(char::is_ascii_digit).collect();
        digits
            .parse()
            .unwrap_or_else(|_| panic!("no {name} in: {text}"))
    };
    let (sent, received) = (figure("tot_send_msgs="), figure("tot_recv_msgs="));
    assert!(
        sent > 0 && sent == received,
        "{sent} sent, {received} received: {text}"
    );
    assert!(text.contains("Total lost packets 0 "), "{text}");
}

#[test]
fn turnutils_uclient_loses_nothing_over_udp_and_tcp() {
    let daemon = open_relay().start();
    let peer = Peer::start();
    let port = peer.port.to_string();
    let to_peer = ["-c", "-e", "127.0.0.1", "-r", &port];
    no_packet_is_lost(&daemon, &to_peer);
    no_packet_is_lost(&daemon, &[&["-t"], &to_peer[..]].concat());
}

#[test]
fn turnutils_uclient_loses_nothing_over_tls() {
    let daemon = Fixture::new().daemon;
    let peer = Peer::start();
    let port = peer.port.to_string();
    no_packet_is_lost(&daemon, &["-t", "-S", "-c", "-e", "127.0.0.1", "-r", &port]);
    no_packet_is_lost(&daemon, &["-t", "-S", "-c", "-y"]);
}

#[test]
fn turnutils_uclient_loses_nothing_on_a_pair_of_ports() {
    let daemon = open_relay().start();
    let peer = Peer::start();
    no_packet_is_lost(&daemon, &["-e", "127.0.0.1", "-r", &peer.port.to_string()]);
}

#[test]
fn turnutils_uclient_loses_nothing_from_client_to_client() {
    let daemon = open_relay().start();
    no_packet_is_lost(&daemon, &["-c", "-y"]);
    no_packet_is_lost(&daemon, &["-c", "-y", "-t"]);
}

#[test]
fn turnutils_uclient_follows_the_redirect_of_a_full_server_and_loses_nothing() {
    let other = open_relay().start();
    let full = open_relay()
        .env("PARLOR_TURN__MAX_ALLOCATIONS", "1")
        .env("PARLOR_TURN__ALTERNATE_SERVER", &other.turn().to_string())
        .start();
    let mut holder = Client::udp(full.turn(), "bob", None);
    holder.allocated();
    let peer = Peer::start();
    let port = peer.port.to_string();
    let to_peer = ["-c", "-e", "127.0.0.1", "-r", &port];
    for (count, transport) in (1..).zip([&[][..], &["-t"]]) {
        no_packet_is_lost(&full, &[transport, &to_peer].concat());
        let refused = "parlor_turn_error_responses_total{reason=\"total quota\"}";
        assert_eq!(metric(&full, refused), count);
    }
    assert!(metric(&other, "parlor_turn_success_responses_total") > 0);
    assert_eq!(metric(&full, "parlor_turn_allocations"), 1);
}
