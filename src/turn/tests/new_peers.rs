//! `turn.new_peers_per_minute`: a user reaches few new peers at a time.

use super::*;

const ALICE: &str = "192.88.1.1:1000";
const BOB: &str = "192.88.1.2:1000";
const NEW_PEERS: Verdict = Verdict::Dropped(DropReason::NewPeers);

/// A server that lets a user reach three new peers, and one more every 20 seconds.
fn limited() -> Config {
    Config {
        settings: Settings {
            new_peers: Limit::every(Duration::from_secs(20), 3),
            ..settings()
        },
        ..config()
    }
}

fn world() -> World {
    World::with(limited())
}

fn sent(world: &mut World, client: &mut Client, peer: &str) -> Verdict {
    let indication = client.send_indication(peer, b"hello");
    world.receive(&client.route, &indication).0
}

fn is_sent_to(verdict: &Verdict, to: &str) -> bool {
    matches!(verdict, Verdict::ToPeer { peer, .. } if *peer == to.parse().unwrap())
}

#[test]
fn permissions_for_more_new_peers_get_508_until_time_has_passed() {
    let mut world = world();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    for peer in ["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1"] {
        assert_eq!(alice.permit(&mut world, &[peer]).code(), None);
    }
    assert_eq!(alice.permit(&mut world, &["8.8.8.4:1"]).code(), Some(508));
    assert_eq!(
        sent(&mut world, &mut alice, "8.8.8.4:1"),
        Verdict::Dropped(DropReason::NoPermission)
    );
    world.advance(Duration::from_secs(19));
    assert_eq!(alice.permit(&mut world, &["8.8.8.4:1"]).code(), Some(508));
    world.advance(Duration::from_secs(1));
    assert_eq!(alice.permit(&mut world, &["8.8.8.4:1"]).code(), None);
    assert_eq!(alice.permit(&mut world, &["8.8.8.5:1"]).code(), Some(508));
}

#[test]
fn a_request_with_too_many_new_peers_installs_none_and_counts_none() {
    let mut world = world();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    assert_eq!(alice.permit(&mut world, &["8.8.8.1:1"]).code(), None);
    let more = ["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1", "8.8.8.4:1"];
    assert_eq!(alice.permit(&mut world, &more).code(), Some(508));
    assert_eq!(
        sent(&mut world, &mut alice, "8.8.8.2:1"),
        Verdict::Dropped(DropReason::NoPermission)
    );
    assert_eq!(alice.permit(&mut world, &more[..3]).code(), None);
}

#[test]
fn a_refresh_of_permissions_and_channels_does_not_count() {
    let mut world = world();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    let peers = ["8.8.8.1:1", "8.8.8.2:1"];
    for _ in 0..100 {
        world.advance(Duration::from_secs(1));
        assert_eq!(alice.permit(&mut world, &peers).code(), None);
        assert_eq!(alice.bind(&mut world, 0x4001, "8.8.8.1:1").code(), None);
    }
}

#[test]
fn channels_count_each_port() {
    let mut world = world();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    for (number, port) in (0x4001..=0x4003).zip(1..) {
        let peer = format!("8.8.8.8:{port}");
        assert_eq!(alice.bind(&mut world, number, &peer).code(), None);
    }
    assert_eq!(
        alice.bind(&mut world, 0x4004, "8.8.8.8:4").code(),
        Some(508)
    );
    // The channels have installed the permission.
    assert_eq!(alice.permit(&mut world, &["8.8.8.8:5"]).code(), None);
    assert!(is_sent_to(
        &sent(&mut world, &mut alice, "8.8.8.8:3"),
        "8.8.8.8:3"
    ));
}

#[test]
fn a_scan_of_ports_by_send_indications_is_dropped_above_the_limit() {
    let mut world = world();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    alice.permit(&mut world, &["8.8.8.8:1"]);
    for _ in 0..10 {
        for peer in ["8.8.8.8:1", "8.8.8.8:2"] {
            assert!(is_sent_to(&sent(&mut world, &mut alice, peer), peer));
        }
    }
    for port in 3..100 {
        let peer = format!("8.8.8.8:{port}");
        assert_eq!(sent(&mut world, &mut alice, &peer), NEW_PEERS);
    }
    let known = "8.8.8.8:1";
    assert!(is_sent_to(&sent(&mut world, &mut alice, known), known));
}

#[test]
fn send_indications_to_clients_of_this_relay_do_not_count() {
    let mut world = world();
    let (mut alice, a) = world.allocated(ALICE, "alice");
    alice.permit(&mut world, &["198.41.0.4:1"]);
    for port in 0..10 {
        let (mut bob, b) = world.allocated(&format!("192.88.1.2:{}", 1000 + port), "bob");
        assert_eq!(bob.permit(&mut world, &[&a.to_string()]).code(), None);
        let verdict = sent(&mut world, &mut alice, &b.to_string());
        assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == bob.route));
    }
}

#[test]
fn the_allocations_of_a_user_share_the_limit_and_the_peers() {
    let mut world = world();
    let (mut first, _) = world.allocated(ALICE, "alice");
    let (mut second, _) = world.allocated(BOB, "alice");
    let (mut other, _) = world.allocated("192.88.1.3:1000", "carol");
    let peers = ["8.8.8.1:1", "8.8.8.2:1", "8.8.8.3:1"];
    assert_eq!(first.permit(&mut world, &peers[..2]).code(), None);
    assert_eq!(second.permit(&mut world, &peers).code(), None);
    assert_eq!(first.permit(&mut world, &["8.8.8.4:1"]).code(), Some(508));
    first.refresh(&mut world, 0);
    let (mut third, _) = world.allocated(ALICE, "alice");
    assert_eq!(third.permit(&mut world, &peers).code(), None);
    assert_eq!(third.permit(&mut world, &["8.8.8.4:1"]).code(), Some(508));
    assert_eq!(other.permit(&mut world, &["8.8.8.4:1"]).code(), None);
}

#[test]
fn a_peer_is_new_again_ten_minutes_after_its_permission_has_ended() {
    for (pause, codes) in [(899, [None, None]), (901, [None, Some(508)])] {
        let mut world = world();
        let (mut alice, _) = world.allocated(ALICE, "alice");
        assert_eq!(alice.permit(&mut world, &["8.8.8.1:1"]).code(), None);
        alice.refresh(&mut world, 3600);
        world.advance(Duration::from_secs(pause));
        let others = ["8.8.8.2:1", "8.8.8.3:1"];
        assert_eq!(alice.permit(&mut world, &others).code(), None);
        let again = alice.permit(&mut world, &["8.8.8.1:1"]).code();
        let third = alice.permit(&mut world, &["8.8.8.4:1"]).code();
        assert_eq!([again, third], codes, "{pause}");
    }
}

#[test]
fn restored_peers_do_not_count_and_what_was_used_stays_used() {
    let config = limited();
    let mut world = World::with(config.clone());
    let (mut alice, _) = world.allocated(ALICE, "alice");
    alice.permit(&mut world, &["8.8.8.1:1", "8.8.8.2:1"]);
    assert_eq!(alice.bind(&mut world, 0x4001, "8.8.8.2:9").code(), None);
    let mut world = world.restarted(&Config {
        directory: Arc::new(Directory::new(1)),
        quotas: Arc::new(Quotas::new(100, 10, 100)),
        ..config
    });
    assert_eq!(alice.permit(&mut world, &["8.8.8.3:1"]).code(), Some(508));
    let (mut second, _) = world.allocated(BOB, "alice");
    let known = ["8.8.8.1:1", "8.8.8.2:1"];
    assert_eq!(second.permit(&mut world, &known).code(), None);
    assert_eq!(second.bind(&mut world, 0x4001, "8.8.8.2:9").code(), None);
    assert_eq!(second.permit(&mut world, &["8.8.8.3:1"]).code(), Some(508));
}

#[test]
fn without_the_limit_every_peer_is_reached() {
    let mut world = World::new();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    assert_eq!(alice.permit(&mut world, &["8.8.8.8:1"]).code(), None);
    for port in 1..2000 {
        let peer = format!("8.8.8.8:{port}");
        assert!(is_sent_to(&sent(&mut world, &mut alice, &peer), &peer));
    }
    world.server.reconfigure(limited().settings);
    assert_eq!(alice.permit(&mut world, &["8.8.8.8:1"]).code(), None);
    for port in 1..=3 {
        let peer = format!("8.8.8.8:{port}");
        assert!(is_sent_to(&sent(&mut world, &mut alice, &peer), &peer));
    }
    assert_eq!(sent(&mut world, &mut alice, "8.8.8.8:4"), NEW_PEERS);
}
