//! Who is believed to ask, by examples and by arbitrary headers.

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

fn asked(peer: &str, lines: &[(HeaderName, &str)]) -> ClientInfo {
    ClientInfo::new(ip(peer), &headers(lines), &trusted())
}

fn address(lines: &[(HeaderName, &str)]) -> IpAddr {
    asked(PROXY, lines).address
}

#[test]
fn what_an_untrusted_peer_says_changes_nothing() {
    let lines = [
        (FORWARDED, "for=198.51.100.1;proto=https;host=evil.example"),
        (FOR, "198.51.100.1"),
        (PROTO, "https"),
        (HOST, "evil.example"),
    ];
    let direct = ClientInfo::direct(ip(CLIENT));
    assert_eq!(asked(CLIENT, &lines), direct);
    let nobody = ClientInfo::new(ip(CLIENT), &headers(&lines), &[]);
    assert_eq!(nobody, direct);
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
fn the_standard_header_says_it_all_at_once() {
    let line = "For=\"[2001:db8::7]:4711\";proto=https;host=\"talk.example:8443\";by=10.0.0.1";
    let told = ClientInfo {
        https: Some(true),
        host: Some("talk.example:8443".to_owned()),
        ..ClientInfo::direct(ip("2001:db8::7"))
    };
    assert_eq!(asked(PROXY, &[(FORWARDED, line)]), told);
    let chain = format!("for=198.51.100.1;host=evil.example, {line}, for=10.3.3.3;proto=http");
    assert_eq!(asked(PROXY, &[(FORWARDED, &chain)]), told);
}

#[test]
fn the_usual_headers_say_protocol_and_host_too() {
    let lines = [
        (FOR, CLIENT),
        (PROTO, "https"),
        (HOST, "evil.example, talk.example"),
    ];
    let told = asked(PROXY, &lines);
    assert_eq!(told.address, ip(CLIENT));
    assert_eq!(told.https, Some(true));
    assert_eq!(told.host.as_deref(), Some("talk.example"));
}

#[test]
fn what_cannot_be_understood_ends_with_the_proxy_that_said_it() {
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
        // A quote left open swallows what is to the left of it, and nothing to the right.
        assert_eq!(found, ip("10.7.7.7"), "{element}");
    }
}

#[test]
fn two_kinds_of_headers_count_where_they_agree() {
    let standard = (FORWARDED, "for=203.0.113.7;proto=https");
    let agreed = asked(
        PROXY,
        &[standard.clone(), (FOR, CLIENT), (HOST, "talk.example")],
    );
    assert_eq!(agreed.address, ip(CLIENT));
    assert_eq!(agreed.https, Some(true));
    assert_eq!(agreed.host.as_deref(), Some("talk.example"));
    assert_eq!(agreed.alternative, None);
    assert_eq!(agreed.bannable_address(), Some(ip(CLIENT)));
}

#[test]
fn where_two_kinds_of_headers_disagree_the_client_may_be_either_and_nobody_is_to_blame() {
    let standard = (FORWARDED, "for=203.0.113.7;proto=https;host=a.example");
    let custom = (FOR, "198.51.100.1");
    let odd = asked(
        PROXY,
        &[standard, custom, (PROTO, "http"), (HOST, "a.example")],
    );
    assert_eq!(odd.address, ip("198.51.100.1"));
    assert_eq!(odd.alternative, Some(ip(CLIENT)));
    assert_eq!((odd.https, odd.host.as_deref()), (None, Some("a.example")));
    assert_eq!(odd.bannable_address(), None);
    assert_eq!(
        odd.ambiguous_address().as_deref(),
        Some("198.51.100.1 or 203.0.113.7")
    );
}

#[test]
fn a_header_that_names_nobody_leaves_it_to_the_other() {
    for nobody in ["for=unknown", "for=_hidden", "for=10.2.2.2", "garbage", ""] {
        let told = asked(PROXY, &[(FORWARDED, nobody), (FOR, CLIENT)]);
        assert_eq!(told.bannable_address(), Some(ip(CLIENT)), "{nobody}");
    }
    for nobody in ["unknown", "10.2.2.2", ""] {
        let told = asked(PROXY, &[(FORWARDED, "for=203.0.113.7"), (FOR, nobody)]);
        assert_eq!(told.bannable_address(), Some(ip(CLIENT)), "{nobody}");
    }
    let told = asked(PROXY, &[(FORWARDED, "for=203.0.113.7"), (PROTO, "https")]);
    assert_eq!(
        (told.bannable_address(), told.https),
        (Some(ip(CLIENT)), Some(true))
    );
}

#[test]
fn a_proxy_is_never_to_blame() {
    let lines: [&[(HeaderName, &str)]; 5] = [
        &[],
        &[(FOR, "unknown")],
        &[(FOR, "10.2.3.4, 10.2.3.5")],
        &[(FORWARDED, "for=10.2.3.4")],
        &[(FORWARDED, "for=10.2.3.4"), (FOR, "10.2.3.5")],
    ];
    for lines in lines {
        let told = asked(PROXY, lines);
        assert!(
            told.is_proxy && told.bannable_address().is_none(),
            "{lines:?}"
        );
        assert_eq!(told.ambiguous_address(), Some(told.address.to_string()));
    }
}

#[test]
fn ipv4_within_ipv6_is_ipv4() {
    let told = asked("::ffff:10.0.0.1", &[(FOR, "::ffff:203.0.113.7")]);
    assert_eq!(told.address, ip(CLIENT));
}

#[test]
fn a_chain_without_an_end_is_not_followed() {
    let chain = vec!["10.0.0.9"; 5000].join(",");
    let chain = format!("203.0.113.7,{chain}");
    assert_eq!(address(&[(FOR, &chain)]), ip("10.0.0.9"));
}

#[test]
fn nothing_but_a_host_gets_into_a_url() {
    for host in ["talk.example", "a:1", "[::1]", "[::1]:8000", "192.0.2.1:80"] {
        assert!(is_authority(host), "{host}");
    }
    let long = "a".repeat(300);
    for odd in [
        "", ":80", "a b", "a/b", "a\"", "a:b", "[::1", "[evil]", "a@b", "a:1:2", &long,
    ] {
        assert!(!is_authority(odd), "{odd}");
    }
}

/// Pieces that headers are made of, so that arbitrary ones come near to real ones.
fn soup() -> impl Strategy<Value = String> {
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
    fn no_header_panics_or_speaks_for_an_untrusted_peer(
        lines in prop::collection::vec((0..4usize, soup()), 0..6),
        peer: [u8; 4],
    ) {
        let names = [FORWARDED, FOR, PROTO, HOST];
        let lines: Vec<_> =
            lines.iter().map(|(n, text)| (names[*n].clone(), text.as_str())).collect();
        let peer = IpAddr::from(peer);
        let told = ClientInfo::new(peer, &headers(&lines), &trusted());
        if !is_trusted(&trusted(), peer) {
            prop_assert_eq!(told.address, peer);
            prop_assert_eq!((&told.https, &told.host), (&None, &None));
        }
        if let Some(host) = told.host {
            prop_assert!(is_authority(&host));
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

    /// Whatever the client sent itself stands to the left of what its proxy appended.
    #[test]
    fn what_the_proxy_appended_outranks_whatever_the_client_made_up(
        forged in soup(),
        client: [u8; 16],
        port: Option<u16>,
        one_line: bool,
    ) {
        let client = IpAddr::from(client).to_canonical();
        prop_assume!(!is_trusted(&trusted(), client));
        let node = written(client, port);
        for (name, entry) in [(FOR, node.clone()), (FORWARDED, format!("for=\"{node}\""))] {
            let joined = format!("{forged}, {entry}");
            let lines = match one_line {
                true => vec![(name, joined.as_str())],
                false => vec![(name.clone(), forged.as_str()), (name, entry.as_str())],
            };
            prop_assert_eq!(address(&lines), client);
        }
    }
}
