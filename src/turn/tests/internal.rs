//! `turn.mode = "internal"`: clients reach only each other.

use super::*;

const OUTSIDE: &str = "8.8.4.4:9000";

fn world() -> World {
    let mut config = config();
    config.internal = true;
    // This has no effect.
    config.settings.allowed_peers = vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()];
    World::with(config)
}

#[test]
fn clients_reach_each_other_by_channel_and_by_indication() {
    let mut world = world();
    let (mut alice, a) = world.allocated("192.88.1.1:1000", "alice");
    let (mut bob, b) = world.allocated("192.88.1.2:1000", "bob");
    assert_eq!(alice.bind(&mut world, 0x4001, &b.to_string()).code(), None);
    assert_eq!(bob.permit(&mut world, &[&a.to_string()]).code(), None);

    let (verdict, bytes) = world.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == bob.route));
    let indication = Message::parse(&bytes).unwrap();
    assert_eq!(indication.get(Attribute::DATA), Some(&b"hello"[..]));

    let back = bob.send_indication(&a.to_string(), b"hello yourself");
    let (verdict, bytes) = world.receive(&bob.route, &back);
    assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == alice.route));
    assert_eq!(bytes, channel_data(0x4001, b"hello yourself"));
}

#[test]
fn an_external_peer_gets_403_even_if_allowed() {
    let mut world = world();
    let (mut alice, relayed) = world.allocated("192.88.1.1:1000", "alice");
    let other_port = SocketAddr::new(relayed.ip(), relayed.port() ^ 1).to_string();
    assert_eq!(alice.permit(&mut world, &[OUTSIDE]).code(), Some(403));
    assert_eq!(alice.bind(&mut world, 0x4001, OUTSIDE).code(), Some(403));
    let nobodys = alice.bind(&mut world, 0x4001, &other_port);
    assert_eq!(nobodys.code(), Some(403));
    let listener = alice.bind(&mut world, 0x4001, SERVER);
    assert_eq!(listener.code(), Some(403));

    // CreatePermission has no port, so each datagram is checked.
    let (_, b) = world.allocated("192.88.1.2:1000", "bob");
    assert_eq!(alice.permit(&mut world, &[&b.to_string()]).code(), None);
    for (peer, dropped) in [
        (OUTSIDE, DropReason::NoPermission),
        (other_port.as_str(), DropReason::NoRelay),
        (SERVER, DropReason::NoRelay),
    ] {
        let indication = alice.send_indication(peer, b"hello");
        let (verdict, _) = world.receive(&alice.route, &indication);
        assert_eq!(verdict, Verdict::Dropped(dropped), "{peer}");
    }
}

#[test]
fn a_packet_to_an_ended_allocation_is_dropped() {
    let mut world = world();
    let (mut alice, _) = world.allocated("192.88.1.1:1000", "alice");
    let (mut bob, b) = world.allocated("192.88.1.2:1000", "bob");
    assert_eq!(alice.bind(&mut world, 0x4001, &b.to_string()).code(), None);
    assert_eq!(bob.refresh(&mut world, 0).lifetime(), 0);
    let (verdict, _) = world.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoRelay));
}
