//! Sessions, and settings that change while allocations exist.

use super::*;

const PEER: &str = "8.8.4.4:9000";

fn deny(net: &str) -> Settings {
    Settings {
        denied_peers: vec![net.parse().unwrap()],
        ..settings()
    }
}

#[test]
fn a_session_has_user_start_time_and_byte_counts() {
    let mut world = World::new();
    let made = world.now.unix;
    let (mut client, relayed) = world.allocated("192.88.1.1:1", "alice");
    client.bind(&mut world, 0x4001, PEER);
    world.advance(Duration::from_secs(60));
    world.receive(&client.route, &channel_data(0x4001, b"hello"));
    world.receive(&client.route, &channel_data(0x4002, b"on no channel"));
    world.on_peer(relayed, PEER, b"hi");
    world.on_peer(relayed, "8.8.8.8:1", b"without a permission");
    let expected = Session {
        user: "alice".into(),
        room: None,
        transport: Transport::Udp,
        client: client.route.client,
        server: client.route.server,
        relayed,
        since: made,
        bytes_up: 5,
        relayed_ipv6: None,
        bytes_down: 2,
        quality: None,
    };
    let mut listed = world.server.sessions(world.now.mono, 0).sessions;
    assert!(listed[0].quality.take().is_some());
    assert_eq!(listed, [expected]);
}

#[test]
fn ending_a_session_ends_no_other_or_later_one() {
    let mut world = World::new();
    let (mut first, _) = world.allocated("192.88.1.1:1", "alice");
    let (second, _) = world.allocated("192.88.1.1:2", "alice");
    let listed = world.server.session(&first.route).expect("a session");
    assert_eq!(world.server.end_session(&listed), 1);
    assert!(world.server.session(&first.route).is_none());
    assert!(world.server.session(&second.route).is_some());
    assert_eq!(world.server.end_session(&listed), 0);

    world.advance(Duration::from_secs(1));
    let again = first.allocate(&mut world, &[]);
    assert_eq!(again.code(), None);
    assert_eq!(world.server.end_session(&listed), 0, "it is another one");
    assert!(world.server.session(&first.route).is_some());
}

#[test]
fn bytes_between_two_clients_count_for_both() {
    let mut world = World::new();
    let (mut alice, from) = world.allocated("192.88.1.1:1", "alice");
    let (mut bob, to) = world.allocated("192.88.1.2:1", "bob");
    alice.bind(&mut world, 0x4001, &to.to_string());
    let figures = |world: &World| -> Vec<_> {
        let sessions = world
            .server
            .sessions(world.now.mono, 0)
            .sessions
            .into_iter();
        sessions.map(|s| (s.bytes_up, s.bytes_down)).collect()
    };
    world.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(figures(&world), [(0, 0), (0, 0)], "bob has let nobody in");
    bob.permit(&mut world, &[&from.to_string()]);
    world.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(figures(&world), [(5, 0), (0, 5)]);
}

#[test]
fn all_pages_together_list_every_session_once() {
    let mut world = World::with(Config {
        quotas: Arc::new(Quotas::new(5000, 5000, 5000)),
        ..config()
    });
    for port in 1..=1200 {
        world.allocated(&format!("192.88.1.1:{port}"), "alice");
    }
    let (mut clients, mut next) = (Vec::new(), Some(0));
    while let Some(from) = next {
        let page = world.server.sessions(world.now.mono, from);
        assert!(page.sessions.len() <= 512);
        clients.extend(page.sessions.iter().map(|session| session.client.port()));
        next = page.next;
    }
    clients.sort();
    assert_eq!(clients, (1..=1200).collect::<Vec<u16>>());
}

#[test]
fn newly_denied_peers_are_cut_off_with_the_next_packet_and_others_stay() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1", "alice");
    client.bind(&mut world, 0x4001, PEER);
    client.bind(&mut world, 0x4002, "8.8.8.8:1");
    world.server.reconfigure(deny("8.8.4.0/24"));
    let sent = |world: &mut World, number| {
        let data = channel_data(number, b"x");
        world.receive(&client.route, &data).0
    };
    let no_channel = Verdict::Dropped(DropReason::NoChannel);
    assert_eq!(sent(&mut world, 0x4001), no_channel);
    assert!(matches!(sent(&mut world, 0x4002), Verdict::ToPeer { .. }));
    let (back, _) = world.on_peer(relayed, PEER, b"x");
    assert_eq!(back, Verdict::Dropped(DropReason::PeerDenied));
    assert_eq!(client.permit(&mut world, &[PEER]).code(), Some(403));

    world.server.reconfigure(settings());
    let (back, _) = world.on_peer(relayed, PEER, b"x");
    let removed = Verdict::Dropped(DropReason::NoPermission);
    assert_eq!(back, removed, "a removed permission does not come back");
    assert_eq!(client.bind(&mut world, 0x4001, PEER).code(), None);
}

#[test]
fn a_new_policy_leaves_the_hairpin_open() {
    let mut world = World::new();
    let (mut alice, from) = world.allocated("192.88.1.1:1", "alice");
    let (mut bob, to) = world.allocated("192.88.1.2:1", "bob");
    alice.bind(&mut world, 0x4001, &to.to_string());
    bob.bind(&mut world, 0x4001, &from.to_string());
    world.server.reconfigure(deny("0.0.0.0/0"));
    let (verdict, _) = world.receive(&alice.route, &channel_data(0x4001, b"x"));
    assert!(matches!(verdict, Verdict::ToClient { .. }));
}

#[test]
fn a_new_secret_applies_to_new_allocations_and_existing_ones_keep_their_key() {
    let mut world = World::new();
    let (mut living, _) = world.allocated("192.88.1.1:1", "alice");
    let credentials = Credentials::new(&Secret::new("south"), &[]);
    world.server.reconfigure(Settings {
        credentials: credentials.clone(),
        ..settings()
    });
    assert_eq!(living.refresh(&mut world, 600).code(), None);
    let mut old = Client::new("192.88.1.1:2", "alice");
    assert_eq!(old.allocate(&mut world, &[]).code(), Some(401));
    let minted = credentials.mint("alice", None, 1_700_010_000);
    let mut new = Client::with("192.88.1.1:3", minted);
    assert_eq!(new.allocate(&mut world, &[]).code(), None);
}

#[test]
fn new_limits_apply_from_the_next_packet_and_request() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1", "alice");
    client.bind(&mut world, 0x4001, "8.8.8.8:1");
    world.server.reconfigure(Settings {
        max_channels: 1,
        user_bandwidth: Limit::per_second(1000, 1000),
        ..settings()
    });
    let full = client.bind(&mut world, 0x4002, "8.8.8.8:2");
    assert_eq!(full.code(), Some(508));
    let data = channel_data(0x4001, &[0; 1000]);
    let passed = world.receive(&client.route, &data).0;
    assert!(matches!(passed, Verdict::ToPeer { .. }));
    let dropped = world.receive(&client.route, &data).0;
    assert_eq!(dropped, Verdict::Dropped(DropReason::UserBandwidth));
}

#[test]
fn a_newly_denied_port_is_closed_from_the_next_packet() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1", "alice");
    client.bind(&mut world, 0x4001, "8.8.8.8:25");
    client.bind(&mut world, 0x4002, "8.8.8.8:26");
    world.server.reconfigure(Settings {
        denied_peer_ports: vec![PortRange {
            first: 20,
            last: 25,
        }],
        ..settings()
    });
    let listed = |world: &mut World, channel| {
        let data = channel_data(channel, b"hello");
        world.receive(&client.route, &data).0
    };
    let closed = Verdict::Dropped(DropReason::NoChannel);
    assert_eq!(listed(&mut world, 0x4001), closed);
    assert!(matches!(listed(&mut world, 0x4002), Verdict::ToPeer { .. }));
    let (verdict, _) = world.on_peer(relayed, "8.8.8.8:25", b"hello");
    assert_eq!(verdict, Verdict::Dropped(DropReason::PeerPortDenied));
    assert_eq!(
        client.bind(&mut world, 0x4003, "8.8.8.8:25").code(),
        Some(403)
    );
}

#[test]
fn a_lower_quota_keeps_allocations_and_grants_no_new_ones() {
    let quotas = Arc::new(Quotas::new(10, 2, 10));
    let mut world = World::with(Config {
        quotas: quotas.clone(),
        ..config()
    });
    world.allocated("192.88.1.1:1", "alice");
    quotas.limit(10, 1, 10);
    let mut more = Client::new("192.88.1.1:2", "alice");
    assert_eq!(more.allocate(&mut world, &[]).code(), Some(486));
    assert_eq!(world.server.allocations(), 1);
    quotas.limit(10, 2, 10);
    assert_eq!(more.allocate(&mut world, &[]).code(), None);
}
