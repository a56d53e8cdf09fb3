//! NAT behaviour discovery (RFC 5780) on 127.0.0.1 and 127.0.0.2, each with two ports.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Output;

use parlor::stun::{Attribute, Class, Message, Method, Writer};

use crate::coturn::tool;
use crate::open_relay;
use crate::support::command::Cli;
use crate::support::turn::Client;
use crate::support::{Builder, DEADLINE};

/// The ports of a daemon with NAT behaviour discovery.
struct Ports {
    first: u16,
    second: u16,
}

impl Ports {
    /// Two ports that were free a moment ago. Both addresses must have the same ports, which the kernel cannot
    /// select.
    fn free() -> Ports {
        let sockets = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let [first, second] = sockets.map(|socket| socket.local_addr().unwrap().port());
        Ports { first, second }
    }

    fn settings(&self) -> [(&'static str, String); 2] {
        let listen = [1, 2].map(|host| self.place(host, false).to_string());
        [
            ("PARLOR_TURN__LISTEN", listen.join(",")),
            ("PARLOR_TURN__ALTERNATE_PORT", self.second.to_string()),
        ]
    }

    fn configured(&self) -> Builder {
        let settings = self.settings().into_iter();
        settings.fold(open_relay(), |builder, (key, value)| {
            builder.env(key, &value)
        })
    }

    /// The endpoint with this address (1 or 2) and the alternate port or not.
    fn place(&self, host: u8, second: bool) -> SocketAddr {
        let port = if second { self.second } else { self.first };
        SocketAddr::from(([127, 0, 0, host], port))
    }
}

/// Sends a Binding request with CHANGE-REQUEST, and returns the response and its source.
fn request(socket: &UdpSocket, to: SocketAddr, flags: u8) -> (SocketAddr, Vec<u8>) {
    let mut out = Vec::new();
    Writer::new(&mut out, Method::BINDING, Class::Request, [7; 12])
        .attribute(Attribute::CHANGE_REQUEST, &[0, 0, 0, flags])
        .fingerprint();
    socket.send_to(&out, to).unwrap();
    let mut buffer = vec![0; 1500];
    let (len, from) = socket.recv_from(&mut buffer).expect("an answer in time");
    buffer.truncate(len);
    (from, buffer)
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket
}

fn address(answer: &[u8], attribute: Attribute) -> SocketAddr {
    let message = Message::parse(answer).expect("STUN");
    let value = message.get(attribute).expect("the attribute");
    let [0, 1, high, low, a, b, c, d] = *value else {
        panic!("{value:?}");
    };
    SocketAddr::new(IpAddr::from([a, b, c, d]), u16::from_be_bytes([high, low]))
}

#[test]
fn a_response_is_sent_from_the_requested_address_and_port_by_any_shard() {
    let ports = Ports::free();
    let _daemon = ports.configured().env("PARLOR_TURN__SHARDS", "3").start();
    for _ in 0..8 {
        // The port of a client determines its shard.
        let socket = socket();
        for (host, second) in [(1, false), (1, true), (2, false), (2, true)] {
            let to = ports.place(host, second);
            for (flags, from) in [
                (0, to),
                (2, ports.place(host, !second)),
                (4, ports.place(3 - host, second)),
                (6, ports.place(3 - host, !second)),
            ] {
                let (answered, answer) = request(&socket, to, flags);
                assert_eq!(answered, from);
                assert_eq!(address(&answer, Attribute::RESPONSE_ORIGIN), from);
                let other = ports.place(3 - host, !second);
                assert_eq!(address(&answer, Attribute::OTHER_ADDRESS), other);
                let mapped = address(&answer, Attribute::MAPPED_ADDRESS);
                assert_eq!(mapped, socket.local_addr().unwrap());
            }
        }
    }
}

#[test]
fn the_alternate_port_is_not_advertised_and_denied_as_a_peer() {
    let ports = Ports::free();
    let daemon = ports.configured().start();
    daemon.cli_json(&["user", "add", "alice"]);
    let minted = daemon.cli_json(&["turn", "credential", "alice"]);
    let minted = minted.to_string();
    assert!(minted.contains(&format!(":{}", ports.first)), "{minted}");
    assert!(!minted.contains(&format!(":{}", ports.second)), "{minted}");
    let mut client = Client::udp(daemon.turn(), "alice", None);
    client.allocated();
    for host in [1, 2] {
        let refused = client.bind(0x4001, ports.place(host, true));
        assert_eq!(refused.code(), Some(403));
    }
}

#[test]
fn an_alternate_port_in_use_is_reported_in_one_sentence() {
    let ports = Ports::free();
    let taken = ports.place(2, true);
    let holder = UdpSocket::bind(taken).unwrap();
    let error = format!("cannot listen on {taken} (turn.alternate_port): it is in use");
    // A group of sockets with SO_REUSEPORT would accept another one.
    for shards in ["1", "2"] {
        let cli = Cli::new()
            .env("PARLOR_HTTP__LISTEN", "127.0.0.1:0")
            .env("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0")
            .env("PARLOR_LOG__LEVEL", "error")
            .env("PARLOR_TURN__SHARDS", shards);
        let settings = ports.settings().into_iter();
        let cli = settings.fold(cli, |cli, (key, value)| cli.env(key, &value));
        cli.refused(&["serve"], &error);
    }
    drop(holder);
}

#[test]
fn turnutils_natdiscovery_finds_no_nat_on_loopback() {
    let ports = Ports::free();
    let _daemon = ports.configured().start();
    let found = natdiscovery(&ports, &["-m", "-f"]);
    for finding in [
        "No ALG: Mapped == XOR-Mapped",
        "No NAT! (Endpoint Independent Mapping)",
        // Responses come from an address and port that the client has sent nothing to.
        "NAT with Endpoint Independent Filtering!",
    ] {
        assert!(found.contains(finding), "{found}");
    }
    let refused = natdiscovery(&ports, &["-m", "-P"]);
    assert!(refused.contains("error 420"), "{refused}");
}

fn natdiscovery(ports: &Ports, arguments: &[&str]) -> String {
    let output: Output = tool("turnutils_natdiscovery")
        .args(arguments)
        .args([
            "-p",
            &ports.first.to_string(),
            "-L",
            "127.0.0.1",
            "127.0.0.1",
        ])
        .output()
        .expect("turnutils_natdiscovery runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
