//! Allocate and Refresh.

use super::*;

#[test]
fn an_allocation_is_promised_only_after_its_socket_is_bound() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.greet(&mut world);
    let transaction = client.transaction();
    let request = client.signed(
        Method::ALLOCATE,
        transaction,
        &[(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())],
    );
    let answer = Answer(world.answer(&client.route, &request));
    assert_eq!(answer.code(), None);
    assert!(answer.message().verify(&client.key()));
    assert_eq!(answer.lifetime(), 600);
    assert_eq!(
        answer.address(Attribute::XOR_MAPPED_ADDRESS),
        Some(client.route.client)
    );
    let relayed = answer.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert_eq!(world.sockets, [Some(relayed)]);
    assert!((50_000..=60_000).contains(&relayed.port()));
}

#[test]
fn a_retransmitted_allocate_gets_the_same_answer_and_another_one_437() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
    let again = client.signed(Method::ALLOCATE, [client.transaction; 12], &transport);
    let first = world.answer(&client.route, &again);
    let second = world.answer(&client.route, &again);
    assert_eq!(first, second);
    assert_eq!(Answer(first).code(), None);
    let other = client.request(&mut world, Method::ALLOCATE, &transport);
    assert_eq!(other.code(), Some(437));
    assert_eq!(world.open_sockets(), 1);
}

#[test]
fn a_taken_port_is_not_the_clients_problem() {
    let settings = Settings {
        ports: PortRange {
            first: 50_000,
            last: 50_001,
        },
        ..settings()
    };
    let mut world = World::with(settings);
    world.taken.push("198.41.0.4:50000".parse().unwrap());
    let (_, relayed) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(relayed.port(), 50_001);
    let mut late = Client::new("192.88.1.1:1001", "bob");
    assert_eq!(late.allocate(&mut world, &[]).code(), Some(508));
    assert_eq!(world.server.allocations(), 1);
    assert_eq!(world.server.settings.quotas.held(), 1);
}

#[test]
fn the_transport_must_be_there_and_must_be_udp() {
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
fn dont_fragment_is_unknown_where_it_can_not_be_honoured_and_granted_where_it_can() {
    let asked = [(Attribute::DONT_FRAGMENT, Vec::new())];
    let mut client = Client::new("192.88.1.1:1000", "alice");
    let answer = client.allocate(&mut World::new(), &asked);
    assert_eq!(answer.code(), None);
    let mut world = World::with(Settings {
        dont_fragment: false,
        ..settings()
    });
    refuses(&mut world, Attribute::DONT_FRAGMENT, [0, 0x1a]);
}

fn refuses(world: &mut World, attribute: Attribute, number: [u8; 2]) {
    let mut client = Client::new("192.88.1.1:1000", "alice");
    let answer = client.allocate(world, &[(attribute, Vec::new())]);
    assert_eq!(answer.code(), Some(420));
    let listed = answer
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
    for (port, asked, given) in [(1, 5, 600), (2, 700, 700), (3, u32::MAX, 3600)] {
        let mut client = Client::new(&format!("192.88.1.1:{port}"), "alice");
        assert_eq!(
            client.allocate(&mut world, &[lifetime(asked)]).lifetime(),
            given
        );
        assert_eq!(client.refresh(&mut world, asked).lifetime(), given);
    }
}

#[test]
fn an_allocation_ends_when_its_time_is_up_and_not_before() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    world.advance(Duration::from_secs(500));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
    world.advance(Duration::from_secs(599));
    assert_eq!(world.open_sockets(), 1);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.open_sockets(), 0);
    assert_eq!(world.server.settings.quotas.held(), 0);
    assert_eq!(client.refresh(&mut world, 600).code(), Some(437));
}

#[test]
fn a_refresh_with_zero_ends_it_at_once() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let answer = client.refresh(&mut world, 0);
    assert_eq!((answer.code(), answer.lifetime()), (None, 0));
    assert_eq!((world.server.allocations(), world.open_sockets()), (0, 0));
}

#[test]
fn the_retransmission_of_what_ended_an_allocation_gets_the_same_answer() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    let transaction = client.transaction();
    let zero = [(Attribute::LIFETIME, vec![0; 4])];
    let request = client.signed(Method::REFRESH, transaction, &zero);
    let first = world.answer(&client.route, &request);
    assert_eq!(world.answer(&client.route, &request), first);
    assert_eq!(
        client.refresh(&mut world, 0).code(),
        Some(437),
        "another transaction"
    );
}

#[test]
fn an_allocation_made_over_a_stream_dies_with_the_stream() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.route.transport = Transport::Tcp;
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    world.server.stream_closed(&client.route);
    world.run_orders();
    assert_eq!((world.server.allocations(), world.open_sockets()), (0, 0));
}

#[test]
fn the_end_of_an_old_stream_does_not_end_what_a_new_one_made() {
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
    let mut world = World::with(Settings {
        host: Arc::new(host),
        ..settings()
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
fn an_even_port_is_given_where_asked() {
    let mut world = World::new();
    for port in 1..20 {
        let mut client = Client::new(&format!("192.88.1.1:{port}"), "alice");
        let answer = client.allocate(&mut world, &[even_port(0)]);
        let relayed = answer.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
        assert_eq!(relayed.port() % 2, 0);
        assert_eq!(answer.message().get(Attribute::RESERVATION_TOKEN), None);
    }
}

#[test]
fn the_next_port_is_kept_for_whoever_brings_the_token() {
    let mut world = World::new();
    let mut rtp = Client::new("192.88.1.1:1", "alice");
    let answer = rtp.allocate(&mut world, &[even_port(0x80)]);
    let even = answer.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    let token = answer
        .message()
        .get(Attribute::RESERVATION_TOKEN)
        .unwrap()
        .to_vec();
    assert_eq!((even.port() % 2, world.open_sockets()), (0, 2));

    let mut rtcp = Client::new("192.88.1.1:2", "alice");
    let claim = (Attribute::RESERVATION_TOKEN, token);
    let wrong = rtcp.allocate(&mut world, &[claim.clone(), even_port(0)]);
    assert_eq!(wrong.code(), Some(400), "both at once");
    let answer = rtcp.allocate(&mut world, std::slice::from_ref(&claim));
    let odd = answer.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
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
        (world.open_sockets(), world.server.settings.quotas.held()),
        (0, 0)
    );
}

#[test]
fn a_reservation_that_nobody_claims_is_freed_after_30_seconds() {
    let mut world = World::new();
    let mut rtp = Client::new("192.88.1.1:1", "alice");
    rtp.allocate(&mut world, &[even_port(0x80)]);
    world.advance(Duration::from_secs(29));
    assert_eq!(world.open_sockets(), 2);
    world.advance(Duration::from_secs(1));
    assert_eq!(
        (world.open_sockets(), world.server.settings.quotas.held()),
        (1, 1)
    );
}

#[test]
fn a_range_without_such_a_port_is_508() {
    let ports = PortRange {
        first: 65_535,
        last: 65_535,
    };
    let mut world = World::with(Settings {
        ports,
        ..settings()
    });
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
fn a_reservation_is_its_users_own_and_goes_with_them() {
    let mut world = World::new();
    let mut alice = Client::new("192.88.1.1:1", "alice");
    let answer = alice.allocate(&mut world, &[even_port(0x80)]);
    let token = answer
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
        (world.open_sockets(), world.server.settings.quotas.held()),
        (0, 0)
    );
}
