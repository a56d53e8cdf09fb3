//! `turn.scope`: clients reach clients of their own room only.

use super::shards::{across, shards_with};
use super::*;

const ALICE: &str = "192.88.1.1:1000";
const BOB: &str = "192.88.1.2:1000";
const EVE: &str = "192.88.1.3:1000";
const LOBBY: Option<&str> = Some("lobby");
const KITCHEN: Option<&str> = Some("kitchen");

fn scoped(same_room: bool) -> Config {
    let config = Config {
        settings: Settings {
            same_room,
            ..settings()
        },
        ..config()
    };
    config.revocations.add_rooms(["lobby", "kitchen"]);
    config
}

/// Sends data on the client's channel 0x4001 and as a Send indication to `peer`, and returns both verdicts.
fn send_both(world: &mut World, client: &mut Client, peer: SocketAddr) -> [Verdict; 2] {
    let indication = client.send_indication(&peer.to_string(), b"hello");
    [channel_data(0x4001, b"hello"), indication]
        .map(|datagram| world.receive(&client.route, &datagram).0)
}

fn is_for(verdict: &Verdict, client: &Client) -> bool {
    matches!(verdict, Verdict::ToClient { route, .. } if *route == client.route)
}

const OTHER_ROOM: Verdict = Verdict::Dropped(DropReason::OtherRoom);

#[test]
fn clients_of_one_room_or_of_none_reach_each_other_and_others_do_not() {
    for (from, to, is_allowed) in [
        (LOBBY, LOBBY, true),
        (None, None, true),
        (LOBBY, KITCHEN, false),
        (LOBBY, None, false),
        (None, LOBBY, false),
    ] {
        for internal in [false, true] {
            let mut world = World::with(Config {
                internal,
                ..scoped(true)
            });
            let (mut alice, a) = world.allocated_in(ALICE, "alice", from);
            let (mut bob, b) = world.allocated_in(BOB, "bob", to);
            // CreatePermission knows no port.
            assert_eq!(alice.permit(&mut world, &[&b.to_string()]).code(), None);
            assert_eq!(bob.permit(&mut world, &[&a.to_string()]).code(), None);
            let bound = alice.bind(&mut world, 0x4001, &b.to_string()).code();
            assert_eq!(bound, (!is_allowed).then_some(403), "{from:?} {to:?}");
            let [channel, indication] = send_both(&mut world, &mut alice, b);
            if is_allowed {
                assert!(is_for(&channel, &bob) && is_for(&indication, &bob));
            } else {
                assert_eq!(channel, Verdict::Dropped(DropReason::NoChannel));
                assert_eq!(indication, OTHER_ROOM);
            }
        }
    }
}

#[test]
fn without_the_scope_clients_of_all_rooms_reach_each_other() {
    let mut world = World::with(scoped(false));
    let (mut alice, a) = world.allocated_in(ALICE, "alice", LOBBY);
    let (mut bob, b) = world.allocated_in(BOB, "bob", KITCHEN);
    bob.permit(&mut world, &[&a.to_string()]);
    assert_eq!(alice.bind(&mut world, 0x4001, &b.to_string()).code(), None);
    for verdict in send_both(&mut world, &mut alice, b) {
        assert!(is_for(&verdict, &bob));
    }
}

/// In mode `ports` a channel can be bound before its peer allocates.
#[test]
fn data_on_a_channel_is_dropped_when_a_client_of_another_room_gets_the_address() {
    let ports = PortRange {
        first: 50_000,
        last: 50_001,
    };
    let mut world = World::with(Config {
        ports,
        ..scoped(true)
    });
    let (mut alice, _) = world.allocated_in(ALICE, "alice", LOBBY);
    let (mut bob, b) = world.allocated_in(BOB, "bob", LOBBY);
    assert_eq!(alice.bind(&mut world, 0x4001, &b.to_string()).code(), None);
    bob.refresh(&mut world, 0);
    let (mut eve, e) = world.allocated_in(EVE, "eve", KITCHEN);
    assert_eq!(e, b, "the only free port");
    eve.permit(&mut world, &[&b.to_string()]);
    assert_eq!(send_both(&mut world, &mut alice, b), [OTHER_ROOM; 2]);
    let bound_again = alice.bind(&mut world, 0x4001, &b.to_string());
    assert_eq!(bound_again.code(), Some(403));
}

#[test]
fn the_scope_holds_between_shards() {
    let [mut one, mut two] = shards_with(scoped(true));
    let (mut alice, a) = one.allocated_in(ALICE, "alice", LOBBY);
    let (mut bob, b) = two.allocated_in(BOB, "bob", LOBBY);
    let (mut eve, e) = two.allocated_in(EVE, "eve", KITCHEN);
    bob.permit(&mut two, &[&a.to_string()]);
    eve.permit(&mut two, &[&a.to_string()]);
    let to_eve = alice.bind(&mut one, 0x4002, &e.to_string());
    assert_eq!(to_eve.code(), Some(403));
    assert_eq!(alice.bind(&mut one, 0x4001, &b.to_string()).code(), None);
    let sent = channel_data(0x4001, b"hello");
    let (verdict, bytes) = one.receive(&alice.route, &sent);
    assert!(is_for(&across(&mut two, verdict, &bytes).0, &bob));
    let indication = alice.send_indication(&e.to_string(), b"hello");
    let (verdict, bytes) = one.receive(&alice.route, &indication);
    assert_eq!(across(&mut two, verdict, &bytes).0, OTHER_ROOM);
}

#[test]
fn the_scope_holds_after_a_restart() {
    let config = scoped(true);
    let mut world = World::with(config.clone());
    let (mut alice, a) = world.allocated_in(ALICE, "alice", LOBBY);
    let (mut bob, b) = world.allocated_in(BOB, "bob", LOBBY);
    let (mut eve, e) = world.allocated_in(EVE, "eve", KITCHEN);
    for client in [&mut bob, &mut eve] {
        client.permit(&mut world, &[&a.to_string()]);
    }
    assert_eq!(alice.bind(&mut world, 0x4001, &b.to_string()).code(), None);
    let mut world = world.restarted(&Config {
        directory: Arc::new(Directory::new(1)),
        ..config
    });
    for verdict in send_both(&mut world, &mut alice, b) {
        assert!(is_for(&verdict, &bob));
    }
    let indication = alice.send_indication(&e.to_string(), b"hello");
    assert_eq!(world.receive(&alice.route, &indication).0, OTHER_ROOM);
    let to_eve = alice.bind(&mut world, 0x4002, &e.to_string());
    assert_eq!(to_eve.code(), Some(403));
}

#[test]
fn a_reload_applies_the_scope_to_existing_channels_at_once() {
    let mut world = World::with(scoped(false));
    let (mut alice, a) = world.allocated_in(ALICE, "alice", LOBBY);
    let (mut bob, b) = world.allocated_in(BOB, "bob", LOBBY);
    let (mut eve, e) = world.allocated_in(EVE, "eve", KITCHEN);
    for client in [&mut bob, &mut eve] {
        client.permit(&mut world, &[&a.to_string()]);
    }
    alice.bind(&mut world, 0x4001, &b.to_string());
    alice.bind(&mut world, 0x4002, &e.to_string());
    let to_eve = channel_data(0x4002, b"hello");
    // The packet leaves a hint at the channel.
    assert!(is_for(&world.receive(&alice.route, &to_eve).0, &eve));
    world.server.reconfigure(scoped(true).settings);
    let (verdict, _) = world.receive(&alice.route, &to_eve);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoChannel));
    for verdict in send_both(&mut world, &mut alice, b) {
        assert!(is_for(&verdict, &bob));
    }
    world.server.reconfigure(scoped(false).settings);
    assert_eq!(alice.bind(&mut world, 0x4002, &e.to_string()).code(), None);
    assert!(is_for(&world.receive(&alice.route, &to_eve).0, &eve));
}

/// The other shard learns of the setting later than the sender's shard, or earlier.
#[test]
fn the_shard_of_the_receiver_decides_while_a_reload_spreads() {
    let [mut one, mut two] = shards_with(scoped(false));
    let (mut alice, a) = one.allocated_in(ALICE, "alice", LOBBY);
    let (mut eve, e) = two.allocated_in(EVE, "eve", KITCHEN);
    eve.permit(&mut two, &[&a.to_string()]);
    alice.bind(&mut one, 0x4001, &e.to_string());
    two.server.reconfigure(scoped(true).settings);
    let (verdict, bytes) = one.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(across(&mut two, verdict, &bytes).0, OTHER_ROOM);
}

#[test]
fn peers_outside_this_relay_are_in_every_scope() {
    const PEER: &str = "8.8.4.4:9000";
    let mut world = World::with(scoped(true));
    for (address, room) in [(ALICE, LOBBY), (BOB, None)] {
        let (mut client, relayed) = world.allocated_in(address, "alice", room);
        assert_eq!(client.bind(&mut world, 0x4001, PEER).code(), None);
        for verdict in send_both(&mut world, &mut client, PEER.parse().unwrap()) {
            assert!(matches!(verdict, Verdict::ToPeer { .. }));
        }
        assert!(is_for(&world.on_peer(relayed, PEER, b"hello").0, &client));
    }
}
