//! Rooms that another server relays.

use super::*;

/// A server that relays the room `here`; another one relays `elsewhere`.
fn one_of_two(elsewhere: &[&str]) -> World {
    let config = Config {
        room_relays: Some(Arc::default()),
        ..config()
    };
    config.revocations.add_rooms(["here", "elsewhere", "new"]);
    let world = World::with(config);
    let servers: Vec<_> = elsewhere.iter().map(|text| text.parse().unwrap()).collect();
    let relays = room_relays(&world);
    relays.set("here", RoomRelay::Here);
    relays.set("elsewhere", RoomRelay::Elsewhere(Alternates::new(servers)));
    world
}

fn room_relays(world: &World) -> Arc<RoomRelays> {
    world.server.config.room_relays.clone().unwrap()
}

fn member(address: &str, room: &str) -> Client {
    let credentials = Credentials::new(&Secret::new("north"), &[]);
    Client::with(
        address,
        credentials.mint("alice", Some(room), 1_700_010_000),
    )
}

/// The error code of an Allocate; `None` if it is granted.
fn code(world: &mut World, mut client: Client) -> Option<u16> {
    client.allocate(world, &[]).code()
}

#[test]
fn a_member_of_a_room_that_another_server_relays_is_redirected_there() {
    let mut world = one_of_two(&["203.0.113.8:3479", "[2001:db8::8]:3480"]);
    let mut client = member("192.88.1.1:1", "elsewhere");
    let response = client.allocate(&mut world, &[]);
    let message = response.message();
    assert_eq!(response.code(), Some(300));
    assert!(message.verify(&client.key()));
    let server = message.get(Attribute::ALTERNATE_SERVER).unwrap();
    assert_eq!(server, [0, 1, 0x0d, 0x97, 203, 0, 113, 8]);
    assert_eq!(
        code(&mut world, member("[2a00::1]:3", "elsewhere")),
        Some(300)
    );
    assert_eq!(world.server.allocations(), 0);
    // The client may ask again, with the credential of another room.
    client.minted = member("192.88.1.1:1", "here").minted;
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
}

#[test]
fn members_of_other_rooms_and_clients_without_a_room_allocate_here() {
    let mut world = one_of_two(&["203.0.113.8:3479"]);
    assert_eq!(code(&mut world, member("192.88.1.1:1", "here")), None);
    assert_eq!(code(&mut world, member("192.88.1.1:2", "new")), None);
    assert_eq!(code(&mut world, Client::new("192.88.1.1:3", "alice")), None);
    // A name that only looks like one with a room.
    assert_eq!(
        code(&mut world, member("192.88.1.1:4", "elsewhere/x")),
        None
    );
    room_relays(&world).forget("elsewhere");
    assert_eq!(code(&mut world, member("192.88.1.1:5", "elsewhere")), None);
}

#[test]
fn a_client_that_could_not_reach_the_other_server_allocates_here() {
    let mut world = one_of_two(&["[2001:db8::8]:3480"]);
    assert_eq!(code(&mut world, member("192.88.1.1:1", "elsewhere")), None);
    // ALTERNATE-SERVER has no port for TLS.
    let mut over_tls = member("[2a00::1]:3", "elsewhere");
    over_tls.route.transport = Transport::Tls;
    assert_eq!(code(&mut world, over_tls), None);
    let mut over_tcp = member("[2a00::1]:4", "elsewhere");
    over_tcp.route.transport = Transport::Tcp;
    assert_eq!(code(&mut world, over_tcp), Some(300));
}

#[test]
fn a_bad_credential_of_a_room_is_not_redirected() {
    let mut world = one_of_two(&["203.0.113.8:3479"]);
    let mut client = member("192.88.1.1:1", "elsewhere");
    client.greet(&mut world);
    client.minted.credential = "guessed".into();
    let transport = (Attribute::REQUESTED_TRANSPORT, UDP.to_vec());
    let response = client.request(&mut world, Method::ALLOCATE, &[transport]);
    assert_eq!(response.code(), Some(401));
}

#[test]
fn an_allocation_stays_when_its_room_moves() {
    let mut world = one_of_two(&["203.0.113.8:3479"]);
    let mut client = member("192.88.1.1:1", "here");
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    let there = Alternates::new(["203.0.113.8:3479".parse().unwrap()]);
    room_relays(&world).set("here", RoomRelay::Elsewhere(there));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
    assert_eq!(code(&mut world, member("192.88.1.1:2", "here")), Some(300));
}

#[test]
fn a_draining_server_allocates_for_the_rooms_that_it_relays() {
    let mut world = one_of_two(&["203.0.113.8:3479"]);
    world.server.config.quotas.close();
    assert_eq!(code(&mut world, member("192.88.1.1:1", "here")), None);
    assert_eq!(
        code(&mut world, member("192.88.1.1:2", "elsewhere")),
        Some(300)
    );
    assert_eq!(code(&mut world, member("192.88.1.1:3", "new")), Some(508));
    assert_eq!(
        code(&mut world, Client::new("192.88.1.1:4", "alice")),
        Some(508)
    );
}
