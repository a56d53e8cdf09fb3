//! Allocate and Refresh (RFC 8656 sections 7.2 and 8.2).

use super::*;

#[test]
fn an_allocate_succeeds_only_after_the_socket_is_bound() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.greet(&mut world);
    let transaction = client.transaction();
    let request = client.signed(
        Method::ALLOCATE,
        transaction,
        &[(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())],
    );
    let response = Response(world.response(&client.route, &request));
    assert_eq!(response.code(), None);
    assert!(response.message().verify(&client.key()));
    assert_eq!(response.lifetime(), 600);
    assert_eq!(
        response.address(Attribute::XOR_MAPPED_ADDRESS),
        Some(client.route.client)
    );
    let relayed = response.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(world.sockets, [Some(relayed)]);
    assert!((50_000..=60_000).contains(&relayed.port()));
}

#[test]
fn a_retransmitted_allocate_gets_the_same_response_and_a_second_one_437() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
    let again = client.signed(Method::ALLOCATE, [client.transaction; 12], &transport);
    let first = world.response(&client.route, &again);
    let second = world.response(&client.route, &again);
    assert_eq!(first, second);
    assert_eq!(Response(first).code(), None);
    let other = client.request(&mut world, Method::ALLOCATE, &transport);
    assert_eq!(other.code(), Some(437));
    assert_eq!(world.open_sockets(), 1);
}

#[test]
fn a_port_in_use_is_replaced_by_another_one() {
    let config = Config {
        ports: PortRange {
            first: 50_000,
            last: 50_001,
        },
        ..config()
    };
    let mut world = World::with(config);
    world.taken.push("198.41.0.4:50000".parse().unwrap());
    let (_, relayed) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(relayed.port(), 50_001);
    let mut late = Client::new("192.88.1.1:1001", "bob");
    assert_eq!(late.allocate(&mut world, &[]).code(), Some(508));
    assert_eq!(world.server.allocations(), 1);
    assert_eq!(world.server.config.quotas.held(), 1);
}

#[test]
fn the_requested_transport_must_be_udp() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.greet(&mut world);
    assert_eq!(
        client.request(&mut world, Method::ALLOCATE, &[]).code(),
        Some(400)
    );
    let tcp = (Attribute::REQUESTED_TRANSPORT, vec![6, 0, 0, 0]);
    assert_eq!(
        client.request(&mut world, Method::ALLOCATE, &[tcp]).code(),
        Some(442)
    );
}

#[test]
fn an_unknown_required_attribute_is_named_in_420() {
    let mut world = World::new();
    refuses(&mut world, Attribute(0x7fff), [0x7f, 0xff]);
}

#[test]
fn dont_fragment_is_granted_if_supported_and_otherwise_unknown() {
    let requested = [(Attribute::DONT_FRAGMENT, Vec::new())];
    let mut client = Client::new("192.88.1.1:1000", "alice");
    let response = client.allocate(&mut World::new(), &requested);
    assert_eq!(response.code(), None);
    let mut world = World::with(Config {
        dont_fragment: false,
        ..config()
    });
    refuses(&mut world, Attribute::DONT_FRAGMENT, [0, 0x1a]);
}

fn refuses(world: &mut World, attribute: Attribute, number: [u8; 2]) {
    let mut client = Client::new("192.88.1.1:1000", "alice");
    let response = client.allocate(world, &[(attribute, Vec::new())]);
    assert_eq!(response.code(), Some(420));
    let listed = response
        .message()
        .get(Attribute::UNKNOWN_ATTRIBUTES)
        .map(<[u8]>::to_vec);
    assert_eq!(listed, Some(number.to_vec()));
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn a_lifetime_is_at_least_ten_minutes_and_at_most_an_hour() {
    let mut world = World::new();
    let lifetime = |seconds: u32| (Attribute::LIFETIME, seconds.to_be_bytes().to_vec());
    for (port, requested, given) in [(1, 5, 600), (2, 700, 700), (3, u32::MAX, 3600)] {
        let mut client = Client::new(&format!("192.88.1.1:{port}"), "alice");
        assert_eq!(
            client
                .allocate(&mut world, &[lifetime(requested)])
                .lifetime(),
            given
        );
        assert_eq!(client.refresh(&mut world, requested).lifetime(), given);
    }
}

#[test]
fn an_allocation_ends_exactly_at_its_expiry() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    world.advance(Duration::from_secs(500));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
    world.advance(Duration::from_secs(599));
    assert_eq!(world.open_sockets(), 1);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.open_sockets(), 0);
    assert_eq!(world.server.config.quotas.held(), 0);
    assert_eq!(client.refresh(&mut world, 600).code(), Some(437));
}

#[test]
fn a_refresh_with_zero_ends_it_at_once() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let response = client.refresh(&mut world, 0);
    assert_eq!((response.code(), response.lifetime()), (None, 0));
    assert_eq!((world.server.allocations(), world.open_sockets()), (0, 0));
}

#[test]
fn a_retransmitted_final_refresh_gets_the_same_response() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let transaction = client.transaction();
    let zero = [(Attribute::LIFETIME, vec![0; 4])];
    let request = client.signed(Method::REFRESH, transaction, &zero);
    let first = world.response(&client.route, &request);
    assert_eq!(world.response(&client.route, &request), first);
    assert_eq!(
        client.refresh(&mut world, 0).code(),
        Some(437),
        "another transaction"
    );
}

#[test]
fn an_allocation_over_a_stream_ends_with_the_stream() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.route.transport = Transport::Tcp;
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    world.server.stream_closed(&client.route);
    world.run_orders();
    assert_eq!((world.server.allocations(), world.open_sockets()), (0, 0));
}

#[test]
fn closing_an_old_stream_keeps_the_allocation_of_a_new_one() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.route.transport = Transport::Tcp;
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    let old = client.route;
    client.route.via = 1;
    world.server.stream_opened(&client.route);
    world.run_orders();
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    world.server.stream_closed(&old);
    world.run_orders();
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn behind_nat_the_public_address_is_advertised_and_the_private_one_bound() {
    let host = host_with(&["198.41.0.4"], &["203.0.114.5"]);
    let mut world = World::with(Config {
        host: Arc::new(host),
        ..config()
    });
    let (_, relayed) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(relayed.ip().to_string(), "203.0.114.5");
    let bound = world.sockets[0].unwrap();
    assert_eq!(bound.ip().to_string(), "198.41.0.4");
    assert_eq!(bound.port(), relayed.port());
}

fn even_port(flags: u8) -> (Attribute, Vec<u8>) {
    (Attribute::EVEN_PORT, vec![flags])
}

#[test]
fn an_even_port_is_allocated_on_request() {
    let mut world = World::new();
    for port in 1..20 {
        let mut client = Client::new(&format!("192.88.1.1:{port}"), "alice");
        let response = client.allocate(&mut world, &[even_port(0)]);
        let relayed = response.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
        assert_eq!(relayed.port() % 2, 0);
        assert_eq!(response.message().get(Attribute::RESERVATION_TOKEN), None);
    }
}

#[test]
fn the_next_port_is_reserved_for_the_token() {
    let mut world = World::new();
    let mut rtp = Client::new("192.88.1.1:1", "alice");
    let response = rtp.allocate(&mut world, &[even_port(0x80)]);
    let even = response.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    let token = response
        .message()
        .get(Attribute::RESERVATION_TOKEN)
        .unwrap()
        .to_vec();
    assert_eq!((even.port() % 2, world.open_sockets()), (0, 2));

    let mut rtcp = Client::new("192.88.1.1:2", "alice");
    let claim = (Attribute::RESERVATION_TOKEN, token);
    let wrong = rtcp.allocate(&mut world, &[claim.clone(), even_port(0)]);
    assert_eq!(wrong.code(), Some(400), "both at once");
    let response = rtcp.allocate(&mut world, std::slice::from_ref(&claim));
    let odd = response.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(odd.port(), even.port() + 1);
    let mut late = Client::new("192.88.1.1:3", "alice");
    assert_eq!(
        late.allocate(&mut world, &[claim]).code(),
        Some(508),
        "used up"
    );
    rtcp.refresh(&mut world, 0);
    rtp.refresh(&mut world, 0);
    assert_eq!(
        (world.open_sockets(), world.server.config.quotas.held()),
        (0, 0)
    );
}

#[test]
fn an_unclaimed_reservation_is_freed_after_30_seconds() {
    let mut world = World::new();
    let mut rtp = Client::new("192.88.1.1:1", "alice");
    rtp.allocate(&mut world, &[even_port(0x80)]);
    world.advance(Duration::from_secs(29));
    assert_eq!(world.open_sockets(), 2);
    world.advance(Duration::from_secs(1));
    assert_eq!(
        (world.open_sockets(), world.server.config.quotas.held()),
        (1, 1)
    );
}

#[test]
fn a_port_range_without_a_matching_port_gets_508() {
    let ports = PortRange {
        first: 65_535,
        last: 65_535,
    };
    let mut world = World::with(Config { ports, ..config() });
    let mut client = Client::new("192.88.1.1:1", "alice");
    for flags in [0, 0x80] {
        assert_eq!(
            client.allocate(&mut world, &[even_port(flags)]).code(),
            Some(508)
        );
    }
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
}

#[test]
fn a_reservation_belongs_to_its_user_and_ends_with_revocation() {
    let mut world = World::new();
    let mut alice = Client::new("192.88.1.1:1", "alice");
    let response = alice.allocate(&mut world, &[even_port(0x80)]);
    let token = response
        .message()
        .get(Attribute::RESERVATION_TOKEN)
        .unwrap()
        .to_vec();
    let mut bob = Client::new("192.88.1.1:2", "bob");
    let claim = (Attribute::RESERVATION_TOKEN, token);
    assert_eq!(bob.allocate(&mut world, &[claim]).code(), Some(508));
    world.server.revoke("alice", &Scope::All);
    world.run_orders();
    assert_eq!(
        (world.open_sockets(), world.server.config.quotas.held()),
        (0, 0)
    );
}
