//! Several shards with one directory.

use std::sync::Barrier;
use std::thread;

use super::*;
use crate::turn::room_key::RoomKey;

const ALICE: &str = "192.88.1.1:1000";
const BOB: &str = "192.88.1.2:1000";

/// Two shards of one relay.
pub(super) fn shards() -> [World; 2] {
    shards_with(config())
}

pub(super) fn shards_with(mut shared: Config) -> [World; 2] {
    shared.directory = Arc::new(Directory::new(2));
    [0, 1].map(|shard| World::of_shard(shared.clone(), shard))
}

/// Passes a verdict of one shard to the other. Returns the verdict of that shard.
pub(super) fn across(to: &mut World, verdict: Verdict, bytes: &[u8]) -> (Verdict, Vec<u8>) {
    let Verdict::ToShard {
        shard,
        from,
        to: relayed,
        ..
    } = verdict
    else {
        panic!("not for another shard: {verdict:?}");
    };
    assert_eq!(shard, to.server.shard);
    to.across(from, relayed, bytes)
}

#[test]
fn a_shard_allocates_its_own_ports() {
    for world in &mut shards() {
        for number in 0..50 {
            let shard = world.server.shard;
            let address = format!("192.88.1.{}:{}", 1 + shard, 1000 + number);
            let (_, relayed) = world.allocated(&address, "alice");
            let directory = &world.server.config.directory;
            assert_eq!(directory.shard_of_port(relayed.port()), shard);
        }
    }
}

#[test]
fn clients_of_two_shards_reach_each_other() {
    let [mut one, mut two] = shards();
    let (mut alice, a) = one.allocated(ALICE, "alice");
    let (mut bob, b) = two.allocated(BOB, "bob");
    alice.bind(&mut one, 0x4001, &b.to_string());
    let (verdict, bytes) = one.receive(&alice.route, &channel_data(0x4001, b"hello"));
    let (verdict, _) = across(&mut two, verdict, &bytes);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoPermission));

    bob.bind(&mut two, 0x4007, &a.to_string());
    let indication = alice.send_indication(&b.to_string(), b"hello");
    for datagram in [channel_data(0x4001, b"hello"), indication] {
        let (verdict, bytes) = one.receive(&alice.route, &datagram);
        let (verdict, bytes) = across(&mut two, verdict, &bytes);
        assert!(matches!(verdict, Verdict::ToClient { route, .. } if route == bob.route));
        assert_eq!(bytes, channel_data(0x4007, b"hello"));
    }
}

#[test]
fn data_for_an_ended_allocation_of_another_shard_is_dropped() {
    let [mut one, mut two] = shards();
    let (mut alice, _) = one.allocated(ALICE, "alice");
    let (mut bob, b) = two.allocated(BOB, "bob");
    alice.bind(&mut one, 0x4001, &b.to_string());
    let (verdict, bytes) = one.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(bob.refresh(&mut two, 0).lifetime(), 0);
    assert_eq!(
        across(&mut two, verdict, &bytes).0,
        Verdict::Dropped(DropReason::NoRelay)
    );
    // From now on the sender's shard drops the data.
    let (verdict, _) = one.receive(&alice.route, &channel_data(0x4001, b"hello"));
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoRelay));
}

#[test]
fn a_message_of_another_shards_client_is_redirected_and_an_unknown_one_is_not() {
    let [mut one, mut two] = shards();
    let (mut alice, _) = one.allocated(ALICE, "alice");
    let transaction = alice.transaction();
    let refresh = alice.signed(Method::REFRESH, transaction, &[]);
    let messages = [
        channel_data(0x4001, b"hello"),
        alice.send_indication("8.8.4.4:9", b"hello"),
        refresh,
    ];
    for message in &messages {
        let (verdict, _) = two.receive(&alice.route, message);
        assert_eq!(verdict, Verdict::Redirect { shard: 0 });
        assert!(!matches!(
            one.receive(&alice.route, message).0,
            Verdict::Redirect { .. }
        ));
    }
    assert_eq!(alice.refresh(&mut one, 0).lifetime(), 0);
    for message in &messages {
        let (verdict, _) = two.receive(&alice.route, message);
        assert!(!matches!(verdict, Verdict::Redirect { .. }), "{verdict:?}");
    }
}

#[test]
fn a_binding_request_is_answered_by_the_shard_that_receives_it() {
    let [mut one, mut two] = shards();
    let (alice, _) = one.allocated(ALICE, "alice");
    let mut request = Vec::new();
    Writer::new(&mut request, Method::BINDING, Class::Request, [1; 12]).fingerprint();
    let (verdict, _) = two.receive(&alice.route, &request);
    assert_eq!(verdict, Verdict::Respond(Outcome::Granted(Method::BINDING)));
}

#[test]
fn a_reserved_port_is_claimed_in_its_own_shard() {
    let [mut one, mut two] = shards();
    let mut alice = Client::new(ALICE, "alice");
    let response = alice.allocate(&mut two, &[(Attribute::EVEN_PORT, vec![0x80])]);
    let message = response.message();
    let token = message.get(Attribute::RESERVATION_TOKEN).unwrap().to_vec();

    let mut again = Client::new(BOB, "alice");
    again.greet(&mut one);
    let transaction = again.transaction();
    let claim = [
        (Attribute::REQUESTED_TRANSPORT, UDP.to_vec()),
        (Attribute::RESERVATION_TOKEN, token),
    ];
    let request = again.signed(Method::ALLOCATE, transaction, &claim);
    let (verdict, _) = one.receive(&again.route, &request);
    assert_eq!(verdict, Verdict::Redirect { shard: 1 });
    let claimed = Response(two.response(&again.route, &request));
    assert_eq!(claimed.code(), None);
    // The client now belongs to the other shard, although the kernel still delivers to this one.
    let (verdict, _) = one.receive(&again.route, &request);
    assert_eq!(verdict, Verdict::Redirect { shard: 1 });
}

#[test]
fn a_peer_with_the_port_of_another_shards_relayed_address_is_reached() {
    let mut shared = config();
    shared.directory = Arc::new(Directory::new(2));
    shared.settings.allowed_peers = vec!["198.41.0.4/32".parse().unwrap()];
    let [mut one, mut two] = [0, 1].map(|shard| World::of_shard(shared.clone(), shard));
    let (mut alice, a) = one.allocated(ALICE, "alice");
    let mut bob = Client::new(BOB, "bob");
    let family = (Attribute::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0]);
    let response = bob.allocate(&mut two, &[family]);
    let b = response.address(Attribute::XOR_RELAYED_ADDRESS).unwrap();
    assert!(a.is_ipv4() && b.is_ipv6());

    let peer = SocketAddr::new(a.ip(), b.port());
    assert_eq!(alice.permit(&mut one, &[&peer.to_string()]).code(), None);
    let indication = alice.send_indication(&peer.to_string(), b"hello");
    let (verdict, _) = one.receive(&alice.route, &indication);
    assert!(
        matches!(verdict, Verdict::ToPeer { peer: to, .. } if to == peer),
        "{verdict:?}"
    );
}

/// The kernel redistributes its flows between a request and its retransmission, so that each
/// reaches another shard at the same time.
#[test]
fn simultaneous_allocates_on_two_shards_make_one_allocation() {
    let [mut one, mut two] = shards();
    for number in 0..200 {
        let mut alice = Client::new(&format!("192.88.1.1:{}", 1000 + number), "alice");
        alice.greet(&mut one);
        let transaction = alice.transaction();
        let udp = (Attribute::REQUESTED_TRANSPORT, UDP.to_vec());
        let request = alice.signed(Method::ALLOCATE, transaction, &[udp]);
        let start = Barrier::new(2);
        let ask = |world: &mut World| {
            start.wait();
            world.receive(&alice.route, &request).0
        };
        let verdicts = thread::scope(|scope| {
            let other = scope.spawn(|| ask(&mut two));
            [ask(&mut one), other.join().unwrap()]
        });
        let passed_on = |shard| Verdict::Redirect { shard };
        let granted_by_one = verdicts == [Verdict::Queued, passed_on(0)];
        let granted_by_two = verdicts == [passed_on(1), Verdict::Queued];
        assert!(granted_by_one || granted_by_two, "{verdicts:?}");
        // The redirected request is a retransmission there, and gets the response of the first.
        let holder = if granted_by_one { &mut one } else { &mut two };
        let (_, first) = holder.responses.pop().unwrap();
        assert_eq!(holder.response(&alice.route, &request), first);
    }
    let both = one.server.allocations() + two.server.allocations();
    assert_eq!((both, one.server.config.quotas.held()), (200, 200));
}

/// A rejected Allocate releases the claim on its client.
#[test]
fn a_rejected_client_may_retry_on_any_shard() {
    let [mut one, mut two] = shards();
    let mut alice = Client::new(ALICE, "alice");
    alice.greet(&mut one);
    let tcp = (Attribute::REQUESTED_TRANSPORT, vec![6, 0, 0, 0]);
    let refused = alice.request(&mut one, Method::ALLOCATE, &[tcp]);
    assert_eq!(refused.code(), Some(442));
    assert!(one.server.config.directory.is_empty());
    assert_eq!(alice.allocate(&mut two, &[]).code(), None);
}

/// Two shards with these ports, all on one IP address.
fn shards_with_ports(first: u16, last: u16) -> [World; 2] {
    let mut shared = config();
    shared.directory = Arc::new(Directory::new(2));
    shared.ports = PortRange { first, last };
    [0, 1].map(|shard| World::of_shard(shared.clone(), shard))
}

#[test]
fn a_shard_without_free_ports_redirects_the_allocate_to_another() {
    // Four ports of each.
    let [mut one, mut two] = shards_with_ports(50_000, 50_007);
    for number in 0..4 {
        one.allocated(&format!("192.88.1.1:{}", 1000 + number), "alice");
    }
    let even = (Attribute::EVEN_PORT, vec![0]);
    let pair = (Attribute::EVEN_PORT, vec![0x80]);
    for (number, more) in [vec![pair], vec![even]].into_iter().enumerate() {
        let mut bob = Client::new(&format!("192.88.1.2:{}", 1000 + number), "bob");
        bob.greet(&mut one);
        let transaction = bob.transaction();
        let transport = vec![(Attribute::REQUESTED_TRANSPORT, UDP.to_vec())];
        let attributes = [transport, more].concat();
        let request = bob.signed(Method::ALLOCATE, transaction, &attributes);
        let (verdict, _) = one.receive(&bob.route, &request);
        assert_eq!(verdict, Verdict::Redirect { shard: 1 });
        assert_eq!(Response(two.response(&bob.route, &request)).code(), None);
        // Further requests of this client reach the shard with its allocation.
        let (verdict, _) = one.receive(&bob.route, &channel_data(0x4001, b"hello"));
        assert_eq!(verdict, Verdict::Redirect { shard: 1 });
    }
}

#[test]
fn without_a_free_port_in_any_shard_an_allocate_gets_508() {
    let mut both = shards_with_ports(50_000, 50_007);
    for number in 0..8 {
        let address = format!("192.88.1.1:{}", 1000 + number);
        both[number % 2].allocated(&address, "alice");
    }
    for world in &mut both {
        let mut bob = Client::new(BOB, "bob");
        assert_eq!(bob.allocate(world, &[]).code(), Some(508));
    }
}

#[test]
fn the_last_free_port_of_many_is_found() {
    let mut world = World::new();
    let PortRange { first, last } = world.server.config.ports;
    let directory = world.server.config.directory.clone();
    let ip = SERVER.parse::<SocketAddr>().unwrap().ip();
    for port in (first..=last).filter(|port| *port != 55_555) {
        directory.add_relayed(SocketAddr::new(ip, port), RoomKey::NONE);
    }
    let mut alice = Client::new(ALICE, "alice");
    world.taken = (first..=last)
        .filter(|port| *port != 55_555)
        .map(|port| SocketAddr::new(ip, port))
        .collect();
    let response = alice.allocate(&mut world, &[]);
    let relayed = response.address(Attribute::XOR_RELAYED_ADDRESS);
    assert_eq!(relayed, Some(SocketAddr::new(ip, 55_555)));
}

#[test]
fn data_after_a_rebinding_reaches_the_shard_of_the_client() {
    let [mut one, mut two] = shards();
    let (alice, _) = one.allocated(ALICE, "alice");
    let mut rebound = alice.route;
    rebound.client.set_port(2000);
    let data = channel_data(0x4001, b"hello");
    let (verdict, _) = two.receive(&rebound, &data);
    assert_eq!(verdict, Verdict::Redirect { shard: 0 });
    // The shard of the client has no such channel, and passes the data to nobody.
    let (verdict, _) = one.receive(&rebound, &data);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoAllocation));
    // Searches are rare.
    let (verdict, _) = two.receive(&rebound, &data);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoAllocation));
    two.advance(Duration::from_millis(50));
    rebound.client.set_ip("192.88.1.3".parse().unwrap());
    let (verdict, _) = two.receive(&rebound, &data);
    assert_eq!(verdict, Verdict::Dropped(DropReason::NoAllocation));
}
