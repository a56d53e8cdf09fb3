//! Quotas, rate limits, the peer policy and arbitrary input.

use proptest::prelude::*;

use super::*;

#[test]
fn denied_peers_get_403_in_every_request() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    for peer in [
        "127.0.0.1:1",
        "10.0.0.1:1",
        "169.254.169.254:80",
        "0.0.0.0:1",
        "224.0.0.1:1",
    ] {
        assert_eq!(
            client.permit(&mut world, &[peer]).code(),
            Some(403),
            "{peer}"
        );
        assert_eq!(
            client.bind(&mut world, 0x4001, peer).code(),
            Some(403),
            "{peer}"
        );
    }
}

/// RFC 8656 section 21.4: a packet could loop between the relay and the end of a tunnel.
#[test]
fn peers_behind_a_tunnel_get_403_even_if_allowed_and_their_packets_are_dropped() {
    let mut shared = config();
    shared.settings.allowed_peers = ["::/0", "2002::/16", "2001::/32"]
        .map(|net| net.parse().unwrap())
        .into();
    let mut world = World::with(shared);
    let mut client = Client::new("192.88.1.1:1000", "alice");
    let family = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    let relayed = client.allocate(&mut world, &[family]).relayed()[0];
    for peer in ["[2002:808:808::1]:9", "[2001:0:808:808::f7f7:f7f7]:9"] {
        assert_eq!(client.permit(&mut world, &[peer]).code(), Some(403));
        assert_eq!(client.bind(&mut world, 0x4001, peer).code(), Some(403));
        let (verdict, _) = world.on_peer(relayed, peer, b"hello");
        assert_eq!(verdict, Verdict::Dropped(DropReason::PeerDenied));
    }
}

#[test]
fn clients_behind_a_tunnel_get_403_at_allocate() {
    let mut world = World::new();
    for address in ["[2002:808:808::1]:9", "[2001:0:808:808::f7f7:f7f7]:9"] {
        let mut client = Client::new(address, "alice");
        client.route.server = "[2a00::4]:3478".parse().unwrap();
        assert_eq!(client.allocate(&mut world, &[]).code(), Some(403));
        let token = (Attribute::RESERVATION_TOKEN, vec![7; 8]);
        assert_eq!(client.allocate(&mut world, &[token]).code(), Some(403));
        let family = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![3, 0, 0, 0]);
        let response = client.allocate(&mut world, &[family]);
        assert_eq!(
            response.code(),
            Some(440),
            "the family comes before the policy"
        );
    }
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_user_holds_no_more_allocations_than_the_quota() {
    let quotas = Arc::new(Quotas::new(3, 2, 3));
    let mut world = World::with(Config { quotas, ..config() });
    world.allocated("192.88.1.1:1", "alice");
    let (mut second, _) = world.allocated("192.88.1.1:2", "alice");
    assert_eq!(
        Client::new("192.88.1.1:3", "alice")
            .allocate(&mut world, &[])
            .code(),
        Some(486)
    );
    world.allocated("192.88.1.1:4", "bob");
    assert_eq!(
        Client::new("192.88.1.1:5", "carol")
            .allocate(&mut world, &[])
            .code(),
        Some(486)
    );
    second.refresh(&mut world, 0);
    world.allocated("192.88.1.1:3", "alice");
}

#[test]
fn permissions_and_channels_have_quotas_of_their_own() {
    let mut world = World::with(Config {
        settings: Settings {
            max_permissions: 3,
            max_channels: 2,
            ..settings()
        },
        ..config()
    });
    let (mut client, _) = world.allocated("192.88.1.1:1", "alice");
    assert_eq!(client.bind(&mut world, 0x4001, "8.8.8.1:1").code(), None);
    assert_eq!(client.bind(&mut world, 0x4002, "8.8.8.1:2").code(), None);
    assert_eq!(
        client.bind(&mut world, 0x4003, "8.8.8.1:3").code(),
        Some(508)
    );
    assert_eq!(
        client
            .permit(&mut world, &["8.8.8.2:1", "8.8.8.3:1"])
            .code(),
        None
    );
    assert_eq!(client.permit(&mut world, &["8.8.8.4:1"]).code(), Some(508));
    assert_eq!(
        client.permit(&mut world, &["8.8.8.3:1"]).code(),
        None,
        "a refresh takes no room"
    );
    client.refresh(&mut world, 3600);
    world.advance(Duration::from_secs(601));
    assert_eq!(
        client.bind(&mut world, 0x4003, "8.8.8.4:3").code(),
        None,
        "what ran out gives room"
    );
}

#[test]
fn packets_over_the_bandwidth_limit_are_dropped_until_it_recovers() {
    let bandwidth = Limit::per_second(1000, 2000);
    let mut world = World::with(Config {
        settings: Settings {
            bandwidth,
            ..settings()
        },
        ..config()
    });
    let (mut client, relayed) = world.allocated("192.88.1.1:1", "alice");
    client.bind(&mut world, 0x4001, "8.8.8.8:1");
    let data = channel_data(0x4001, &[0; 1000]);
    let sent = (0..5).filter(|_| {
        matches!(
            world.receive(&client.route, &data).0,
            Verdict::ToPeer { .. }
        )
    });
    assert_eq!(sent.count(), 2);
    assert_eq!(
        world.receive(&client.route, &data).0,
        Verdict::Dropped(DropReason::AllocationBandwidth)
    );
    let back = (0..5).filter(|_| {
        matches!(
            world.on_peer(relayed, "8.8.8.8:1", &[0; 1000]).0,
            Verdict::ToClient { .. }
        )
    });
    assert_eq!(back.count(), 2, "the other way has a limit of its own");
    world.advance(Duration::from_secs(1));
    assert!(matches!(
        world.receive(&client.route, &data).0,
        Verdict::ToPeer { .. }
    ));
}

#[test]
fn a_users_allocations_share_the_users_bandwidth() {
    let mut world = World::with(Config {
        settings: Settings {
            user_bandwidth: Limit::per_second(1000, 1000),
            ..settings()
        },
        ..config()
    });
    let (mut first, _) = world.allocated("192.88.1.1:1", "alice");
    let (mut second, _) = world.allocated("192.88.1.1:2", "alice");
    first.bind(&mut world, 0x4001, "8.8.8.8:1");
    second.bind(&mut world, 0x4001, "8.8.8.8:1");
    let data = channel_data(0x4001, &[0; 1000]);
    assert!(matches!(
        world.receive(&first.route, &data).0,
        Verdict::ToPeer { .. }
    ));
    assert_eq!(
        world.receive(&second.route, &data).0,
        Verdict::Dropped(DropReason::UserBandwidth)
    );
}

#[test]
fn clients_at_one_address_share_its_quota_and_other_addresses_can_allocate() {
    let mut world = World::with(Config {
        quotas: Arc::new(Quotas::new(6, 200, 0)),
        ..config()
    });
    let mut allocate =
        |address: &str, user: &str| Client::new(address, user).allocate(&mut world, &[]).code();
    for (port, user) in [(1, "alice"), (2, "bob"), (3, "carol")] {
        assert_eq!(allocate(&format!("192.88.1.1:{port}"), user), None);
    }
    assert_eq!(allocate("192.88.1.1:4", "dave"), Some(486));
    // Three are free, as many as the first address holds. No other address may reach this number.
    assert_eq!(allocate("192.88.1.2:1", "erin"), None);
    assert_eq!(allocate("192.88.1.2:2", "erin"), None);
    assert_eq!(allocate("192.88.1.2:3", "erin"), Some(486));
    assert_eq!(allocate("192.88.1.3:1", "frank"), None);
}

#[test]
fn all_allocations_share_the_total_bandwidth() {
    let mut world = World::with(Config {
        settings: Settings {
            total_bandwidth: Limit::per_second(1_000, 64 * 1024),
            ..settings()
        },
        ..config()
    });
    let (mut first, _) = world.allocated("192.88.1.1:1", "alice");
    let (mut second, relayed) = world.allocated("192.88.1.2:1", "bob");
    first.bind(&mut world, 0x4001, "8.8.8.8:1");
    second.bind(&mut world, 0x4001, "8.8.8.8:1");
    let data = channel_data(0x4001, &[0; 1024]);
    let mut passed = 0;
    while let Verdict::ToPeer { .. } = world.receive(&first.route, &data).0 {
        passed += 1;
    }
    assert_eq!(passed, 64);
    let dropped = Verdict::Dropped(DropReason::TotalBandwidth);
    assert_eq!(world.receive(&second.route, &data).0, dropped);
    // The other direction has its own limit.
    let (verdict, _) = world.on_peer(relayed, "8.8.8.8:1", &[0; 1024]);
    assert!(matches!(verdict, Verdict::ToClient { .. }));
}

#[test]
fn unauthenticated_requests_over_the_rate_get_no_response_and_authenticated_ones_are_not_limited() {
    let unauthenticated = Arc::new(PerIpLimiter::new(Limit::per_second(1, 3), 1024));
    let mut world = World::with(Config {
        settings: Settings {
            unauthenticated,
            ..settings()
        },
        ..config()
    });
    let (mut client, _) = world.allocated("192.88.1.1:1", "alice");
    let mut binding = Vec::new();
    Writer::new(&mut binding, Method::BINDING, Class::Request, [1; 12]).fingerprint();
    let answered = (0..20).filter(|_| {
        matches!(
            world.receive(&client.route, &binding).0,
            Verdict::Respond(_)
        )
    });
    assert_eq!(answered.count(), 2, "one of three went to the challenge");
    for _ in 0..20 {
        assert_eq!(client.refresh(&mut world, 600).code(), None);
    }
}

#[test]
fn refreshes_back_and_forth_do_not_grow_the_deadline_heap() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1", "alice");
    for _ in 0..5_000 {
        world.advance(Duration::from_millis(200));
        client.greet(&mut world);
        assert_eq!(client.refresh(&mut world, 3600).code(), None);
        assert_eq!(client.refresh(&mut world, 600).code(), None);
    }
    assert!(world.server.table.deadlines() < 100);
    world.advance(Duration::from_secs(600));
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_payload_too_large_for_a_data_indication_is_dropped() {
    let mut world = World::new();
    let (mut client, relayed) = world.allocated("192.88.1.1:1", "alice");
    client.permit(&mut world, &["8.8.8.8:1"]);
    let (verdict, _) = world.on_peer(relayed, "8.8.8.8:1", &[0; 65_535]);
    assert_eq!(verdict, Verdict::Dropped(DropReason::TooLarge));
    let (_, largest) = world.on_peer(relayed, "8.8.8.8:1", &[0; 65_504]);
    assert!(Message::parse(&largest).is_ok());
    client.bind(&mut world, 0x4001, "8.8.8.8:1");
    let (verdict, _) = world.on_peer(relayed, "8.8.8.8:1", &[0; 65_535]);
    assert!(matches!(verdict, Verdict::ToClient { .. }));
}

#[test]
fn messages_not_meant_for_a_server_get_no_response() {
    let mut world = World::new();
    let route = Client::new("192.88.1.1:1", "alice").route;
    for (class, method) in [
        (Class::Success, Method::BINDING),
        (Class::Indication, Method::BINDING),
        (Class::Request, Method(0x0ff)),
    ] {
        let mut out = Vec::new();
        Writer::new(&mut out, method, class, [1; 12]).fingerprint();
        assert_eq!(
            world.receive(&route, &out).0,
            Verdict::Dropped(DropReason::NotForServer)
        );
    }
    assert_eq!(
        world.receive(&route, b"\x80noise").0,
        Verdict::Dropped(DropReason::NotStun)
    );
    assert_eq!(
        world.receive(&route, b"").0,
        Verdict::Dropped(DropReason::NotStun)
    );
}

/// An unauthenticated request of this kind, from the address with this number.
fn unauthenticated_request(kind: u32, number: u32) -> (Route, Vec<u8>) {
    let [a, b, c, d] = number.to_be_bytes();
    let mut client = Client::new(&format!("25.{a}.{b}.{c}:{}", 1024 + u16::from(d)), "alice");
    client.minted.credential.push('x');
    client.nonce = b"obMatJos2AAABxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_vec();
    let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
    let bare = |method| {
        let mut out = Vec::new();
        Writer::new(&mut out, method, Class::Request, [a; 12])
            .attribute(Attribute::REQUESTED_TRANSPORT, &UDP)
            .fingerprint();
        out
    };
    let bytes = match kind {
        0 => bare(Method::BINDING),
        1 => bare(Method::ALLOCATE),
        2 => bare(Method::REFRESH),
        3 => client.signed(Method::ALLOCATE, [1; 12], &transport),
        4 => client.signed(
            Method::CHANNEL_BIND,
            [1; 12],
            &[(Attribute(0x7777), vec![])],
        ),
        5 => client.send_indication("8.8.8.8:1", b"hello"),
        _ => channel_data(0x4001, b"hello"),
    };
    (client.route, bytes)
}

#[test]
fn a_hundred_thousand_unauthenticated_requests_leave_no_state() {
    let mut world = World::new();
    for number in 0..100_000 {
        let (route, bytes) = unauthenticated_request(number % 7, number);
        world.receive(&route, &bytes);
    }
    let server = &mut world.server;
    assert_eq!((server.allocations(), server.table.deadlines()), (0, 0));
    assert_eq!((server.ended.capacity(), server.output.capacity()), (0, 0));
    assert_eq!(server.reservations.next_deadline(), None);
    assert_eq!(server.config.quotas.held(), 0);
    assert!(server.config.directory.is_empty());
    assert!(
        server.response.capacity() <= 256,
        "it is one for all of them"
    );
    assert!(world.responses.is_empty() && world.sockets.is_empty());
}

#[test]
fn a_wrong_credential_leaves_no_state() {
    let mut world = World::new();
    for host in 0..1_000u32 {
        let mut client = Client::new(&format!("25.0.{}.{}:1", host / 250, host % 250), "alice");
        client.minted.credential.push('x');
        assert_eq!(client.allocate(&mut world, &[]).code(), Some(401));
    }
    assert_eq!(world.server.table.deadlines(), 0);
    assert!(world.server.config.directory.is_empty());
}

proptest! {
    #[test]
    fn a_response_to_unknown_attributes_is_at_most_two_and_a_half_requests_long(
        attributes in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..9)), 0..400),
        empty in any::<bool>(),
        few in prop::option::of(0usize..3),
        six in any::<bool>(),
    ) {
        let mut world = World::with(Config { dont_fragment: false, ..config() });
        let address = if six { "[2a00::1]:1" } else { "192.88.1.1:1" };
        let route = Client::new(address, "alice").route;
        let mut request = Vec::new();
        let mut writer = Writer::new(&mut request, Method::BINDING, Class::Request, [1; 12]);
        let integrity = [Attribute::MESSAGE_INTEGRITY, Attribute::MESSAGE_INTEGRITY_SHA256, Attribute::FINGERPRINT];
        for (kind, value) in attributes.iter().take(few.unwrap_or(usize::MAX)) {
            if !integrity.contains(&Attribute(*kind)) {
                writer = writer.attribute(Attribute(*kind), if empty { &[] } else { value });
            }
        }
        let _ = writer;
        let response = Response(world.response(&route, &request));
        let mut unknown: Vec<u16> = crate::turn::attributes::unknown(&Message::parse(&request).unwrap())
            .map(|attribute| attribute.0).collect();
        if unknown.is_empty() {
            prop_assert_eq!(response.code(), None);
            prop_assert!(six || response.0.len() <= 40);
        } else {
            prop_assert_eq!(response.code(), Some(420));
            prop_assert!(response.0.len() * 2 <= request.len() * 5, "{} for {}", response.0.len(), request.len());
            unknown.sort_unstable();
            unknown.dedup();
            let list: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
            prop_assert_eq!(response.message().get(Attribute::UNKNOWN_ATTRIBUTES), Some(&list[..]), "the whole list");
        }
    }

    #[test]
    fn no_datagram_panics_the_server(noise in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..120), 1..20)) {
        let mut world = World::new();
        let (mut client, relayed) = world.allocated("192.88.1.1:1", "alice");
        client.bind(&mut world, 0x4000, "8.8.8.8:1");
        for datagram in &noise {
            world.receive(&client.route, datagram);
            let mut channel = channel_data(0x4000, datagram);
            channel.truncate(channel.len().saturating_sub(datagram.len() % 3));
            world.receive(&client.route, &channel);
            world.on_peer(relayed, "8.8.8.8:1", datagram);
        }
        prop_assert_eq!(world.server.allocations(), 1);
    }

    #[test]
    fn no_attribute_of_an_authenticated_request_panics_the_server(
        method in 1u16..12,
        attributes in prop::collection::vec((0u16..0x30, prop::collection::vec(any::<u8>(), 0..24)), 0..5),
    ) {
        let mut world = World::new();
        let (mut client, _) = world.allocated("192.88.1.1:1", "alice");
        let integrity = [Attribute::MESSAGE_INTEGRITY.0, Attribute::MESSAGE_INTEGRITY_SHA256.0];
        let attributes: Vec<_> = attributes.into_iter().filter(|(kind, _)| !integrity.contains(kind))
            .map(|(kind, value)| (Attribute(kind), value)).collect();
        let transaction = client.transaction();
        let request = client.signed(Method(method), transaction, &attributes);
        world.receive(&client.route, &request);
        prop_assert!(world.server.allocations() <= 1);
    }
}
