//! Permissions, channels and the packet path.

use super::*;

const PEER: &str = "8.8.4.4:9000";

#[test]
fn send_indications_pass_to_permitted_peers_only() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let indication = client.send_indication(PEER, b"hello");
    assert_eq!(
        world.receive(&client.route, &indication).0,
        Verdict::Dropped(DropReason::NoPermission)
    );
    assert_eq!(client.permit(&mut world, &[PEER]).code(), None);
    let (verdict, bytes) = world.receive(&client.route, &indication);
    assert!(
        matches!(verdict, Verdict::ToPeer { socket: 0, peer, .. } if peer == PEER.parse().unwrap())
    );
    assert_eq!(bytes, b"hello");
    // A permission is for an IP address with any port.
    let other_port = client.send_indication("8.8.4.4:1", b"hello");
    assert!(matches!(
        world.receive(&client.route, &other_port).0,
        Verdict::ToPeer { .. }
    ));
}

#[test]
fn dont_fragment_in_a_send_indication_is_honoured_if_supported() {
    for can in [true, false] {
        let mut world = World::with(Config {
            dont_fragment: can,
            ..config()
        });
        let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
        client.permit(&mut world, &[PEER]);
        let plain = client.send_indication(PEER, b"hello");
        assert!(matches!(
            world.receive(&client.route, &plain).0,
            Verdict::ToPeer {
                dont_fragment: false,
                ..
            }
        ));
        let indication = with_dont_fragment(plain);
        let (verdict, bytes) = world.receive(&client.route, &indication);
        if can {
            assert!(matches!(
                verdict,
                Verdict::ToPeer {
                    dont_fragment: true,
                    ..
                } if bytes == b"hello"
            ));
        } else {
            assert_eq!(verdict, Verdict::Dropped(DropReason::Malformed));
        }
    }
}

/// Appends DONT-FRAGMENT to an indication.
fn with_dont_fragment(mut indication: Vec<u8>) -> Vec<u8> {
    indication.extend([0, 0x1a, 0, 0]);
    let length = (indication.len() - 20) as u16;
    indication[2..4].copy_from_slice(&length.to_be_bytes());
    indication
}

#[test]
fn a_peers_packet_arrives_as_data_indication_and_on_a_channel_as_channel_data() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(
        world.on_peer(relayed, PEER, b"x").0,
        Verdict::Dropped(DropReason::NoPermission)
    );
    client.permit(&mut world, &[PEER]);
    let (verdict, bytes) = world.on_peer(relayed, PEER, b"hello");
    assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == client.route));
    let indication = Message::parse(&bytes).unwrap();
    assert_eq!(
        (indication.class(), indication.method()),
        (Class::Indication, Method::DATA)
    );
    assert_eq!(indication.get(Attribute::DATA), Some(&b"hello"[..]));
    let from = indication.get(Attribute::XOR_PEER_ADDRESS).unwrap();
    assert_eq!(
        decode_xor_address(from, &indication.transaction()),
        Some(PEER.parse().unwrap())
    );
    assert!(bytes.ends_with(b"hello\0\0\0"), "padding is zeroed");

    assert_eq!(client.bind(&mut world, 0x4001, PEER).code(), None);
    let (_, bytes) = world.on_peer(relayed, PEER, b"hello");
    assert_eq!(bytes, channel_data(0x4001, b"hello"));
}

#[test]
fn channel_data_leaves_without_its_header_and_without_padding() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    client.bind(&mut world, 0x4001, PEER);
    let mut padded = channel_data(0x4001, b"hello");
    padded.extend([0; 3]);
    assert_eq!(world.receive(&client.route, &padded).1, b"hello");
    let unbound = channel_data(0x4002, b"hello");
    assert_eq!(
        world.receive(&client.route, &unbound).0,
        Verdict::Dropped(DropReason::NoChannel)
    );
}

#[test]
fn a_channel_has_one_peer_and_a_peer_one_channel() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(client.bind(&mut world, 0x4001, PEER).code(), None);
    assert_eq!(
        client.bind(&mut world, 0x4001, PEER).code(),
        None,
        "a refresh"
    );
    assert_eq!(
        client.bind(&mut world, 0x4001, "8.8.4.4:9001").code(),
        Some(400)
    );
    assert_eq!(client.bind(&mut world, 0x4002, PEER).code(), Some(400));
    assert_eq!(
        client.bind(&mut world, 0x5000, "8.8.4.4:9001").code(),
        Some(400)
    );
}

#[test]
fn permissions_last_five_minutes_and_channels_ten() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    client.refresh(&mut world, 3600);
    client.bind(&mut world, 0x4001, PEER);
    world.advance(Duration::from_secs(299));
    assert!(matches!(
        world.on_peer(relayed, PEER, b"x").0,
        Verdict::ToClient { .. }
    ));
    world.advance(Duration::from_secs(1));
    assert_eq!(
        world.on_peer(relayed, PEER, b"x").0,
        Verdict::Dropped(DropReason::NoPermission)
    );
    client.permit(&mut world, &[PEER]);
    assert_eq!(
        world.on_peer(relayed, PEER, b"x").1,
        channel_data(0x4001, b"x")
    );
    world.advance(Duration::from_secs(300));
    client.permit(&mut world, &[PEER]);
    let (_, bytes) = world.on_peer(relayed, PEER, b"x");
    assert!(
        Message::parse(&bytes).is_ok(),
        "the channel is gone, the permission is not"
    );
    assert_eq!(
        client.bind(&mut world, 0x4002, PEER).code(),
        None,
        "the peer is free for another"
    );
}

#[test]
fn a_packet_between_two_clients_uses_no_relay_socket() {
    let mut world = World::new();
    let (mut alice, at_alice) = world.allocated("192.88.1.1:1000", "alice");
    let (mut bob, at_bob) = world.allocated("192.88.1.2:2000", "bob");
    // The relayed addresses are own addresses: denied by the policy, and reachable by the hairpin.
    assert_eq!(
        alice.bind(&mut world, 0x4001, &at_bob.to_string()).code(),
        None
    );
    let data = channel_data(0x4001, b"hello");
    assert_eq!(
        world.receive(&alice.route, &data).0,
        Verdict::Dropped(DropReason::NoPermission)
    );
    assert_eq!(
        bob.permit(&mut world, &[&at_alice.to_string()]).code(),
        None
    );
    let (verdict, bytes) = world.receive(&alice.route, &data);
    assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == bob.route));
    assert_eq!(
        Message::parse(&bytes).unwrap().get(Attribute::DATA),
        Some(&b"hello"[..])
    );
    assert_eq!(
        bob.bind(&mut world, 0x4abc, &at_alice.to_string()).code(),
        None
    );
    assert_eq!(
        world.receive(&alice.route, &data).1,
        channel_data(0x4abc, b"hello")
    );
    let indication = alice.send_indication(&at_bob.to_string(), b"by send");
    assert_eq!(
        world.receive(&alice.route, &indication).1,
        channel_data(0x4abc, b"by send")
    );
}

#[test]
fn the_hairpin_reaches_living_allocations_and_nothing_else_on_this_host() {
    let mut world = World::new();
    let (mut alice, at_alice) = world.allocated("192.88.1.1:1000", "alice");
    let port = if at_alice.port() == 50_000 {
        50_001
    } else {
        50_000
    };
    let nobody = format!("198.41.0.4:{port}");
    assert_eq!(alice.permit(&mut world, &[&nobody]).code(), None);
    let indication = alice.send_indication(&nobody, b"x");
    assert_eq!(
        world.receive(&alice.route, &indication).0,
        Verdict::Dropped(DropReason::NoRelay)
    );
    assert_eq!(
        alice.bind(&mut world, 0x4001, "198.41.0.4:8000").code(),
        Some(403)
    );
    let listener = alice.send_indication("198.41.0.4:3478", b"x");
    assert_eq!(
        world.receive(&alice.route, &listener).0,
        Verdict::Dropped(DropReason::NoRelay)
    );
}

#[test]
fn behind_nat_the_hairpin_uses_the_public_address() {
    let host = host_with(&["198.41.0.4"], &["203.0.114.5"]);
    let mut world = World::with(Config {
        host: Arc::new(host),
        ..config()
    });
    let (mut alice, at_alice) = world.allocated("192.88.1.1:1000", "alice");
    let (mut bob, at_bob) = world.allocated("192.88.1.2:2000", "bob");
    bob.bind(&mut world, 0x4001, &at_alice.to_string());
    alice.bind(&mut world, 0x4001, &at_bob.to_string());
    let (_, bytes) = world.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(bytes, channel_data(0x4001, b"hello"));
}

#[test]
fn several_permissions_are_installed_all_or_none() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(
        client
            .permit(&mut world, &["8.8.4.4:1", "10.0.0.1:1"])
            .code(),
        Some(403)
    );
    assert_eq!(
        world.on_peer(relayed, "8.8.4.4:1", b"x").0,
        Verdict::Dropped(DropReason::NoPermission)
    );
    assert_eq!(
        client
            .permit(&mut world, &["8.8.4.4:1", "8.8.8.8:1"])
            .code(),
        None
    );
    for peer in ["8.8.4.4:1", "8.8.8.8:2"] {
        assert!(matches!(
            world.on_peer(relayed, peer, b"x").0,
            Verdict::ToClient { .. }
        ));
    }
    assert_eq!(client.permit(&mut world, &[]).code(), Some(400));
}

#[test]
fn a_peer_of_the_other_family_gets_443_even_if_denied() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(client.permit(&mut world, &["[::1]:1"]).code(), Some(443));
    assert_eq!(
        client.bind(&mut world, 0x4001, "[2606:4700::1]:1").code(),
        Some(443)
    );
}

#[test]
fn requests_without_an_allocation_get_437() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.greet(&mut world);
    assert_eq!(client.permit(&mut world, &[PEER]).code(), Some(437));
    assert_eq!(client.bind(&mut world, 0x4001, PEER).code(), Some(437));
    assert_eq!(client.refresh(&mut world, 600).code(), Some(437));
    let data = channel_data(0x4001, b"x");
    assert_eq!(
        world.receive(&client.route, &data).0,
        Verdict::Dropped(DropReason::NoAllocation)
    );
}
