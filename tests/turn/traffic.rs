//! `turn.traffic` over real sockets: the first datagrams of QUIC and of a SOCKS tunnel, each beside a relay that
//! carries them.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::turn::{Client, channel_data, minted};
use crate::{metric, open_relay};

/// The packets of a call, whose arrival shows that earlier datagrams were not only late.
const MEDIA: &[u8] = b"\x80\x6f\x00\x01 media of a call";

const NOTHING: [Vec<Vec<u8>>; 2] = [Vec::new(), Vec::new()];

/// The Initial packet of a QUIC client (RFC 9000 section 17.2.2), and a packet with a short header.
fn quic() -> [Vec<u8>; 2] {
    let mut initial = vec![
        0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e,
    ];
    initial.resize(1200, 0x5a);
    let mut short = vec![0x4d, 1, 2, 3, 4, 5, 6, 7, 8];
    short.resize(60, 0x5a);
    [initial, short]
}

/// The greeting and the request of a SOCKS 5 client (RFC 1928), and what it would send through the tunnel.
fn socks() -> [Vec<u8>; 3] {
    let request = b"\x05\x01\x00\x03\x0bexample.com\x00\x50".to_vec();
    [vec![5, 1, 0], request, b"GET / HTTP/1.1\r\n\r\n".to_vec()]
}

/// Sends the data to a peer and back, with a credential of a room. Returns what arrives at each end before the
/// media of a call.
fn exchanged(traffic: Option<&str>, data: &[Vec<u8>]) -> [Vec<Vec<u8>>; 2] {
    let mut builder = open_relay();
    if let Some(traffic) = traffic {
        builder = builder.env("PARLOR_TURN__TRAFFIC", traffic);
    }
    let daemon = builder.start();
    daemon.cli_json(&["room", "create", "Daily", "--id", "daily"]);
    let mut client = Client::udp(daemon.turn(), "nobody", None);
    client.minted = minted("4000000000:alice/daily");
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a peer");
    peer.set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout");
    let relayed = client.allocated();
    assert_eq!(
        client
            .bind(0x4000, peer.local_addr().expect("an address"))
            .code(),
        None
    );

    for data in data.iter().map(Vec::as_slice).chain([MEDIA]) {
        client.send(&channel_data(0x4000, data, false));
        peer.send_to(data, relayed).expect("sent");
    }
    let mut at_peer = Vec::new();
    let mut buffer = [0; 2000];
    loop {
        let (len, _) = peer.recv_from(&mut buffer).expect("the media arrives");
        if buffer[..len] == *MEDIA {
            break;
        }
        at_peer.push(buffer[..len].to_vec());
    }
    let mut at_client = Vec::new();
    loop {
        let message = client.receive();
        let data = message[4..].to_vec();
        if data == MEDIA {
            break;
        }
        at_client.push(data);
    }
    let dropped = metric(&daemon, "parlor_turn_dropped_total{reason=\"traffic\"}");
    let expected = if traffic == Some("any") {
        0
    } else {
        2 * data.len()
    };
    assert_eq!(dropped, expected as u64);
    [at_peer, at_client]
}

#[test]
fn quic_passes_only_where_any_traffic_does() {
    assert_eq!(exchanged(None, &quic()), NOTHING);
    assert_eq!(
        exchanged(Some("any"), &quic()),
        [quic().to_vec(), quic().to_vec()]
    );
}

#[test]
fn a_socks_tunnel_passes_only_where_any_traffic_does() {
    assert_eq!(exchanged(None, &socks()), NOTHING);
    assert_eq!(
        exchanged(Some("any"), &socks()),
        [socks().to_vec(), socks().to_vec()]
    );
}
