//! The client of a request, determined from example headers and from arbitrary ones.

use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";
const CLIENT: &str = "203.0.113.7";

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn trusted() -> Vec<IpNet> {
    vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
}

fn headers(lines: &[(HeaderName, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

fn client_of(peer: &str, lines: &[(HeaderName, &str)]) -> ClientInfo {
    ClientInfo::new(ip(peer), &headers(lines), &trusted())
}

fn address(lines: &[(HeaderName, &str)]) -> IpAddr {
    client_of(PROXY, lines).address
}

#[test]
fn headers_of_an_untrusted_peer_are_ignored() {
    let lines = [
        (FORWARDED, "for=198.51.100.1;proto=https;host=evil.example"),
        (FOR, "198.51.100.1"),
        (PROTO, "https"),
        (HOST, "evil.example"),
    ];
    let direct = ClientInfo::direct(ip(CLIENT));
    assert_eq!(client_of(CLIENT, &lines), direct);
    let without_proxies = ClientInfo::new(ip(CLIENT), &headers(&lines), &[]);
    assert_eq!(without_proxies, direct);
}

#[test]
fn the_first_untrusted_address_from_the_right_is_the_client() {
    for chain in [
        "203.0.113.7",
        "198.51.100.1, 203.0.113.7",
        "198.51.100.1,203.0.113.7, 10.2.3.4",
        "10.9.9.9, 203.0.113.7:4711, fd00::2",
        "garbage, 203.0.113.7, [fd00::2]:80",
    ] {
        assert_eq!(address(&[(FOR, chain)]), ip(CLIENT), "{chain}");
    }
    let lines = [(FOR, "198.51.100.1, 203.0.113.7"), (FOR, "10.2.3.4")];
    assert_eq!(address(&lines), ip(CLIENT));
}

#[test]
fn the_standard_header_names_client_protocol_and_host() {
    let line = "For=\"[2001:db8::7]:4711\";proto=https;host=\"talk.example:8443\";by=10.0.0.1";
    let expected = ClientInfo {
        https: Some(true),
        host: Some(authority("talk.example:8443")),
        ..ClientInfo::direct(ip("2001:db8::7"))
    };
    assert_eq!(client_of(PROXY, &[(FORWARDED, line)]), expected);
    let chain = format!("for=198.51.100.1;host=evil.example, {line}, for=10.3.3.3;proto=http");
    assert_eq!(client_of(PROXY, &[(FORWARDED, &chain)]), expected);
}

#[test]
fn the_x_forwarded_headers_name_client_protocol_and_host() {
    let lines = [
        (FOR, CLIENT),
        (PROTO, "https"),
        (HOST, "evil.example, talk.example"),
    ];
    let client = client_of(PROXY, &lines);
    assert_eq!(client.address, ip(CLIENT));
    assert_eq!(client.https, Some(true));
    assert_eq!(client.host, Some(authority("talk.example")));
}

#[test]
fn an_invalid_element_makes_the_proxy_that_wrote_it_the_client() {
    for node in [
        "",
        "unknown",
        "_hidden",
        "localhost",
        "203.0.113.7:port",
        "203.0.113.7:99999",
        "[203.0.113.7]",
        "[2001:db8::7",
        "2001:db8::7]",
        "[2001:db8::7]4711",
        "203.0.113",
        "\"203.0.113.7\"",
        "\u{fffd}",
    ] {
        assert_eq!(address(&[(FOR, node)]), ip(PROXY), "{node}");
        let chain = format!("203.0.113.7, {node}, 10.7.7.7");
        assert_eq!(address(&[(FOR, &chain)]), ip("10.7.7.7"), "{node}");
    }
    for element in [
        "",
        "for",
        "for=",
        "for=unknown",
        "for=_hidden",
        "for=203.0.113.7;for=203.0.113.8",
        "for=\"203.0.113.7",
        "for=203.0.113.7\"",
        "for=\"203.0.113.\\7\"",
        "by=203.0.113.7",
    ] {
        let chain = format!("for=203.0.113.9, {element}, for=10.7.7.7");
        let found = address(&[(FORWARDED, &chain)]);
        // An open quote invalidates the elements to its left and none to its right.
        assert_eq!(found, ip("10.7.7.7"), "{element}");
    }
}

#[test]
fn headers_of_both_kinds_that_agree_are_combined() {
    let standard = (FORWARDED, "for=203.0.113.7;proto=https");
    let agreed = client_of(
        PROXY,
        &[standard.clone(), (FOR, CLIENT), (HOST, "talk.example")],
    );
    assert_eq!(agreed.address, ip(CLIENT));
    assert_eq!(agreed.https, Some(true));
    assert_eq!(agreed.host, Some(authority("talk.example")));
    assert_eq!(agreed.alternative, None);
    assert_eq!(agreed.bannable_address(), Some(ip(CLIENT)));
}

#[test]
fn headers_of_both_kinds_that_disagree_give_no_bannable_address() {
    let standard = (FORWARDED, "for=203.0.113.7;proto=https;host=a.example");
    let custom = (FOR, "198.51.100.1");
    let odd = client_of(
        PROXY,
        &[standard, custom, (PROTO, "http"), (HOST, "a.example")],
    );
    assert_eq!(odd.address, ip("198.51.100.1"));
    assert_eq!(odd.alternative, Some(ip(CLIENT)));
    assert_eq!(odd.bannable_address(), None);
    let host = odd.host.clone();
    assert_eq!((odd.https, host), (None, Some(authority("a.example"))));
    assert_eq!(
        odd.ambiguous_address().as_deref(),
        Some("198.51.100.1 or 203.0.113.7")
    );
}

#[test]
fn a_header_without_a_client_leaves_the_decision_to_the_other() {
    for no_client in ["for=unknown", "for=_hidden", "for=10.2.2.2", "garbage", ""] {
        let client = client_of(PROXY, &[(FORWARDED, no_client), (FOR, CLIENT)]);
        assert_eq!(client.bannable_address(), Some(ip(CLIENT)), "{no_client}");
    }
    for no_client in ["unknown", "10.2.2.2", ""] {
        let client = client_of(PROXY, &[(FORWARDED, "for=203.0.113.7"), (FOR, no_client)]);
        assert_eq!(client.bannable_address(), Some(ip(CLIENT)), "{no_client}");
    }
    let client = client_of(PROXY, &[(FORWARDED, "for=203.0.113.7"), (PROTO, "https")]);
    assert_eq!(
        (client.bannable_address(), client.https),
        (Some(ip(CLIENT)), Some(true))
    );
}

#[test]
fn a_proxy_is_never_a_bannable_address() {
    let lines: [&[(HeaderName, &str)]; 5] = [
        &[],
        &[(FOR, "unknown")],
        &[(FOR, "10.2.3.4, 10.2.3.5")],
        &[(FORWARDED, "for=10.2.3.4")],
        &[(FORWARDED, "for=10.2.3.4"), (FOR, "10.2.3.5")],
    ];
    for lines in lines {
        let client = client_of(PROXY, lines);
        assert!(
            client.is_proxy && client.bannable_address().is_none(),
            "{lines:?}"
        );
        assert_eq!(client.ambiguous_address(), Some(client.address.to_string()));
    }
}

#[test]
fn ipv4_within_ipv6_is_ipv4() {
    let client = client_of("::ffff:10.0.0.1", &[(FOR, "::ffff:203.0.113.7")]);
    assert_eq!(client.address, ip(CLIENT));
}

#[test]
fn a_chain_of_proxies_that_is_too_long_is_not_followed() {
    let chain = vec!["10.0.0.9"; 5000].join(",");
    let chain = format!("203.0.113.7,{chain}");
    assert_eq!(address(&[(FOR, &chain)]), ip("10.0.0.9"));
}

#[test]
fn an_invalid_host_is_no_host() {
    let host = |text: &str| client_of(PROXY, &[(FOR, CLIENT), (HOST, text)]).host;
    assert_eq!(host("Talk.example:80"), Some(authority("talk.example:80")));
    for text in [
        "",
        ":80",
        "a b",
        "a/b",
        "a:b",
        "[evil]",
        "a@b",
        "b\u{fc}cher.example",
    ] {
        assert_eq!(host(text), None, "{text}");
    }
}

fn authority(text: &str) -> Authority {
    Authority::parse(text).unwrap()
}

/// Headers of random pieces of real headers.
fn header_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "for=", "For=\"", "proto=https", "host=", "by=", ";", ",", ", ", "\"", "\\", "[", "]",
            "]:80\"", ":", "=", "unknown", "_x", "10.0.0.2", "203.0.113.7", "2001:db8::1",
        ]).prop_map(str::to_owned),
        1 => "[ -~]{0,8}",
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// The forms in which a proxy may write an address.
fn written(ip: IpAddr, port: Option<u16>) -> String {
    match (ip, port) {
        (IpAddr::V4(ip), None) => ip.to_string(),
        (IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
        (IpAddr::V6(ip), None) => format!("[{ip}]"),
        (IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_header_panics_or_changes_the_address_of_an_untrusted_peer(
        lines in prop::collection::vec((0..4usize, header_text()), 0..6),
        peer: [u8; 4],
    ) {
        let names = [FORWARDED, FOR, PROTO, HOST];
        let lines: Vec<_> =
            lines.iter().map(|(n, text)| (names[*n].clone(), text.as_str())).collect();
        let peer = IpAddr::from(peer);
        let client = ClientInfo::new(peer, &headers(&lines), &trusted());
        if !is_trusted(&trusted(), peer) {
            prop_assert_eq!(client.address, peer);
            prop_assert_eq!((&client.https, &client.host), (&None, &None));
        }
        if let Some(host) = client.host {
            prop_assert_eq!(Authority::parse(&host.to_string()), Ok(host));
        }
    }

    #[test]
    fn no_bytes_in_a_header_panic(line: Vec<u8>, name in 0..4usize) {
        let name = [FORWARDED, FOR, PROTO, HOST][name].clone();
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            headers.append(name, value);
        }
        ClientInfo::new(ip(PROXY), &headers, &trusted());
    }

    /// The proxy appends its entry to the right of a header that the client forged.
    #[test]
    fn the_entry_of_the_proxy_outranks_headers_that_the_client_forged(
        forged in header_text(),
        client: [u8; 16],
        port: Option<u16>,
        one_line: bool,
    ) {
        let client = IpAddr::from(client).to_canonical();
        prop_assume!(!is_trusted(&trusted(), client));
        let node = written(client, port);
        for (name, entry) in [(FOR, node.clone()), (FORWARDED, format!("for=\"{node}\""))] {
            let joined = format!("{forged}, {entry}");
            let lines = if one_line {
                vec![(name, joined.as_str())]
            } else {
                vec![(name.clone(), forged.as_str()), (name, entry.as_str())]
            };
            prop_assert_eq!(address(&lines), client);
        }
    }
}
