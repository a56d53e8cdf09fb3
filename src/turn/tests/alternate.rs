//! Redirection to an alternate server (RFC 8489 sections 10 and 14.15).

use super::*;

/// A server with a quota of two allocations, and the alternate servers `alternates`.
fn small(alternates: &[&str]) -> World {
    let alternates: Vec<_> = alternates
        .iter()
        .map(|text| text.parse().unwrap())
        .collect();
    World::with(Config {
        quotas: Arc::new(Quotas::new(2, 2, 2)),
        settings: Settings {
            alternates: Alternates::new(alternates),
            ..settings()
        },
        ..config()
    })
}

/// Returns ALTERNATE-SERVER of a response that is signed for `client`.
fn alternate_server(response: &Response, client: &Client) -> Vec<u8> {
    let message = response.message();
    assert_eq!(response.code(), Some(300));
    assert!(message.verify(&client.key()));
    let all = message.attributes();
    let servers: Vec<_> = all
        .filter(|(attribute, _)| *attribute == Attribute::ALTERNATE_SERVER)
        .map(|(_, value)| value.to_vec())
        .collect();
    assert_eq!(servers.len(), 1);
    servers.concat()
}

#[test]
fn a_full_server_points_to_the_one_of_the_clients_family() {
    let mut world = small(&["203.0.113.8:3479", "[2001:db8::8]:3480"]);
    for port in 1..=2 {
        world.allocated(&format!("192.88.1.1:{port}"), &format!("user-{port}"));
    }
    let mut client = Client::new("192.88.1.1:3", "alice");
    let response = client.allocate(&mut world, &[]);
    // The address is not XORed.
    assert_eq!(
        alternate_server(&response, &client),
        [0, 1, 0x0d, 0x97, 203, 0, 113, 8]
    );
    let mut client = Client::new("[2a00::1]:3", "alice");
    let response = client.allocate(&mut world, &[]);
    let addresses = alternate_server(&response, &client);
    assert_eq!(addresses[..8], [0, 2, 0x0d, 0x98, 0x20, 0x01, 0x0d, 0xb8]);
    assert_eq!(addresses.len(), 20);
    assert_eq!(world.server.allocations(), 2);
}

#[test]
fn a_client_of_a_family_without_another_server_is_refused() {
    let mut world = small(&["[2001:db8::8]:3480"]);
    for port in 1..=2 {
        world.allocated(&format!("192.88.1.1:{port}"), &format!("user-{port}"));
    }
    let mut client = Client::new("192.88.1.1:3", "alice");
    assert_eq!(client.allocate(&mut world, &[]).code(), Some(486));
}

#[test]
fn a_user_over_quota_is_not_redirected() {
    let mut world = small(&["203.0.113.8:3479"]);
    for port in 1..=2 {
        world.allocated(&format!("192.88.1.1:{port}"), "alice");
    }
    // The server is full as well, but every server would reject alice.
    let mut client = Client::new("192.88.1.1:3", "alice");
    assert_eq!(client.allocate(&mut world, &[]).code(), Some(486));
    let mut client = Client::new("192.88.1.1:4", "bob");
    let response = client.allocate(&mut world, &[]);
    alternate_server(&response, &client);
}

#[test]
fn an_unauthenticated_client_is_not_redirected() {
    let mut world = small(&["203.0.113.8:3479"]);
    for port in 1..=2 {
        world.allocated(&format!("192.88.1.1:{port}"), &format!("user-{port}"));
    }
    let mut client = Client::new("192.88.1.1:3", "alice");
    // The first response is a challenge.
    client.greet(&mut world);
    client.minted.credential = "guessed".into();
    let transport = (Attribute::REQUESTED_TRANSPORT, UDP.to_vec());
    let response = client.request(&mut world, Method::ALLOCATE, &[transport]);
    assert_eq!(response.code(), Some(401));
    assert!(
        response
            .message()
            .get(Attribute::ALTERNATE_SERVER)
            .is_none()
    );
}

#[test]
fn a_server_without_ports_redirects_except_for_its_own_tokens() {
    let alternates = Alternates::new(["203.0.113.8:3479".parse().unwrap()]);
    let mut world = World::with(Config {
        ports: PortRange {
            first: 50_000,
            last: 50_000,
        },
        settings: Settings {
            alternates,
            ..settings()
        },
        ..config()
    });
    world.allocated("192.88.1.1:1", "alice");
    let mut client = Client::new("192.88.1.1:2", "bob");
    let response = client.allocate(&mut world, &[]);
    alternate_server(&response, &client);
    // Only this server knows its reservations, including expired ones.
    let token = (Attribute::RESERVATION_TOKEN, vec![7; 8]);
    assert_eq!(client.allocate(&mut world, &[token]).code(), Some(508));
}

#[test]
fn an_alternate_server_can_be_added_and_removed_at_runtime() {
    let mut world = small(&[]);
    for port in 1..=2 {
        world.allocated(&format!("192.88.1.1:{port}"), &format!("user-{port}"));
    }
    let mut client = Client::new("192.88.1.1:3", "alice");
    assert_eq!(client.allocate(&mut world, &[]).code(), Some(486));
    let changes = |alternates| Settings {
        alternates,
        ..settings()
    };
    let there = Alternates::new(["203.0.113.8:3479".parse().unwrap()]);
    world.server.reconfigure(changes(there));
    let response = client.allocate(&mut world, &[]);
    alternate_server(&response, &client);
    world.server.reconfigure(changes(Alternates::default()));
    assert_eq!(client.allocate(&mut world, &[]).code(), Some(486));
}
