//! Authentication: challenges, credentials and revocation.

use super::*;
use crate::credential::RevokedGenerations;

#[test]
fn a_request_without_integrity_is_challenged_and_leaves_nothing_behind() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.greet(&mut world);
    assert_eq!(client.nonce.len(), nonce::NONCE_BYTES);
    assert_eq!(world.server.allocations(), 0);
}

#[test]
fn an_expired_credential_gets_401() {
    let mut world = World::new();
    let credentials = Credentials::new(&Secret::new("north"), &[]);
    let mut client = Client::with(
        "192.88.1.1:1000",
        credentials.mint("alice", None, world.now.unix),
    );
    assert_eq!(client.allocate(&mut world, &[]).code(), Some(401));
}

#[test]
fn an_allocation_can_be_refreshed_after_its_credential_expired() {
    let mut world = World::new();
    let credentials = Credentials::new(&Secret::new("north"), &[]);
    let minted = credentials.mint("alice", None, world.now.unix + 60);
    let mut client = Client::with("192.88.1.1:1000", minted);
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    world.advance(Duration::from_secs(120));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
}

#[test]
fn wrong_secret_wrong_realm_and_unknown_user_get_the_same_response() {
    let mut world = World::new();
    let foreign = Credentials::new(&Secret::new("south"), &[]).mint("alice", None, 1_700_010_000);
    let mut wrong_secret = Client::with("192.88.1.1:1000", foreign);
    assert_eq!(wrong_secret.allocate(&mut world, &[]).code(), Some(401));
    let mut wrong_realm = Client::new("192.88.1.1:1000", "alice");
    wrong_realm.realm = "elsewhere".into();
    assert_eq!(wrong_realm.allocate(&mut world, &[]).code(), Some(401));
    let nobody = Minted {
        username: "nobody".into(),
        credential: "x".into(),
    };
    let mut nobody = Client::with("192.88.1.1:1000", nobody);
    assert_eq!(nobody.allocate(&mut world, &[]).code(), Some(401));
}

#[test]
fn integrity_without_user_realm_or_nonce_gets_400() {
    let mut world = World::new();
    let client = Client::new("192.88.1.1:1000", "alice");
    let mut out = Vec::new();
    Writer::new(&mut out, Method::ALLOCATE, Class::Request, [1; 12])
        .attribute(Attribute::USERNAME, client.minted.username.as_bytes())
        .integrity(&client.key())
        .fingerprint();
    assert_eq!(
        Response(world.response(&client.route, &out)).code(),
        Some(400)
    );
}

#[test]
fn an_expired_nonce_gets_438_with_a_new_nonce() {
    let mut world = World::new();
    let (mut client, _) = world.allocated("192.88.1.1:1000", "alice");
    assert_eq!(client.refresh(&mut world, 3600).code(), None);
    world.advance(Duration::from_secs(nonce::LIFETIME_SECONDS - 1));
    let lifetime = [(Attribute::LIFETIME, 3600u32.to_be_bytes().to_vec())];
    assert_eq!(
        client
            .request(&mut world, Method::REFRESH, &lifetime)
            .code(),
        None
    );
    world.advance(Duration::from_secs(1));
    let stale = client.request(&mut world, Method::REFRESH, &lifetime);
    assert_eq!(stale.code(), Some(438));
    client.nonce = stale.message().get(Attribute::NONCE).unwrap().to_vec();
    assert_eq!(
        client
            .request(&mut world, Method::REFRESH, &lifetime)
            .code(),
        None
    );
}

#[test]
fn a_nonce_of_another_address_is_stale() {
    let mut world = World::new();
    let mut client = Client::new("192.88.1.1:1000", "alice");
    client.greet(&mut world);
    client.route.client.set_port(1001);
    let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
    assert_eq!(
        client
            .request(&mut world, Method::ALLOCATE, &transport)
            .code(),
        Some(438)
    );
}

#[test]
fn another_users_credential_on_an_allocation_gets_441() {
    let mut world = World::new();
    let (alice, _) = world.allocated("192.88.1.1:1000", "alice");
    let mut bob = Client::new("192.88.1.1:1000", "bob");
    bob.nonce = alice.nonce.clone();
    let response = bob.refresh(&mut world, 0);
    assert_eq!(response.code(), Some(441));
    assert!(response.message().verify(&bob.key()));
    let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
    let response = bob.request(&mut world, Method::ALLOCATE, &transport);
    assert_eq!(
        response.code(),
        Some(437),
        "so that a browser tries another port"
    );
    assert_eq!(world.server.allocations(), 1);
}

#[test]
fn a_revoked_user_gets_401_and_an_unknown_user_is_accepted() {
    let mut world = World::new();
    world.server.config.revocations.revoke_user("alice");
    assert_eq!(
        Client::new("192.88.1.1:1000", "alice")
            .allocate(&mut world, &[])
            .code(),
        Some(401)
    );
    assert_eq!(
        Client::new("192.88.1.1:1000", "stranger")
            .allocate(&mut world, &[])
            .code(),
        None
    );
}

#[test]
fn revocation_ends_only_the_allocations_in_its_scope() {
    let credentials = Credentials::new(&Secret::new("north"), &[]);
    let all = |world: &mut World| {
        for (port, user, room) in [
            (1, "alice", Some(("r1", 0))),
            (2, "alice", Some(("r1", 1))),
            (3, "alice", Some(("r2", 0))),
            (4, "alice", None),
            (5, "bob", Some(("r1", 0))),
        ] {
            let expires = world.now.unix + 600;
            let minted = match room {
                Some((room, generation)) => {
                    credentials.mint_for_member(user, room, generation, expires)
                }
                None => credentials.mint(user, None, expires),
            };
            let mut client = Client::with(&format!("192.88.1.1:{port}"), minted);
            assert_eq!(client.allocate(world, &[]).code(), None);
        }
    };
    for (scope, freed) in [
        (Scope::Room("r1".into(), RevokedGenerations::All), 2),
        (Scope::Room("r1".into(), RevokedGenerations::Before(1)), 1),
        (
            Scope::RoomAndUnbound("r1".into(), RevokedGenerations::All),
            3,
        ),
        (
            Scope::RoomAndUnbound("r1".into(), RevokedGenerations::Before(1)),
            2,
        ),
        (Scope::All, 4),
    ] {
        let mut world = World::new();
        world.server.config.revocations.add_rooms(["r1", "r2"]);
        all(&mut world);
        assert_eq!(world.server.revoke("alice", &scope), freed);
        world.run_orders();
        assert_eq!(world.open_sockets(), 5 - freed);
        assert_eq!(world.ended.len(), freed);
        assert!(world.ended.iter().all(|session| &*session.user == "alice"));
        assert_eq!(world.server.config.quotas.held(), 5 - freed);
    }
}

/// A credential with this username, as a service with the secret mints it.
fn named(name: &str) -> Minted {
    let credentials = Credentials::new(&Secret::new("north"), &[]);
    let credential = credentials.passwords(name).next().expect("a secret");
    Minted {
        username: name.to_owned(),
        credential,
    }
}

#[test]
fn every_username_form_counts_for_and_is_revoked_with_its_user() {
    let config = Config {
        quotas: Arc::new(Quotas::new(100, 8, 100)),
        ..config()
    };
    config.revocations.add_rooms(["lobby"]);
    let mut world = World::with(config);
    let names = [
        "1700010000:alice",
        "1700010000:alice/lobby",
        "1700010000:alice/lobby/7",
        "alice:1700010000",
        "alice/lobby:1700010000",
        "alice/lobby/7:1700010000",
    ];
    for (port, name) in names.iter().enumerate() {
        let mut client = Client::with(&format!("192.88.1.1:{}", 1000 + port), named(name));
        assert_eq!(client.allocate(&mut world, &[]).code(), None, "{name}");
        let session = world.server.session(&client.route).expect("a session");
        assert_eq!(&*session.user, "alice", "{name}");
        let room = name.contains("lobby").then_some("lobby");
        assert_eq!(session.room.as_deref(), room, "{name}");
    }
    for port in [2000, 2001] {
        let mut client = Client::with(&format!("192.88.1.1:{port}"), named(names[3]));
        assert_eq!(client.allocate(&mut world, &[]).code(), None);
    }
    for name in names {
        let mut client = Client::with("192.88.1.1:3000", named(name));
        assert_eq!(client.allocate(&mut world, &[]).code(), Some(486), "{name}");
    }
    world.server.config.revocations.revoke_user("alice");
    assert_eq!(world.server.revoke("alice", &Scope::All), 8);
    for name in names.into_iter().chain(["alice/phone:1700010000"]) {
        let mut client = Client::with("192.88.1.1:3000", named(name));
        assert_eq!(client.allocate(&mut world, &[]).code(), Some(401), "{name}");
    }
}

#[test]
fn text_after_a_slash_that_is_no_room_belongs_to_the_user() {
    let mut world = World::new();
    let revocations = world.server.config.revocations.clone();
    revocations.add_rooms(["lobby"]);
    let name = named("1700010000:alice@chat.example/lobby-2");
    let mut client = Client::with("192.88.1.1:1000", name);
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    let session = world.server.session(&client.route).expect("a session");
    assert_eq!(&*session.user, "alice@chat.example/lobby-2");
    assert_eq!(session.room, None);
    assert_eq!(world.server.close_room("lobby-2"), 0);
    // A device is revoked with its user.
    revocations.revoke_user("alice@chat.example");
    assert_eq!(world.server.revoke("alice@chat", &Scope::All), 0);
    assert_eq!(world.server.revoke("alice@chat.example", &Scope::All), 1);
}

#[test]
fn a_username_without_a_user_counts_by_address_and_can_be_disallowed() {
    let config = Config {
        quotas: Arc::new(Quotas::new(100, 2, 100)),
        ..config()
    };
    let mut world = World::with(config);
    let allocate = |world: &mut World, address: &str, name: &str| {
        let mut client = Client::with(address, named(name));
        client.allocate(world, &[]).code()
    };
    for (address, name, code) in [
        ("192.88.1.1:1000", "1700010000", None),
        ("192.88.1.1:1001", "1700010000:", None),
        ("192.88.1.1:1002", "1700010000", Some(486)),
        ("192.88.1.2:1000", "1700010000", None),
        ("[2a00:0:0:1::1]:1000", "1700010000", None),
        ("[2a00:0:0:1:ffff::2]:1000", "1700010000:", None),
        ("[2a00:0:0:1::3]:1000", "1700010000:", Some(486)),
        ("[2a00:0:0:2::1]:1000", "1700010000:", None),
        // A user whose name is an address has an account of their own.
        ("192.88.1.1:1003", "1700010000:192.88.1.1", None),
    ] {
        assert_eq!(
            allocate(&mut world, address, name),
            code,
            "{address} {name}"
        );
    }
    world.server.config.settings.allow_anonymous = false;
    for name in ["1700010000", "1700010000:"] {
        assert_eq!(allocate(&mut world, "192.88.9.9:1", name), Some(401));
    }
    assert_eq!(allocate(&mut world, "192.88.9.9:1", "1700010000:bob"), None);
}

#[test]
fn an_expired_username_is_rejected_in_every_form() {
    let mut world = World::new();
    for name in [
        "1700000000:alice",
        "alice:1700000000",
        "1700000000",
        "1700000000:",
    ] {
        let mut client = Client::with("192.88.1.1:1000", named(name));
        assert_eq!(client.allocate(&mut world, &[]).code(), Some(401), "{name}");
    }
}

#[test]
fn the_reason_is_reported_to_the_admin_and_hidden_from_the_client() {
    let mut world = World::new();
    world.server.config.revocations.revoke_user("eve");
    let credentials = Credentials::new(&Secret::new("north"), &[]);
    let foreign = Credentials::new(&Secret::new("south"), &[]);
    let named = |username: &str| Minted {
        username: username.into(),
        credential: "x".into(),
    };
    let good = credentials.mint("alice", None, 1_700_010_000);
    let mut responses = Vec::new();
    for (minted, realm, reason) in [
        (
            foreign.mint("alice", None, 1_700_010_000),
            "parlor",
            ErrorReason::BadCredential,
        ),
        (
            credentials.mint("alice", None, 1_700_000_000),
            "parlor",
            ErrorReason::Expired,
        ),
        (
            credentials.mint("eve", None, 1_700_010_000),
            "parlor",
            ErrorReason::Revoked,
        ),
        (named("alice"), "parlor", ErrorReason::UnknownUser),
        (good, "elsewhere", ErrorReason::UnknownRealm),
    ] {
        let mut client = Client::with("192.88.1.1:1000", minted);
        client.realm = realm.into();
        client.greet(&mut world);
        let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
        let request = client.signed(Method::ALLOCATE, [1; 12], &transport);
        let (verdict, response) = world.receive(&client.route, &request);
        let outcome = Outcome::Refused(Method::ALLOCATE, reason);
        assert_eq!(verdict, Verdict::Respond(outcome));
        responses.push(response);
    }
    responses.dedup();
    assert_eq!(responses.len(), 1, "byte for byte");
    assert_eq!(Response(responses.remove(0)).code(), Some(401));
}

/// A server with the longest realm for which the response sizes are guaranteed.
fn world_of_a_long_realm() -> World {
    World::with(Config {
        realm: "sixteen.letters.".into(),
        ..config()
    })
}

#[test]
fn responses_to_unauthenticated_requests_are_small() {
    let mut world = world_of_a_long_realm();
    let client = Client::new("192.88.1.1:1000", "alice");
    let mut out = Vec::new();
    Writer::new(&mut out, Method::ALLOCATE, Class::Request, [1; 12]).fingerprint();
    assert!(world.response(&client.route, &out).len() <= 140);
    out.clear();
    Writer::new(&mut out, Method::BINDING, Class::Request, [1; 12]).fingerprint();
    let response = Response(world.response(&client.route, &out));
    assert_eq!(
        response.address(Attribute::XOR_MAPPED_ADDRESS),
        Some(client.route.client)
    );
    assert!(response.0.len() <= 40);
}

#[test]
fn every_challenge_is_small() {
    let mut world = world_of_a_long_realm();
    for address in ["192.88.1.1:1000", "[2a00::1]:1000"] {
        let mut client = Client::new(address, "alice");
        client.realm = "sixteen.letters.".into();
        client.greet(&mut world);
        let given = client.nonce.clone();
        let credentials = Credentials::new(&Secret::new("north"), &[]);
        let expired = credentials.mint("alice", None, 1);
        let transport = [(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
        for (minted, nonce, code) in [
            (client.minted.clone(), vec![], 438),
            (expired, given.clone(), 401),
            (credentials.mint("", None, 1), given.clone(), 401),
            (
                Credentials::new(&Secret::new("south"), &[]).mint("alice", None, 1),
                given,
                401,
            ),
        ] {
            (client.minted, client.nonce) = (minted, nonce);
            let response = client.request(&mut world, Method::ALLOCATE, &transport);
            assert_eq!(response.code(), Some(code));
            assert!(response.0.len() <= 140, "{} bytes", response.0.len());
        }
    }
}
