//! DSCP and ECN are preserved from datagram to datagram on all paths (RFC 8656 section 13).

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use parlor::stun::Attribute;

use crate::open_relay;
use crate::support::DEADLINE;
use crate::support::turn::{Client, Wire, channel_data};

/// TOS values: none, expedited forwarding as browsers use for audio, and with each ECN bit.
const MARKS: [u8; 4] = [0, 0xb8, 0xb9, 0x02];

#[test]
fn dscp_and_ecn_are_preserved_between_clients_of_any_shards() {
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let daemon = open_relay()
            .env("PARLOR_TURN__LISTEN", listen)
            .env("PARLOR_TURN__SHARDS", "2")
            .start();
        let shard = |relayed: SocketAddr| (relayed.port() >> 1) % 256 % 2;
        // Of three clients on two shards, two have the same shard. Add clients until two have different ones.
        let mut clients = Vec::new();
        while clients.len() < 3 || has_one_shard(&clients, shard) {
            let mut client = Client::udp(daemon.turn(), "alice", None);
            let family = u8::from(listen.starts_with('[')) + 1;
            let family = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![family, 0, 0, 0]);
            let answer = client.allocate_with(&[family]);
            let relayed = answer.address(Attribute::XOR_RELAYED_ADDRESS);
            clients.push((client, relayed.expect("a relayed address")));
        }
        let mut ways = [0, 0];
        for to in 1..clients.len() {
            let (before, rest) = clients.split_at_mut(to);
            let ((one, at_one), (other, at_other)) = (&mut before[0], &mut rest[0]);
            assert_eq!(one.bind(0x4000 + to as u16, *at_other).code(), None);
            assert_eq!(other.bind(0x4001, *at_one).code(), None);
            ways[usize::from(shard(*at_one) != shard(*at_other))] += 1;
            for mark in MARKS {
                set_mark(udp(one), mark);
                one.send(&channel_data(0x4000 + to as u16, b"marked", false));
                let expected = channel_data(0x4001, b"marked", false);
                assert_eq!(receive(udp(other)), (expected, mark), "{ways:?}");
            }
        }
        assert!(ways.iter().sum::<usize>() >= 2 && ways[1] > 0, "{ways:?}");
    }
}

#[test]
fn dscp_and_ecn_are_preserved_to_a_peer_and_back() {
    for ip in ["127.0.0.1", "::1"] {
        let daemon = open_relay()
            .env(
                "PARLOR_TURN__LISTEN",
                &SocketAddr::new(ip.parse().unwrap(), 0).to_string(),
            )
            .env("PARLOR_TURN__ALLOWED_PEERS", "127.0.0.0/8,::1/128")
            .start();
        let peer = UdpSocket::bind((ip, 0)).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let address = peer.local_addr().unwrap();
        let mut client = Client::udp(daemon.turn(), "alice", None);
        let family = u8::from(address.is_ipv6()) + 1;
        let family = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![family, 0, 0, 0]);
        let answer = client.allocate_with(&[family]);
        let relayed = answer.address(Attribute::XOR_RELAYED_ADDRESS);
        let relayed = relayed.expect("a relayed address");
        assert_eq!(client.bind(0x4001, address).code(), None);
        for mark in MARKS {
            set_mark(udp(&client), mark);
            client.send(&channel_data(0x4001, b"there", false));
            assert_eq!(receive(&peer), (b"there".to_vec(), mark));
            set_mark(&peer, mark);
            peer.send_to(b"back", relayed).unwrap();
            let expected = channel_data(0x4001, b"back", false);
            assert_eq!(receive(udp(&client)), (expected, mark));
        }
    }
}

fn has_one_shard(clients: &[(Client, SocketAddr)], shard: impl Fn(SocketAddr) -> u16) -> bool {
    clients
        .iter()
        .all(|(_, relayed)| shard(*relayed) == shard(clients[0].1))
}

fn udp(client: &Client) -> &UdpSocket {
    match &client.wire {
        Wire::Udp(socket) => socket,
        _ => panic!("not over UDP"),
    }
}

fn set_mark(socket: &UdpSocket, mark: u8) {
    let mark = i32::from(mark);
    match socket.local_addr().unwrap().ip() {
        IpAddr::V4(_) => setsockopt(socket, sockopt::Ipv4Tos, &mark).unwrap(),
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6TClass, &mark).unwrap(),
    }
}

/// The next datagram and its TOS.
fn receive(socket: &UdpSocket) -> (Vec<u8>, u8) {
    match socket.local_addr().unwrap().ip() {
        IpAddr::V4(_) => setsockopt(socket, sockopt::IpRecvTos, &true).unwrap(),
        IpAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvTClass, &true).unwrap(),
    }
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut bytes = [0; 2000];
    let mut room = [IoSliceMut::new(&mut bytes)];
    let mut control = cmsg_space!(i32, [u8; 64]);
    let fd = socket.as_raw_fd();
    let got = recvmsg::<()>(fd, &mut room, Some(&mut control), MsgFlags::empty());
    let got = got.expect("a datagram in time");
    let marks = got.cmsgs().unwrap().filter_map(|message| match message {
        ControlMessageOwned::Ipv4Tos(mark) => Some(mark),
        ControlMessageOwned::Ipv6TClass(mark) => u8::try_from(mark).ok(),
        _ => None,
    });
    let mark = marks.last().expect("a mark");
    let len = got.bytes;
    (bytes[..len].to_vec(), mark)
}
