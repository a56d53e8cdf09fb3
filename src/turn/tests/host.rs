//! Changes of this host's addresses, and the relayed addresses that clients get.

use super::*;
use std::net::{IpAddr, SocketAddrV6};

const FAR: &str = "192.88.1.1:1000";
const FAR_V6: &str = "[2001:500::1]:1000";
const V4: u8 = 1;
const V6: u8 = 2;

fn requested(family: u8) -> (Attribute, Vec<u8>) {
    (Attribute::REQUESTED_ADDRESS_FAMILY, vec![family, 0, 0, 0])
}

fn address(ip: &str) -> HostAddress {
    HostAddress {
        ip: ip.parse().unwrap(),
        interface: 1,
        state: AddressState::Preferred,
        temporary: false,
    }
}

/// A host that serves clients on all of `addresses`.
fn serving(addresses: Vec<HostAddress>, sources: &[&str], external: &[&str]) -> Host {
    let sources: Vec<_> = sources.iter().map(|ip| ip.parse().unwrap()).collect();
    let external = external.iter().map(|one| nat_mapping(one)).collect();
    let listeners = ["0.0.0.0:3478", "[::]:3478"].map(|one| one.parse().unwrap());
    Host::new(addresses, &sources, external, listeners.into(), Vec::new())
}

fn world_with(host: Host) -> World {
    World::with(Config {
        host: Arc::new(host),
        ..config()
    })
}

impl World {
    fn set_addresses(&mut self, host: Host) {
        self.server.set_host(self.now, Arc::new(host));
        self.run_orders();
    }

    fn lose_addresses(&mut self, ips: &[&str]) {
        self.set_addresses(host(ips));
    }
}

/// Returns the relayed address of a client that sends to `server`, or the error code.
fn allocate_at(
    world: &mut World,
    client: &str,
    server: &str,
    family: Option<u8>,
) -> Result<String, u16> {
    let mut client = Client::new(client, "alice");
    client.route.server = SocketAddr::new(server.parse().unwrap(), 3478);
    let more: Vec<_> = family.map(requested).into_iter().collect();
    let response = client.allocate(world, &more);
    match response.code() {
        Some(code) => Err(code),
        None => Ok(response.relayed()[0].ip().to_string()),
    }
}

#[test]
fn a_relayed_address_uses_the_address_that_received_the_request() {
    let mut world = World::with(Config {
        host: Arc::new(host(&["198.41.0.4", "198.41.0.5", "10.0.0.1"])),
        ..config()
    });
    // The last address is not listed: only a local route leads to it.
    for server in ["198.41.0.5", "10.0.0.1", "198.41.0.4", "198.41.0.99"] {
        let port = server.len() + usize::from(server.as_bytes()[9 % server.len()]);
        let client = format!("192.88.1.1:{port}");
        assert_eq!(
            allocate_at(&mut world, &client, server, None),
            Ok(server.into())
        );
    }
}

#[test]
fn an_ipv6_only_host_offers_no_loopback_to_clients_elsewhere() {
    let mut world = world_with(host(&["127.0.0.1", "::1", "2a00::4"]));
    assert_eq!(
        allocate_at(&mut world, FAR_V6, "2a00::4", None),
        Ok("2a00::4".into())
    );
    let named = "[2001:500::2]:1000";
    assert_eq!(
        allocate_at(&mut world, named, "2a00::4", Some(V4)),
        Err(440)
    );
    assert_eq!(
        allocate_at(&mut world, "[::1]:1000", "::1", None),
        Ok("127.0.0.1".into()),
        "who is on loopback reaches loopback"
    );
    assert_eq!(
        allocate_at(&mut world, "[::1]:1001", "::1", Some(V6)),
        Ok("::1".into())
    );
}

#[test]
fn an_ipv4_only_host_offers_no_loopback_to_clients_elsewhere() {
    let mut world = world_with(host(&["127.0.0.1", "::1", "198.41.0.4"]));
    assert_eq!(
        allocate_at(&mut world, FAR, "198.41.0.4", Some(V6)),
        Err(440)
    );
    let mut both = Client::new("192.88.1.2:1000", "alice");
    let additional = (Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![V6, 0, 0, 0]);
    let response = both.allocate(&mut world, &[additional]);
    assert_eq!(response.relayed().len(), 1);
    assert!(
        response
            .message()
            .get(Attribute::ADDRESS_ERROR_CODE)
            .is_some()
    );
}

#[test]
fn a_client_forwarded_through_loopback_gets_a_reachable_address() {
    let mut world = world_with(host(&["127.0.0.1", "198.41.0.4"]));
    assert_eq!(
        allocate_at(&mut world, FAR, "127.0.0.1", None),
        Ok("198.41.0.4".into())
    );
    let mut world = world_with(host(&["127.0.0.1"]));
    assert_eq!(allocate_at(&mut world, FAR, "127.0.0.1", None), Err(440));
    let mut inside = world_with(host(&["127.0.0.1"]));
    inside.server.policy.internal = true;
    assert_eq!(
        allocate_at(&mut inside, FAR, "127.0.0.1", None),
        Ok("127.0.0.1".into()),
        "a number is as good as any other"
    );
}

#[test]
fn link_local_addresses_are_for_clients_on_that_link() {
    let here = |ip: &str, interface| HostAddress {
        interface,
        ..address(ip)
    };
    let addresses = vec![
        here("fe80::1", 1),
        here("fe80::2", 2),
        here("169.254.0.1", 2),
        here("2a00::4", 2),
    ];
    let mut world = world_with(serving(addresses, &[], &[]));
    let on_link = |scope, port| SocketAddrV6::new("fe80::9".parse().unwrap(), port, 0, scope);
    for (scope, server) in [(1, "fe80::1"), (2, "fe80::2")] {
        let mut client = Client::new(FAR_V6, "alice");
        client.route.client = on_link(scope, 1000).into();
        client.route.server = SocketAddr::new(server.parse().unwrap(), 3478);
        let relayed = client.allocate(&mut world, &[requested(V6)]).relayed()[0];
        assert_eq!(relayed.ip().to_string(), server);
        // The system cannot bind a link-local address without its scope.
        let bound = world.sockets.last().copied().flatten();
        assert!(matches!(bound, Some(SocketAddr::V6(bound)) if bound.scope_id() == scope));
    }
    let mut client = Client::new(FAR_V6, "alice");
    client.route.client = on_link(2, 1001).into();
    client.route.server = SocketAddr::new("fe80::2".parse().unwrap(), 3478);
    let relayed = client.allocate(&mut world, &[requested(V4)]).relayed()[0];
    assert_eq!(relayed.ip().to_string(), "169.254.0.1");
    client.route.client = on_link(1, 1002).into();
    client.route.server = SocketAddr::new("fe80::1".parse().unwrap(), 3478);
    assert_eq!(
        client.allocate(&mut world, &[requested(V4)]).code(),
        Some(440)
    );
    assert_eq!(
        allocate_at(&mut world, FAR_V6, "fe80::2", Some(V6)),
        Ok("2a00::4".into())
    );
    assert_eq!(
        allocate_at(&mut world, "[2001:500::2]:1", "2a00::4", Some(V4)),
        Err(440)
    );
}

#[test]
fn the_best_address_of_the_other_family_is_offered() {
    let temporary = HostAddress {
        temporary: true,
        ..address("2a00::8")
    };
    let deprecated = HostAddress {
        state: AddressState::Deprecated,
        ..address("2a00::6")
    };
    let tentative = HostAddress {
        state: AddressState::Unusable,
        ..address("2a00::5")
    };
    for (addresses, sources, external, best) in [
        (
            vec![address("172.17.0.1"), address("198.41.0.4")],
            vec![],
            vec![],
            Ok("198.41.0.4"),
        ),
        // A bridge, and the source address of packets to the internet.
        (
            vec![address("172.17.0.1"), address("10.0.0.5")],
            vec!["10.0.0.5"],
            vec![],
            Ok("10.0.0.5"),
        ),
        (
            vec![address("172.17.0.1"), address("10.0.0.5")],
            vec![],
            vec![],
            Ok("172.17.0.1"),
        ),
        (
            vec![address("198.41.0.9"), address("10.0.0.5")],
            vec!["198.41.0.9"],
            vec!["198.41.0.4/10.0.0.5"],
            Ok("198.41.0.4"),
        ),
        (
            vec![address("172.17.0.1"), address("10.0.0.5")],
            vec!["10.0.0.5"],
            vec!["198.41.0.4"],
            Ok("198.41.0.4"),
        ),
        (
            vec![address("127.0.0.1"), address("169.254.3.3")],
            vec![],
            vec![],
            Err(440),
        ),
    ] {
        let addresses = [addresses, vec![address("2a00::4")]].concat();
        let mut world = world_with(serving(addresses, &sources, &external));
        let best = best.map(str::to_owned);
        assert_eq!(
            allocate_at(&mut world, FAR_V6, "2a00::4", Some(V4)),
            best,
            "{sources:?} {external:?}"
        );
    }
    for (addresses, best) in [
        (vec![address("fd00::1"), address("2a00::7")], Ok("2a00::7")),
        (vec![address("fd00::1")], Ok("fd00::1")),
        (vec![temporary, address("2a00::7")], Ok("2a00::7")),
        (vec![temporary], Ok("2a00::8")),
        (vec![deprecated, address("fd00::1")], Ok("fd00::1")),
        (vec![deprecated, tentative], Err(440)),
        // Tunnels (RFC 8656 section 21.4).
        (
            vec![address("2002:c629:4::1"), address("2001:0:808:808::1")],
            Err(440),
        ),
    ] {
        let addresses = [addresses, vec![address("198.41.0.4")]].concat();
        let mut world = world_with(serving(addresses, &[], &[]));
        let best = best.map(str::to_owned);
        assert_eq!(allocate_at(&mut world, FAR, "198.41.0.4", Some(V6)), best);
    }
}

#[test]
fn a_family_that_no_listener_serves_is_not_offered() {
    let addresses = vec![address("198.41.0.4"), address("2a00::4")];
    let listeners = vec!["198.41.0.4:3478".parse().unwrap()];
    let mut world = world_with(Host::new(addresses, &[], Vec::new(), listeners, Vec::new()));
    assert_eq!(
        allocate_at(&mut world, FAR, "198.41.0.4", Some(V6)),
        Err(440)
    );
}

#[test]
fn without_turn_listeners_the_addresses_of_http_listeners_are_used() {
    let addresses = vec![address("198.41.0.4"), address("2a00::4")];
    let http = vec!["[::]:443".parse().unwrap()];
    let host = Host::new(addresses, &[], Vec::new(), Vec::new(), http);
    let offered: Vec<_> = host.offered().map(|(ip, _)| ip.to_string()).collect();
    assert_eq!(offered, ["2a00::4"]);
    let mut world = world_with(host);
    assert_eq!(
        allocate_at(&mut world, FAR, "198.41.0.4", None),
        Ok("198.41.0.4".into())
    );
    let six = allocate_at(&mut world, "192.88.1.2:1", "198.41.0.4", Some(V6));
    assert_eq!(six, Ok("2a00::4".into()));
}

#[test]
fn a_deprecated_address_keeps_its_allocations_and_gets_no_new_ones() {
    let mut world = world_with(host(&["2a00::4", "2a00::5"]));
    let mut client = Client::new(FAR_V6, "alice");
    client.route.server = "[2a00::4]:3478".parse().unwrap();
    assert_eq!(client.allocate(&mut world, &[]).code(), None);
    let deprecated = HostAddress {
        state: AddressState::Deprecated,
        ..address("2a00::4")
    };
    world.set_addresses(serving(vec![deprecated, address("2a00::5")], &[], &[]));
    world.advance(Duration::from_secs(60));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
    let other = "[2001:500::2]:1000";
    assert_eq!(
        allocate_at(&mut world, other, "2a00::4", None),
        Ok("2a00::5".into())
    );
    world.set_addresses(serving(vec![deprecated], &[], &[]));
    let third = "[2001:500::3]:1000";
    assert_eq!(allocate_at(&mut world, third, "2a00::4", None), Err(440));
}

#[test]
fn allocations_end_10_seconds_after_their_address_is_lost() {
    let mut world = world_with(host(&["198.41.0.4", "198.41.0.5"]));
    let (mut client, _) = world.allocated(FAR, "alice");
    let mut other = Client::new("192.88.1.2:1000", "bob");
    other.route.server = "198.41.0.5:3478".parse().unwrap();
    assert_eq!(other.allocate(&mut world, &[]).code(), None);
    world.lose_addresses(&["198.41.0.5"]);
    world.advance(Duration::from_millis(9_999));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
    assert_eq!(
        world.server.next_deadline().unwrap(),
        world.now.mono + Duration::from_millis(1)
    );
    world.advance(Duration::from_millis(1));
    assert_eq!(client.refresh(&mut world, 600).code(), Some(437));
    assert_eq!((world.ended.len(), world.open_sockets()), (1, 1));
    assert_eq!(world.server.config.quotas.held(), 1);
    assert_eq!(
        other.refresh(&mut world, 600).code(),
        None,
        "another address, another fate"
    );
}

#[test]
fn an_address_that_comes_back_in_time_keeps_its_allocations() {
    let mut world = world_with(host(&["198.41.0.4"]));
    let (mut client, _) = world.allocated(FAR, "alice");
    for _ in 0..3 {
        world.lose_addresses(&[]);
        world.advance(Duration::from_secs(9));
        world.lose_addresses(&["198.41.0.4"]);
        world.advance(Duration::from_secs(9));
    }
    assert_eq!(client.refresh(&mut world, 600).code(), None);
}

#[test]
fn no_new_allocation_uses_a_lost_address() {
    let mut world = world_with(host(&["198.41.0.4", "198.41.0.5"]));
    world.lose_addresses(&["198.41.0.5"]);
    // A stream may have arrived at this address earlier.
    assert_eq!(
        allocate_at(&mut world, FAR, "198.41.0.4", None),
        Ok("198.41.0.5".into())
    );
}

#[test]
fn only_the_relayed_address_on_a_lost_address_ends() {
    let mut world = world_with(host(&["198.41.0.4", "2a00::4"]));
    let mut client = Client::new(FAR, "alice");
    let additional = (Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![V6, 0, 0, 0]);
    assert_eq!(
        client.allocate(&mut world, &[additional]).relayed().len(),
        2
    );
    world.lose_addresses(&["198.41.0.4"]);
    world.advance(Duration::from_secs(10));
    let v6 = client.request(&mut world, Method::REFRESH, &[requested(V6)]);
    assert_eq!(v6.code(), Some(443));
    let v4 = client.request(&mut world, Method::REFRESH, &[requested(V4)]);
    assert_eq!((v4.code(), world.open_sockets()), (None, 1));
}

#[test]
fn a_port_reserved_on_a_lost_address_is_freed() {
    let mut world = world_with(host(&["198.41.0.4", "198.41.0.5"]));
    let mut client = Client::new(FAR, "alice");
    let pair = (Attribute::EVEN_PORT, vec![0x80]);
    let response = client.allocate(&mut world, &[pair]);
    let token = response
        .message()
        .get(Attribute::RESERVATION_TOKEN)
        .unwrap()
        .to_vec();
    world.lose_addresses(&["198.41.0.5"]);
    world.advance(Duration::from_secs(10));
    assert_eq!(world.open_sockets(), 0);
    let mut second = Client::new("192.88.1.1:1001", "alice");
    let response = second.allocate(&mut world, &[(Attribute::RESERVATION_TOKEN, token)]);
    assert_eq!(response.code(), Some(508));
}

#[test]
fn a_new_address_is_denied_as_a_peer_before_and_while_it_is_offered() {
    const NEW: &str = "198.41.0.5";
    let mut world = world_with(host(&["198.41.0.4"]));
    let (mut client, _) = world.allocated(FAR, "alice");
    let peer = format!("{NEW}:9000");
    assert_eq!(client.bind(&mut world, 0x4001, &peer).code(), None);
    world.server.deny_peers(&[NEW.parse().unwrap()]);
    let (verdict, _) = world.receive(&client.route, &channel_data(0x4001, b"hello"));
    assert_eq!(
        verdict,
        Verdict::Dropped(DropReason::NoChannel),
        "the permission is removed"
    );
    assert_eq!(client.permit(&mut world, &[&peer]).code(), Some(403));
    world.lose_addresses(&["198.41.0.4", NEW]);
    assert_eq!(client.permit(&mut world, &[&peer]).code(), Some(403));
    assert_eq!(
        allocate_at(&mut world, "192.88.1.2:1", NEW, None),
        Ok(NEW.into())
    );
    // The address stays denied while allocations may exist on it.
    world.lose_addresses(&["198.41.0.4"]);
    let listener = format!("{NEW}:3478");
    assert_eq!(client.bind(&mut world, 0x4002, &listener).code(), Some(403));
    world.advance(Duration::from_secs(10));
    assert_eq!(
        client.bind(&mut world, 0x4002, &listener).code(),
        None,
        "somebody else's by now"
    );
}

#[test]
fn an_unlisted_address_is_denied_as_a_peer_once_it_has_a_relayed_address() {
    let mut world = world_with(host(&["198.41.0.4"]));
    let (mut client, _) = world.allocated(FAR, "alice");
    assert_eq!(client.bind(&mut world, 0x4001, "198.41.7.7:9").code(), None);
    assert_eq!(
        allocate_at(&mut world, "192.88.1.2:1", "198.41.7.7", None),
        Ok("198.41.7.7".into())
    );
    assert!(!world.server.policy().permits("198.41.7.7".parse().unwrap()));
    // The list of unlisted addresses is bounded.
    for last in 0..100u16 {
        let server = format!("198.41.8.{last}");
        let client = format!("192.88.1.3:{}", 1 + last);
        allocate_at(&mut world, &client, &server, None).unwrap();
    }
    assert!(world.server.policy().own.len() < 70);
    let beyond = allocate_at(&mut world, "192.88.1.4:1", "198.41.9.9", None);
    assert_eq!(beyond, Ok("198.41.0.4".into()));
}

#[test]
fn a_new_nat_mapping_applies_to_new_allocations_only() {
    let inside = vec![address("10.0.0.5")];
    let mut world = world_with(serving(inside.clone(), &[], &["198.41.0.4"]));
    let mut client = Client::new(FAR, "alice");
    client.route.server = "10.0.0.5:3478".parse().unwrap();
    let relayed = client.allocate(&mut world, &[]).relayed()[0];
    assert_eq!(relayed.ip().to_string(), "198.41.0.4");
    world.set_addresses(serving(inside, &[], &["198.41.0.5"]));
    world.advance(Duration::from_secs(60));
    assert_eq!(client.refresh(&mut world, 600).code(), None);
    let new = allocate_at(&mut world, "192.88.1.2:1", "10.0.0.5", None);
    assert_eq!(new, Ok("198.41.0.5".into()));
    // Both clients can relay to each other, and neither address reaches this host's services.
    assert_eq!(
        client.bind(&mut world, 0x4001, &relayed.to_string()).code(),
        None
    );
    for public in ["198.41.0.5:3478", "198.41.0.5:22"] {
        assert!(!world.server.policy().permits_port(public.parse().unwrap()));
    }
}

#[test]
fn restored_allocations_on_a_lost_address_end_after_10_seconds() {
    let mut world = world_with(host(&["198.41.0.4"]));
    let (mut client, _) = world.allocated(FAR, "alice");
    let earlier = world.server.policy().clone();
    let mut config = world.server.config.clone();
    config.host = Arc::new(host(&["198.41.0.5"]));
    config.directory = Arc::new(Directory::new(1));
    config.quotas = Arc::new(Quotas::new(1000, 200, 1000));
    let mut next = world.restarted(&config);
    let now = next.now;
    let own: Vec<IpAddr> = earlier.own;
    next.server.addresses_lost(now, own);
    next.advance(Duration::from_millis(9_999));
    assert_eq!(client.refresh(&mut next, 600).code(), None);
    next.advance(Duration::from_millis(1));
    assert_eq!(client.refresh(&mut next, 600).code(), Some(437));
}
