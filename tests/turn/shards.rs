//! Several shards behind one address: a call works whichever shard the kernel selects.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Method};
use socket2::{Domain, Socket, Type};

use crate::support::Daemon;
use crate::support::turn::{Client, Wire, channel_data};
use crate::{metric, open_relay};

const SHARDS: u16 = 4;

/// Number of clients: enough for each of four shards to have some.
const CLIENTS: usize = 32;

fn start(listen: &str) -> Daemon {
    open_relay()
        .env("PARLOR_TURN__SHARDS", &SHARDS.to_string())
        .env("PARLOR_TURN__LISTEN", listen)
        .start()
}

/// The shard of a relayed address, by the rule in `docs/architecture.md`.
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

fn each_client_hears_its_predecessor(clients: &mut [Client]) {
    for index in 0..clients.len() {
        let text = format!("from {index}");
        clients[index].send(&channel_data(0x4001, text.as_bytes(), true));
        let next = (index + 1) % clients.len();
        let heard = clients[next].receive();
        assert_eq!(heard, channel_data(0x4002, text.as_bytes(), false));
    }
}

/// The number of adjacent clients in the same shard, and in different ones.
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
fn clients_of_all_shards_reach_each_other() {
    let daemon = start("127.0.0.1:0");
    let server = daemon.turn();
    let clients = (0..CLIENTS).map(|_| Client::udp(server, "alice", None));
    let (mut clients, relayed) = ring(clients.collect());
    let shards: BTreeSet<_> = relayed.iter().map(|r| shard_of(*r)).collect();
    assert!(shards.len() > 1, "all clients have the same shard");
    each_client_hears_its_predecessor(&mut clients);
    let (same, different) = neighbours(&relayed);
    let passed = |path: &str| {
        let labels = format!("{{transport=\"udp\",path=\"{path}\"}}");
        metric(
            &daemon,
            &format!("parlor_turn_relayed_packets_total{labels}"),
        )
    };
    assert_eq!(
        (passed("hairpin"), passed("hairpin_cross_shard")),
        (same, different)
    );
}

#[test]
fn streams_are_distributed_over_shards_and_reach_udp_clients() {
    let daemon = start("127.0.0.1:0");
    let server = daemon.turn();
    let clients = (0..8).map(|index| match index % 2 {
        0 => Client::tcp(server, "alice"),
        _ => Client::udp(server, "bob", None),
    });
    let (mut clients, relayed) = ring(clients.collect());
    let streams: BTreeSet<_> = relayed.iter().step_by(2).map(|r| shard_of(*r)).collect();
    assert_eq!(streams.len(), usize::from(SHARDS));
    each_client_hears_its_predecessor(&mut clients);
}

/// A socket that joins the `SO_REUSEPORT` group of an address, and takes datagrams from the shards.
fn intruder(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    let socket = UdpSocket::from(socket);
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Whether the intruder received the last datagram. On loopback it arrives at once.
fn stolen(intruder: &UdpSocket, client: &Client) -> bool {
    let Wire::Udp(socket) = &client.wire else {
        return false;
    };
    let mut buffer = [0; 2048];
    let from = intruder.recv_from(&mut buffer).map(|(_, from)| from);
    from.is_ok_and(|from| from == socket.local_addr().unwrap())
}

#[test]
fn a_client_that_the_kernel_moves_to_another_shard_keeps_its_allocation() {
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let daemon = start(listen);
        let server = SocketAddr::from(([127, 0, 0, 1], daemon.turn().port()));
        let clients = (0..CLIENTS).map(|_| Client::udp(server, "alice", None));
        let (mut clients, _) = ring(clients.collect());
        // After a socket joins the group, the kernel distributes all flows again.
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
        assert!(metric(&daemon, "parlor_turn_redirected_messages_total") > 0);
    }
}
