//! `turn.traffic`: what allocations carry.

use super::*;

const PEER: &str = "8.8.4.4:9000";
const TEXT: &[u8] = b"SSH-2.0-OpenSSH_9.2";
const MEDIA: &[u8] = b"\x80\x6f 12 bytes of a header";

/// A client with a channel to [`PEER`], with a credential that is bound to a room or not.
fn client(traffic: Traffic, room: Option<&str>) -> (World, Client, SocketAddr) {
    let mut world = World::with(Config {
        settings: Settings {
            traffic,
            ..settings()
        },
        ..config()
    });
    world.server.config.revocations.add_rooms(["lobby"]);
    let minted = world
        .server
        .config
        .settings
        .credentials
        .mint("alice", room, 1_700_010_000);
    let mut client = Client::with("192.88.1.1:1000", minted);
    client.greet(&mut world);
    let allocated = client.allocate(&mut world, &[]);
    let relayed = allocated.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(client.bind(&mut world, 0x4000, PEER).code(), None);
    (world, client, relayed)
}

/// Returns whether text and media are relayed, to the peer by a channel, to the peer in an indication, and
/// from the peer.
fn carried(world: &mut World, client: &mut Client, relayed: SocketAddr) -> [[bool; 3]; 2] {
    [TEXT, MEDIA].map(|data| {
        let indication = client.send_indication(PEER, data);
        let verdicts = [
            world.receive(&client.route, &channel_data(0x4000, data)).0,
            world.receive(&client.route, &indication).0,
            world.on_peer(relayed, PEER, data).0,
        ];
        verdicts.map(|verdict| match verdict {
            Verdict::ToPeer { .. } | Verdict::ToClient { .. } => true,
            Verdict::Dropped(reason) => {
                assert_eq!(reason, DropReason::Traffic);
                false
            }
            other => panic!("{other:?}"),
        })
    })
}

const ALL: [[bool; 3]; 2] = [[true; 3]; 2];
const MEDIA_ALONE: [[bool; 3]; 2] = [[false; 3], [true; 3]];

#[test]
fn credentials_of_rooms_carry_media_alone_unless_any_is_set() {
    for (traffic, room, expected) in [
        (Traffic::Any, Some("lobby"), ALL),
        (Traffic::Rooms, Some("lobby"), MEDIA_ALONE),
        (Traffic::Rooms, None, ALL),
        (Traffic::Webrtc, None, MEDIA_ALONE),
    ] {
        let (mut world, mut client, relayed) = client(traffic, room);
        let carried = carried(&mut world, &mut client, relayed);
        assert_eq!(carried, expected, "{traffic:?} {room:?}");
    }
}

#[test]
fn a_reload_applies_to_existing_allocations() {
    let (mut world, mut client, relayed) = client(Traffic::Any, None);
    world.server.reconfigure(Settings {
        traffic: Traffic::Webrtc,
        ..settings()
    });
    assert_eq!(carried(&mut world, &mut client, relayed), MEDIA_ALONE);
    world.server.reconfigure(settings());
    assert_eq!(carried(&mut world, &mut client, relayed), ALL);
}

#[test]
fn an_empty_datagram_passes() {
    let (mut world, client, _) = client(Traffic::Webrtc, None);
    let (verdict, _) = world.receive(&client.route, &channel_data(0x4000, b""));
    assert!(matches!(verdict, Verdict::ToPeer { .. }), "{verdict:?}");
}
