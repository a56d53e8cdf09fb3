//! Relayed addresses of both families, on loopback.

use std::net::{SocketAddr, UdpSocket};

use parlor::stun::{Attribute, Method};

use crate::open_relay;
use crate::support::turn::{Client, channel_data};
use crate::support::{Builder, DEADLINE, Daemon};

const BOTH: (Attribute, [u8; 4]) = (Attribute::ADDITIONAL_ADDRESS_FAMILY, [2, 0, 0, 0]);

fn on_both_families() -> Builder {
    open_relay().env("PARLOR_TURN__LISTEN", "127.0.0.1:0,[::1]:0")
}

fn both(client: &mut Client) -> [SocketAddr; 2] {
    let answer = client.allocate_with(&[(BOTH.0, BOTH.1.to_vec())]);
    assert_eq!(answer.code(), None);
    let relayed = answer.addresses(Attribute::XOR_RELAYED_ADDRESS);
    relayed.try_into().expect("two relayed addresses")
}

/// A client for each transport and family.
fn clients(daemon: &Daemon) -> Vec<Client> {
    let listeners = daemon.all("turn-udp");
    let clients = listeners.iter().flat_map(|&server| {
        [
            Client::udp(server, "alice", None),
            Client::tcp(server, "alice"),
        ]
    });
    clients.collect()
}

fn peer(address: &str) -> UdpSocket {
    let peer = UdpSocket::bind(address).unwrap();
    peer.set_read_timeout(Some(DEADLINE)).unwrap();
    peer
}

#[test]
fn peers_of_both_families_are_reached_from_one_allocation() {
    let daemon = on_both_families().start();
    for mut client in clients(&daemon) {
        let relayed = both(&mut client);
        assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6());
        let peers = [peer("127.0.0.1:0"), peer("[::1]:0")];
        for (number, (peer, relayed)) in (0x4001..).zip(peers.iter().zip(relayed)) {
            let bound = client.bind(number, peer.local_addr().unwrap());
            assert_eq!(bound.code(), None);
            client.send(&channel_data(number, b"ping", true));
            let mut buffer = [0; 100];
            let (len, from) = peer.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (&b"ping"[..], relayed));
            peer.send_to(b"pong", relayed).unwrap();
            assert_eq!(client.receive(), channel_data(number, b"pong", false));
        }
    }
}

#[test]
fn clients_with_two_addresses_reach_each_other_on_both() {
    for shards in ["1", "4"] {
        let daemon = on_both_families()
            .env("PARLOR_TURN__SHARDS", shards)
            .start();
        let mut clients = clients(&daemon);
        let relayed: Vec<_> = clients.iter_mut().map(both).collect();
        for index in 0..clients.len() {
            let next = (index + 1) % clients.len();
            for (number, family) in [(0x4000, 0), (0x4001, 1)] {
                let (from, to) = (relayed[index][family], relayed[next][family]);
                assert_eq!(clients[index].bind(number, to).code(), None);
                assert_eq!(clients[next].bind(number + 2, from).code(), None);
                clients[index].send(&channel_data(number, b"hello", true));
                let heard = clients[next].receive();
                assert_eq!(heard, channel_data(number + 2, b"hello", false));
            }
        }
    }
}

#[test]
fn one_of_two_addresses_is_released_and_its_port_is_free_again() {
    let daemon = on_both_families().start();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    let [v4, v6] = both(&mut client);
    assert!(UdpSocket::bind(v4).is_err() && UdpSocket::bind(v6).is_err());
    let four = [
        (Attribute::LIFETIME, vec![0; 4]),
        (Attribute::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0]),
    ];
    assert_eq!(client.request(Method::REFRESH, &four).code(), None);
    // The response is sent before the socket is closed, later responses afterwards.
    for (peer, code) in [("127.0.0.1:9", Some(443)), ("[::1]:9", None)] {
        assert_eq!(client.permit(peer.parse().unwrap()).code(), code);
    }
    assert!(UdpSocket::bind(v4).is_ok(), "its socket is closed");
    assert!(UdpSocket::bind(v6).is_err(), "the other socket is open");
}

#[test]
fn a_single_family_server_reports_the_other_family_as_missing() {
    let daemon = open_relay().start();
    let mut client = Client::udp(daemon.turn(), "alice", None);
    let answer = client.allocate_with(&[(BOTH.0, BOTH.1.to_vec())]);
    let relayed = answer.addresses(Attribute::XOR_RELAYED_ADDRESS);
    assert!(relayed.len() == 1 && relayed[0].is_ipv4());
    let message = answer.message();
    let error = message.get(Attribute::ADDRESS_ERROR_CODE).unwrap();
    assert_eq!(error[..4], [2, 0, 4, 40]);
}
