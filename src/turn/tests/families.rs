//! Allocations of one family, of the other, and of both (RFC 8656 sections 7.2 and 8.2).

mod refresh;

use super::*;

const ALICE: &str = "192.88.1.1:1000";
const BOB: &str = "192.88.1.2:1000";
const V4: u8 = 1;
const V6: u8 = 2;
const PEER_V4: &str = "8.8.4.4:9000";
const PEER_V6: &str = "[2606:4700::1111]:9000";

fn requested(family: u8) -> (Attribute, Vec<u8>) {
    (
        Attribute::REQUESTED_ADDRESS_FAMILY,
        vec![family, 9, 9, 9], // What is reserved is ignored.
    )
}

fn additional(family: u8) -> (Attribute, Vec<u8>) {
    (Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![family, 0, 0, 0])
}

fn lifetime(seconds: u32) -> (Attribute, Vec<u8>) {
    (Attribute::LIFETIME, seconds.to_be_bytes().to_vec())
}

/// A client with two relayed addresses.
fn dual(world: &mut World, address: &str, user: &str) -> (Client, SocketAddr, SocketAddr) {
    let mut client = Client::new(address, user);
    let response = client.allocate(world, &[additional(V6)]);
    match response.relayed()[..] {
        [v4, v6] => (client, v4, v6),
        _ => panic!("not two: {response:?}"),
    }
}

/// The family and the code of ADDRESS-ERROR-CODE.
fn address_error(response: &Response) -> Option<(u8, u16)> {
    let message = response.message();
    match message.get(Attribute::ADDRESS_ERROR_CODE)? {
        [family, 0, class, number, reason @ ..] => {
            assert!(std::str::from_utf8(reason).is_ok_and(|reason| reason.len() < 128));
            Some((*family, u16::from(*class) * 100 + u16::from(*number)))
        }
        other => panic!("{other:?}"),
    }
}

fn counts(world: &World) -> (usize, usize, usize) {
    let held = world.server.config.quotas.held();
    (world.server.allocations(), world.open_sockets(), held)
}

#[test]
fn an_additional_address_family_request_gets_both_families() {
    let mut world = World::new();
    let mut client = Client::new(ALICE, "alice");
    let response = client.allocate(&mut world, &[additional(V6), lifetime(700)]);
    assert_eq!((response.code(), response.lifetime()), (None, 700));
    let relayed = response.relayed();
    assert_eq!(relayed.len(), 2, "{relayed:?}");
    assert!(relayed[0].is_ipv4() && relayed[1].is_ipv6());
    assert_eq!(address_error(&response), None);
    assert!(response.message().verify(&client.key()));
    assert_eq!(world.sockets, [Some(relayed[0]), Some(relayed[1])]);
    assert_eq!(counts(&world), (1, 2, 2), "each address counts");

    let session = world.server.session(&client.route).expect("a session");
    assert_eq!(session.relayed, relayed[0]);
    assert_eq!(session.relayed_ipv6, Some(relayed[1]));

    assert_eq!(client.refresh(&mut world, 0).lifetime(), 0);
    assert_eq!(counts(&world), (0, 0, 0));
    assert!(world.server.config.directory.is_empty());
}

#[test]
fn the_family_of_the_request_does_not_matter() {
    let mut world = World::new();
    let mut client = Client::new("[2001:500::1]:1000", "alice");
    client.route.server = "[2a00::4]:3478".parse().unwrap();
    let relayed = client.allocate(&mut world, &[additional(V6)]).relayed();
    let ips: Vec<_> = relayed.iter().map(|a| a.ip().to_string()).collect();
    assert_eq!(ips, ["198.41.0.4", "2a00::4"]);
}

#[test]
fn a_retransmitted_allocate_for_both_families_gets_the_same_response() {
    let mut world = World::new();
    let mut client = Client::new(ALICE, "alice");
    let first = client.allocate(&mut world, &[additional(V6)]);
    let transport = (Attribute::REQUESTED_TRANSPORT, UDP.to_vec());
    let again = client.signed(
        Method::ALLOCATE,
        [client.transaction; 12],
        &[transport, additional(V6)],
    );
    assert_eq!(world.response(&client.route, &again), first.0);
    assert_eq!(counts(&world), (1, 2, 2));
}

#[test]
fn a_missing_family_gets_an_address_error_code_beside_the_other_address() {
    for (missing, other_family) in [(V6, "198.41.0.4"), (V4, "2a00::4")] {
        let mut world = World::new();
        world.server.config.host = Arc::new(host(&[other_family]));
        let mut client = Client::new(ALICE, "alice");
        client.route.server = SocketAddr::new(other_family.parse().unwrap(), 3478);
        let response = client.allocate(&mut world, &[additional(V6)]);
        assert_eq!(response.code(), None);
        assert_eq!(address_error(&response), Some((missing, 440)));
        let relayed = response.relayed();
        assert_eq!(relayed.len(), 1);
        assert_eq!(relayed[0].ip().to_string(), other_family);
        assert_eq!(counts(&world), (1, 1, 1));
    }
}

/// All ports of one of the two addresses are in use.
#[test]
fn a_family_without_a_free_port_gets_an_address_error_code() {
    for (missing, full) in [(V4, "198.41.0.4"), (V6, "2a00::4")] {
        let mut world = World::new();
        world.server.config.ports = PortRange {
            first: 50_000,
            last: 50_003,
        };
        let full: std::net::IpAddr = full.parse().unwrap();
        world.taken = (50_000..=50_003).map(|port| (full, port).into()).collect();
        let mut client = Client::new(ALICE, "alice");
        let response = client.allocate(&mut world, &[additional(V6)]);
        assert_eq!(response.code(), None);
        assert_eq!(address_error(&response), Some((missing, 508)));
        assert_eq!(response.relayed().len(), 1);
        assert_eq!(counts(&world), (1, 1, 1), "what was not given is not held");
        assert_eq!(client.refresh(&mut world, 0).lifetime(), 0);
        assert_eq!(counts(&world), (0, 0, 0));
    }
}

#[test]
fn without_a_free_port_in_either_family_an_allocate_gets_508() {
    let mut world = World::new();
    world.server.config.ports = PortRange {
        first: 50_000,
        last: 50_000,
    };
    world.taken = ["198.41.0.4:50000", "[2a00::4]:50000"]
        .map(|address| address.parse().unwrap())
        .into();
    let mut client = Client::new(ALICE, "alice");
    let response = client.allocate(&mut world, &[additional(V6)]);
    assert_eq!(response.code(), Some(508));
    assert_eq!(counts(&world), (0, 0, 0));
}

#[test]
fn a_quota_of_one_address_grants_one_of_two() {
    let mut world = World::new();
    world.server.config.quotas = Arc::new(Quotas::new(100, 3, 100));
    dual(&mut world, ALICE, "alice");
    let mut second = Client::new(BOB, "alice");
    let response = second.allocate(&mut world, &[additional(V6)]);
    assert_eq!(address_error(&response), Some((V6, 508)));
    assert_eq!(counts(&world), (2, 3, 3));
    let mut third = Client::new("192.88.1.3:1000", "alice");
    let response = third.allocate(&mut world, &[additional(V6)]);
    assert_eq!(response.code(), Some(486));
}

#[test]
fn contradictory_attributes_get_400() {
    let mut world = World::new();
    let even = |flags| (Attribute::EVEN_PORT, vec![flags]);
    let token = (Attribute::RESERVATION_TOKEN, vec![7; 8]);
    for (port, attributes) in (1..).zip([
        vec![additional(V4)],
        vec![additional(3)],
        vec![(Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![V6])],
        vec![(Attribute::REQUESTED_ADDRESS_FAMILY, vec![V6])],
        vec![additional(V6), requested(V4)],
        vec![additional(V6), requested(V6)],
        vec![additional(V6), requested(3)],
        vec![additional(V6), even(0x80)],
        vec![token.clone(), requested(V4)],
        vec![token.clone(), additional(V6)],
        vec![token, even(0)],
    ]) {
        let mut client = Client::new(&format!("192.88.1.1:{port}"), "alice");
        let response = client.allocate(&mut world, &attributes);
        assert_eq!(response.code(), Some(400), "{attributes:?}");
    }
    assert_eq!(counts(&world), (0, 0, 0));
}

#[test]
fn both_ports_are_even_on_request() {
    let mut world = World::new();
    for port in 1..20 {
        let mut client = Client::new(&format!("192.88.1.1:{port}"), "alice");
        let even = (Attribute::EVEN_PORT, vec![0]);
        let relayed = client
            .allocate(&mut world, &[additional(V6), even])
            .relayed();
        assert_eq!(relayed.len(), 2);
        assert!(relayed.iter().all(|address| address.port() % 2 == 0));
    }
}

#[test]
fn the_other_family_is_allocated_on_request_or_gets_440() {
    let mut world = World::new();
    let mut six = Client::new("192.88.1.1:1000", "alice");
    let response = six.allocate(&mut world, &[requested(V6)]);
    let relayed = response.relayed();
    assert!(relayed.len() == 1 && relayed[0].is_ipv6());
    let mut odd = Client::new("192.88.1.1:1001", "alice");
    assert_eq!(odd.allocate(&mut world, &[requested(3)]).code(), Some(440));
    world.server.config.host = Arc::new(host(&["198.41.0.4"]));
    let mut none = Client::new("192.88.1.1:1002", "alice");
    assert_eq!(
        none.allocate(&mut world, &[requested(V6)]).code(),
        Some(440)
    );
}

#[test]
fn a_request_without_a_family_gets_ipv4() {
    let mut world = World::new();
    let mut client = Client::new("[2001:500::1]:1000", "alice");
    client.route.server = "[2a00::4]:3478".parse().unwrap();
    let relayed = client.allocate(&mut world, &[]).relayed();
    assert!(relayed.len() == 1 && relayed[0].is_ipv4());
}

#[test]
fn a_peer_of_either_family_is_reached_from_the_address_of_its_own() {
    let mut world = World::new();
    let (mut client, v4, v6) = dual(&mut world, ALICE, "alice");
    assert_eq!(client.permit(&mut world, &[PEER_V4, PEER_V6]).code(), None);
    assert_eq!(client.bind(&mut world, 0x4004, PEER_V4).code(), None);
    assert_eq!(client.bind(&mut world, 0x4006, PEER_V6).code(), None);
    for (number, peer, relayed) in [(0x4004, PEER_V4, v4), (0x4006, PEER_V6, v6)] {
        let indication = client.send_indication(peer, b"hello");
        for datagram in [indication, channel_data(number, b"hello")] {
            let (verdict, bytes) = world.receive(&client.route, &datagram);
            let Verdict::ToPeer {
                socket, peer: to, ..
            } = verdict
            else {
                panic!("{verdict:?}");
            };
            assert_eq!(world.sockets[socket as usize], Some(relayed));
            assert_eq!((to, &bytes[..]), (peer.parse().unwrap(), &b"hello"[..]));
        }
        let (verdict, bytes) = world.on_peer(relayed, peer, b"hi");
        assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == client.route));
        assert_eq!(bytes, channel_data(number, b"hi"));
    }
}

#[test]
fn a_peer_of_a_family_that_the_allocation_lacks_gets_443_even_if_denied() {
    let mut world = World::new();
    let mut four = Client::new(ALICE, "alice");
    four.allocate(&mut world, &[]);
    let mut six = Client::new(BOB, "alice");
    six.allocate(&mut world, &[requested(V6)]);
    for (client, peers) in [
        (&mut four, [PEER_V6, "[::1]:9", "[2a00::4]:3478"]),
        (&mut six, [PEER_V4, "127.0.0.1:9", SERVER]),
    ] {
        for peer in peers {
            assert_eq!(client.permit(&mut world, &[peer]).code(), Some(443));
            assert_eq!(client.bind(&mut world, 0x4001, peer).code(), Some(443));
            let indication = client.send_indication(peer, b"hello");
            let (verdict, _) = world.receive(&client.route, &indication);
            assert_eq!(verdict, Verdict::Dropped(DropReason::NoPermission));
        }
    }
    let mixed = four.permit(&mut world, &[PEER_V4, PEER_V6]);
    assert_eq!(mixed.code(), Some(443));
    let indication = four.send_indication(PEER_V4, b"hello");
    let (verdict, _) = world.receive(&four.route, &indication);
    assert_eq!(
        verdict,
        Verdict::Dropped(DropReason::NoPermission),
        "all or none"
    );
}

#[test]
fn a_malformed_attribute_gets_400_before_the_family_is_checked() {
    let mut world = World::new();
    let (mut client, _) = world.allocated(ALICE, "alice");
    let transaction = client.transaction();
    let (attribute, wrong_family) = xor_peer(PEER_V6, &transaction);
    let peers = [(attribute, wrong_family), (attribute, vec![0; 7])];
    let request = client.signed(Method::CREATE_PERMISSION, transaction, &peers);
    assert_eq!(
        Response(world.response(&client.route, &request)).code(),
        Some(400)
    );
}

#[test]
fn clients_of_both_families_reach_each_other_without_relay_sockets() {
    let mut world = World::new();
    let (mut alice, a4, a6) = dual(&mut world, ALICE, "alice");
    let (mut bob, b4, b6) = dual(&mut world, BOB, "bob");
    for (number, a, b) in [(0x4004, a4, b4), (0x4006, a6, b6)] {
        assert_eq!(alice.bind(&mut world, number, &b.to_string()).code(), None);
        assert_eq!(bob.permit(&mut world, &[&a.to_string()]).code(), None);
        let (verdict, bytes) = world.receive(&alice.route, &channel_data(number, b"hello"));
        assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == bob.route));
        let indication = Response(bytes);
        assert_eq!(
            indication.address(Attribute::XOR_PEER_ADDRESS),
            Some(a),
            "from the address of the same family"
        );
    }
}

#[test]
fn each_shard_allocates_its_own_ports_in_both_families() {
    let mut shared = config();
    shared.directory = Arc::new(Directory::new(2));
    for shard in [0, 1] {
        let mut world = World::of_shard(shared.clone(), shard);
        for port in 1..20 {
            let address = format!("192.88.1.{}:{port}", 1 + shard);
            let (_, v4, v6) = dual(&mut world, &address, "alice");
            for relayed in [v4, v6] {
                assert_eq!(shared.directory.shard_of_port(relayed.port()), shard);
            }
        }
    }
}

#[test]
fn internal_mode_allocates_and_connects_both_families() {
    let mut config = config();
    config.internal = true;
    let mut world = World::with(config);
    let (mut alice, _, a6) = dual(&mut world, ALICE, "alice");
    let mut bob = Client::new(BOB, "bob");
    let b6 = bob.allocate(&mut world, &[requested(V6)]).relayed()[0];
    assert_eq!(alice.bind(&mut world, 0x4001, &b6.to_string()).code(), None);
    assert_eq!(bob.permit(&mut world, &[&a6.to_string()]).code(), None);
    let (verdict, _) = world.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == bob.route));
    assert_eq!(alice.permit(&mut world, &[PEER_V6]).code(), Some(403));
}

#[test]
fn an_allocation_whose_bind_times_out_is_ended_with_its_sockets() {
    let mut world = World::new();
    let mut client = Client::new(ALICE, "alice");
    client.greet(&mut world);
    let transaction = client.transaction();
    let transport = (Attribute::REQUESTED_TRANSPORT, UDP.to_vec());
    let request = client.signed(Method::ALLOCATE, transaction, &[transport, additional(V6)]);
    let mut buffer = vec![0; HEADROOM + request.len() + TAILROOM];
    let range = HEADROOM..HEADROOM + request.len();
    buffer[range.clone()].copy_from_slice(&request);
    let now = world.now;
    let verdict =
        world
            .server
            .handle_client_datagram(now, &client.route, &mut buffer, range.clone());
    assert_eq!(verdict, Verdict::Queued);
    let Some(Output::Bind { id, address, .. }) = world.server.poll_output() else {
        panic!("nothing to bind");
    };
    world.sockets.push(Some(address));
    world.server.handle_bind_result(now, id, Ok(0));
    let Some(Output::Bind { id: second, .. }) = world.server.poll_output() else {
        panic!("one of two was enough");
    };
    assert_eq!(second, id);
    buffer[range.clone()].copy_from_slice(&request);
    let again = world
        .server
        .handle_client_datagram(now, &client.route, &mut buffer, range);
    assert_eq!(again, Verdict::Dropped(DropReason::Pending));
    assert_eq!(world.server.session(&client.route), None);
    world.advance(Duration::from_secs(10));
    assert_eq!(counts(&world), (0, 0, 0));
    world.server.handle_bind_result(world.now, id, Ok(7));
    assert_eq!(
        world.server.poll_output(),
        Some(Output::Unbind { socket: 7 })
    );
}
