//! Several shards behind one address: whichever the kernel asks, the call goes on.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Method};
use socket2::{Domain, Socket, Type};

use crate::support::Daemon;
use crate::support::turn::{Client, Wire, channel_data};
use crate::{metric, open_relay};

const SHARDS: u16 = 4;

/// Enough that four shards have some each, whatever ports the kernel gives the clients.
const CLIENTS: usize = 32;

fn start(listen: &str) -> Daemon {
    open_relay()
        .env("PARLOR_TURN__SHARDS", &SHARDS.to_string())
        .env("PARLOR_TURN__LISTEN", listen)
        .start()
}

/// The shard of a relayed address, by the rule that `docs/architecture.md` gives.
fn shard_of(relayed: SocketAddr) -> u16 {
    (relayed.port() >> 1) % 256 % SHARDS
}

/// Clients in a ring: each has a channel to the next.
fn ring(mut clients: Vec<Client>) -> (Vec<Client>, Vec<SocketAddr>) {
    let relayed: Vec<_> = clients.iter_mut().map(Client::allocated).collect();
    for (index, client) in clients.iter_mut().enumerate() {
        let next = relayed[(index + 1) % relayed.len()];
        let previous = relayed[(index + relayed.len() - 1) % relayed.len()];
        assert_eq!(client.bind(0x4001, next).code(), None);
        assert_eq!(client.bind(0x4002, previous).code(), None);
    }
    (clients, relayed)
}

fn everybody_hears_the_one_before(clients: &mut [Client]) {
    for index in 0..clients.len() {
        let text = format!("from {index}");
        clients[index].send(&channel_data(0x4001, text.as_bytes(), true));
        let next = (index + 1) % clients.len();
        let heard = clients[next].receive();
        assert_eq!(heard, channel_data(0x4002, text.as_bytes(), false));
    }
}

/// How many neighbours of the ring live in one shard, and how many in two.
fn neighbours(relayed: &[SocketAddr]) -> (u64, u64) {
    let next = relayed.iter().cycle().skip(1);
    let same = relayed
        .iter()
        .zip(next)
        .filter(|(a, b)| shard_of(**a) == shard_of(**b));
    let same = same.count() as u64;
    (same, relayed.len() as u64 - same)
}

#[test]
fn clients_of_all_shards_hear_each_other_within_a_shard_and_across() {
    let daemon = start("127.0.0.1:0");
    let server = daemon.turn();
    let clients = (0..CLIENTS).map(|_| Client::udp(server, "alice", None));
    let (mut clients, relayed) = ring(clients.collect());
    let shards: BTreeSet<_> = relayed.iter().map(|r| shard_of(*r)).collect();
    assert!(shards.len() > 1, "the kernel asked one shard alone");
    everybody_hears_the_one_before(&mut clients);
    let (same, different) = neighbours(&relayed);
    let passed = |path: &str| {
        let labels = format!("{{transport=\"udp\",path=\"{path}\"}}");
        metric(
            &daemon,
            &format!("parlor_turn_relayed_packets_total{labels}"),
        )
    };
    assert_eq!((passed("hairpin"), passed("across")), (same, different));
}

#[test]
fn streams_are_spread_over_shards_and_reach_datagram_clients() {
    let daemon = start("127.0.0.1:0");
    let server = daemon.turn();
    let clients = (0..8).map(|index| match index % 2 {
        0 => Client::tcp(server, "alice"),
        _ => Client::udp(server, "bob", None),
    });
    let (mut clients, relayed) = ring(clients.collect());
    let streams: BTreeSet<_> = relayed.iter().step_by(2).map(|r| shard_of(*r)).collect();
    assert_eq!(streams.len(), usize::from(SHARDS));
    everybody_hears_the_one_before(&mut clients);
}

/// A socket that joins the kernel's group for an address: what it gets, no shard does.
fn intruder(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Whether the intruder got what a client has just sent; on loopback it is there already.
fn stolen(intruder: &UdpSocket, client: &Client) -> bool {
    let Wire::Udp(socket) = &client.wire else {
        return false;
    };
    let mut buffer = [0; 2048];
    let from = intruder.recv_from(&mut buffer).map(|(_, from)| from);
    from.is_ok_and(|from| from == socket.local_addr().unwrap())
}

#[test]
fn a_client_whom_the_kernel_moves_to_another_shard_goes_on() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let daemon = start(listen);
        let server = SocketAddr::from(([127, 0, 0, 1], daemon.turn().port()));
        let clients = (0..CLIENTS).map(|_| Client::udp(server, "alice", None));
        let (mut clients, _) = ring(clients.collect());
        // One more in the group, and the kernel deals all flows anew.
        let intruder = intruder(daemon.turn());
        let mut served = 0;
        for index in 0..clients.len() {
            let refresh = clients[index].signed(Method::REFRESH, &[]);
            clients[index].send(&refresh);
            if stolen(&intruder, &clients[index]) {
                continue;
            }
            served += 1;
            let answer = crate::support::turn::Answer(clients[index].receive());
            assert_eq!(answer.code(), None);
            assert!(answer.message().get(Attribute::LIFETIME).is_some());
            clients[index].send(&channel_data(0x4001, b"still here", false));
            let next = (index + 1) % clients.len();
            let heard = clients[next].receive();
            assert_eq!(heard, channel_data(0x4002, b"still here", false));
        }
        assert!(served > 0, "the intruder got everything");
        assert!(metric(&daemon, "parlor_turn_passed_on_total") > 0);
    }
}
