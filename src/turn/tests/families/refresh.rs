//! The ends of relayed addresses of an allocation for both families: Refresh, expiry, revocation.

use super::*;

#[test]
fn a_refresh_with_a_family_ends_only_that_family() {
    for (named, lost, kept) in [(V4, 0, 1), (V6, 1, 0)] {
        let mut world = World::new();
        let (mut client, v4, v6) = dual(&mut world, ALICE, "alice");
        let (relayed, peers) = ([v4, v6], [PEER_V4, PEER_V6]);
        for (number, peer) in [0x4000, 0x4001].into_iter().zip(peers) {
            assert_eq!(client.bind(&mut world, number, peer).code(), None);
        }
        let transaction = client.transaction();
        let zero = [lifetime(0), requested(named)];
        let request = client.signed(Method::REFRESH, transaction, &zero);
        let response = world.response(&client.route, &request);
        assert_eq!(Response(response.clone()).lifetime(), 0);
        assert_eq!(world.response(&client.route, &request), response, "again");
        assert_eq!(counts(&world), (1, 1, 1));
        assert!(world.sockets.contains(&Some(relayed[kept])));
        assert!(!world.server.config.directory.has_relayed(relayed[lost]));

        // Its channels and permissions have ended, those of the other family exist.
        let talk = |world: &mut World, number| {
            let data = channel_data(number, b"hello");
            world.receive(&client.route, &data).0
        };
        let numbers = [0x4000, 0x4001];
        assert_eq!(
            talk(&mut world, numbers[lost]),
            Verdict::Dropped(DropReason::NoChannel)
        );
        assert!(matches!(
            talk(&mut world, numbers[kept]),
            Verdict::ToPeer { .. }
        ));
        assert_eq!(client.permit(&mut world, &[peers[lost]]).code(), Some(443));
        assert_eq!(client.permit(&mut world, &[peers[kept]]).code(), None);
        let session = world.server.session(&client.route).expect("a session");
        assert_eq!(
            (session.relayed, session.relayed_ipv6),
            (relayed[kept], None)
        );

        let gone = [lifetime(600), requested(named)];
        let refreshed = client.request(&mut world, Method::REFRESH, &gone);
        assert_eq!(refreshed.code(), Some(443));
        // Ending the other family ends the allocation.
        let last = [lifetime(0), requested(3 - named)];
        let ended = client.request(&mut world, Method::REFRESH, &last);
        assert_eq!(ended.lifetime(), 0);
        assert_eq!(counts(&world), (0, 0, 0));
        assert_eq!(world.ended.len(), 1);
        assert_eq!(client.refresh(&mut world, 600).code(), Some(437));
    }
}

#[test]
fn a_refresh_for_a_family_without_relayed_address_gets_443() {
    let mut world = World::new();
    let (mut client, _) = world.allocated(ALICE, "alice");
    for family in [V6, 3] {
        for seconds in [0, 600] {
            let attributes = [lifetime(seconds), requested(family)];
            let response = client.request(&mut world, Method::REFRESH, &attributes);
            assert_eq!(response.code(), Some(443));
        }
    }
    let right = [lifetime(700), requested(V4)];
    let response = client.request(&mut world, Method::REFRESH, &right);
    assert_eq!(response.lifetime(), 700);
}

#[test]
fn each_of_two_relayed_addresses_expires_on_its_own() {
    let mut world = World::new();
    let (mut client, v4, v6) = dual(&mut world, ALICE, "alice");
    let longer = [lifetime(1000), requested(V6)];
    assert_eq!(
        client.request(&mut world, Method::REFRESH, &longer).code(),
        None
    );
    world.advance(Duration::from_secs(599));
    assert_eq!(counts(&world), (1, 2, 2));
    world.advance(Duration::from_secs(1));
    assert_eq!(counts(&world), (1, 1, 1));
    assert!(!world.sockets.contains(&Some(v4)) && world.sockets.contains(&Some(v6)));
    assert_eq!(client.permit(&mut world, &[PEER_V4]).code(), Some(443));
    world.advance(Duration::from_secs(399));
    assert_eq!(counts(&world), (1, 1, 1));
    world.advance(Duration::from_secs(1));
    assert_eq!(counts(&world), (0, 0, 0));
    assert!(world.server.config.directory.is_empty());
}

#[test]
fn a_refresh_without_a_family_extends_both() {
    let mut world = World::new();
    let (mut client, ..) = dual(&mut world, ALICE, "alice");
    let longer = [lifetime(3000), requested(V4)];
    client.request(&mut world, Method::REFRESH, &longer);
    assert_eq!(client.refresh(&mut world, 900).lifetime(), 900);
    world.advance(Duration::from_secs(899));
    assert_eq!(counts(&world), (1, 2, 2));
    world.advance(Duration::from_secs(1));
    assert_eq!(counts(&world), (0, 0, 0));
}

#[test]
fn revocation_ends_both_relayed_addresses() {
    let mut world = World::new();
    dual(&mut world, ALICE, "alice");
    assert_eq!(world.server.revoke("alice", &Scope::All), 1);
    world.run_orders();
    assert_eq!(counts(&world), (0, 0, 0));
}
