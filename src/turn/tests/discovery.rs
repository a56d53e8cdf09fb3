//! Binding responses from four endpoints (RFC 5780 section 6.1).

use super::*;

const CLIENT: &str = "192.88.1.1:1000";

/// Two addresses with two ports each, behind NAT.
const PLACES: [&str; 4] = [
    "10.0.0.1:3478",
    "10.0.0.1:3479",
    "10.0.0.2:3478",
    "10.0.0.2:3479",
];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn public(endpoint: usize) -> SocketAddr {
    let inside = address(PLACES[endpoint]);
    let public = ["198.41.0.4", "198.41.0.5"][endpoint / 2];
    SocketAddr::new(public.parse().unwrap(), inside.port())
}

fn world() -> World {
    let endpoint = |index: usize| Endpoint {
        address: address(PLACES[index]),
        public: public(index),
        via: 10 + index as u32,
    };
    World::with(Config {
        discovery: Discovery::new(vec![[0, 1, 2, 3].map(endpoint)]),
        ..config()
    })
}

fn route_to(endpoint: usize) -> Route {
    Route {
        transport: Transport::Udp,
        client: address(CLIENT),
        server: address(PLACES[endpoint]),
        via: 10 + endpoint as u32,
    }
}

fn binding(attributes: &[(Attribute, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, Method::BINDING, Class::Request, [3; 12]);
    for (attribute, value) in attributes {
        writer = writer.attribute(*attribute, value);
    }
    writer.fingerprint();
    out
}

fn change(flags: u8) -> Vec<u8> {
    binding(&[(Attribute::CHANGE_REQUEST, &[0, 0, 0, flags])])
}

/// Decodes a plain IPv4 address, for example MAPPED-ADDRESS.
fn plain(response: &Response, attribute: Attribute) -> Option<SocketAddr> {
    let message = response.message();
    let [0, 1, high, low, ip @ ..] = message.get(attribute)? else {
        panic!("{attribute:?}");
    };
    let ip: [u8; 4] = ip.try_into().unwrap();
    Some((ip, u16::from_be_bytes([*high, *low])).into())
}

/// Returns the endpoint that sends the response, and the response.
fn response(world: &mut World, to: usize, request: &[u8]) -> (usize, Response) {
    let route = route_to(to);
    let (from, bytes) = match world.receive(&route, request) {
        (Verdict::Respond(_), bytes) => (route, bytes),
        (Verdict::Queued, _) => world.responses.pop().expect("a response"),
        (other, _) => panic!("{other:?}"),
    };
    assert_eq!(from.client, address(CLIENT));
    let endpoint = PLACES
        .iter()
        .position(|endpoint| address(endpoint) == from.server);
    let endpoint = endpoint.expect("one of four");
    assert_eq!(from.via, 10 + endpoint as u32);
    (endpoint, Response(bytes))
}

#[test]
fn a_response_is_sent_from_the_endpoint_that_the_request_names() {
    let mut world = world();
    for to in 0..4 {
        for (flags, other) in [(0, 0), (0x02, 1), (0x04, 2), (0x06, 3), (0xf9, 0)] {
            let (from, response) = response(&mut world, to, &change(flags));
            assert_eq!(from, to ^ other, "{flags:#x} to {to}");
            let client = Some(address(CLIENT));
            assert_eq!(response.address(Attribute::XOR_MAPPED_ADDRESS), client);
            assert_eq!(plain(&response, Attribute::MAPPED_ADDRESS), client);
            let origin = plain(&response, Attribute::RESPONSE_ORIGIN);
            assert_eq!(origin, Some(public(from)));
            // OTHER-ADDRESS depends on the endpoint that received the request only.
            let other = plain(&response, Attribute::OTHER_ADDRESS);
            assert_eq!(other, Some(public(to ^ 3)));
        }
    }
}

#[test]
fn a_request_without_change_request_gets_both_endpoints() {
    let (from, response) = response(&mut world(), 0, &binding(&[]));
    assert_eq!(from, 0);
    assert_eq!(
        plain(&response, Attribute::RESPONSE_ORIGIN),
        Some(public(0))
    );
    assert_eq!(plain(&response, Attribute::OTHER_ADDRESS), Some(public(3)));
    assert!(response.0.len() <= 76, "{} bytes", response.0.len());
}

#[test]
fn without_another_endpoint_change_request_is_unknown() {
    let mut discovering = world();
    let over_tcp = Route {
        transport: Transport::Tcp,
        ..route_to(0)
    };
    let elsewhere = Route {
        server: address("10.0.0.3:3478"),
        ..route_to(0)
    };
    for route in [over_tcp, elsewhere] {
        let refused = Response(discovering.receive(&route, &change(6)).1);
        assert_eq!(refused.code(), Some(420));
        let list = refused.message().get(Attribute::UNKNOWN_ATTRIBUTES);
        assert_eq!(list, Some(&[0x00, 0x03][..]));
        // The response is equal to that of a server without discovery.
        let (_, bytes) = discovering.receive(&route, &binding(&[]));
        assert_eq!(bytes, World::new().receive(&route, &binding(&[])).1);
        assert!(bytes.len() <= 40);
    }
    let (_, refused) = World::new().receive(&route_to(0), &change(6));
    assert_eq!(Response(refused).code(), Some(420));
}

#[test]
fn response_port_and_padding_are_unknown() {
    let (padding, response_port) = (Attribute(0x0026), Attribute(0x0027));
    for (attribute, value) in [
        (padding, &[0; 64][..]),
        (response_port, &[0x0d, 0x96, 0, 0]),
    ] {
        let request = binding(&[
            (Attribute::CHANGE_REQUEST, &[0, 0, 0, 6]),
            (attribute, value),
        ]);
        let (from, refused) = response(&mut world(), 0, &request);
        assert_eq!((from, refused.code()), (0, Some(420)));
        // CHANGE-REQUEST is supported, and not in the list.
        let list = refused.message().get(Attribute::UNKNOWN_ATTRIBUTES);
        assert_eq!(list, Some(&attribute.0.to_be_bytes()[..]));
    }
}

#[test]
fn a_change_request_of_another_length_is_a_bad_request() {
    for value in [&[][..], &[6], &[0, 0, 0, 6, 0, 0, 0, 0]] {
        let request = binding(&[(Attribute::CHANGE_REQUEST, value)]);
        let (from, refused) = response(&mut world(), 0, &request);
        assert_eq!((from, refused.code()), (0, Some(400)));
    }
}

#[test]
fn change_request_is_unknown_in_other_requests() {
    let mut world = world();
    let mut client = Client::new(CLIENT, "alice");
    client.route = route_to(0);
    let change = (Attribute::CHANGE_REQUEST, vec![0, 0, 0, 6]);
    let refused = client.allocate(&mut world, &[change]);
    assert_eq!(refused.code(), Some(420));
    let list = refused.message().get(Attribute::UNKNOWN_ATTRIBUTES);
    assert_eq!(list, Some(&[0x00, 0x03][..]));
}

#[test]
fn the_second_port_serves_binding_only() {
    let mut world = world();
    for (endpoint, answered) in [(0, true), (1, false), (2, true), (3, false)] {
        let mut out = Vec::new();
        Writer::new(&mut out, Method::ALLOCATE, Class::Request, [5; 12])
            .attribute(Attribute::REQUESTED_TRANSPORT, &UDP)
            .fingerprint();
        let (verdict, _) = world.receive(&route_to(endpoint), &out);
        let dropped = verdict == Verdict::Dropped(DropReason::NotForServer);
        assert_eq!(answered, !dropped, "{endpoint}: {verdict:?}");
    }
}

#[test]
fn responses_from_another_endpoint_count_for_the_unauthenticated_rate() {
    let mut world = world();
    let rate = Limit::per_second(1, 2);
    world.server.config.settings.unauthenticated = Arc::new(PerIpLimiter::new(rate, 64));
    for request in [change(6), change(2)] {
        response(&mut world, 0, &request);
    }
    let (verdict, _) = world.receive(&route_to(0), &change(6));
    assert_eq!(verdict, Verdict::Dropped(DropReason::UnauthenticatedRate));
    assert!(world.responses.is_empty());
}
