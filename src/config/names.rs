//! Internationalised names in the form of DNS and browsers (RFC 5890: `xn--…`).

use std::borrow::Cow;
use std::net::IpAddr;

/// A host in ASCII. Returns ASCII text, and text that is not a name, unchanged.
pub(super) fn to_ascii(host: &str) -> Cow<'_, str> {
    if host.is_ascii() {
        return Cow::Borrowed(host);
    }
    idna::domain_to_ascii_cow(host.as_bytes(), idna::AsciiDenyList::URL)
        .unwrap_or(Cow::Borrowed(host))
}

/// `host[:port]` with the host in ASCII.
pub(super) fn authority_to_ascii(authority: &str) -> Cow<'_, str> {
    match authority.rsplit_once(':') {
        _ if authority.is_ascii() => Cow::Borrowed(authority),
        Some((host, port)) => Cow::Owned(format!("{}:{port}", to_ascii(host))),
        None => to_ascii(authority),
    }
}

/// `scheme:host[:port][?query]` (RFC 7064, RFC 7065) with the host in ASCII.
pub(super) fn ice_url_to_ascii(url: &str) -> Cow<'_, str> {
    if url.is_ascii() {
        return Cow::Borrowed(url);
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        return Cow::Borrowed(url);
    };
    let (authority, query) = match rest.find('?') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    Cow::Owned(format!("{scheme}:{}{query}", authority_to_ascii(authority)))
}

/// Returns whether `text` is a DNS name or an address, as it may stand in a URL.
pub(super) fn is_host(text: &str) -> bool {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if bare.unwrap_or(text).parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_converted_and_ascii_stays_unchanged() {
        assert_eq!(to_ascii("Bücher.Example"), "xn--bcher-kva.example");
        assert_eq!(to_ascii("例え.テスト"), "xn--r8jz45g.xn--zckzah");
        for same in ["Talk.example.org", "192.0.2.1", "[2001:db8::1]", "", "a b"] {
            assert_eq!(to_ascii(same), same);
        }
        assert_eq!(
            authority_to_ascii("bücher.example:8443"),
            "xn--bcher-kva.example:8443"
        );
        assert_eq!(
            ice_url_to_ascii("turn:bücher.example:3478?transport=udp"),
            "turn:xn--bcher-kva.example:3478?transport=udp"
        );
        assert_eq!(
            ice_url_to_ascii("stun:bücher.example"),
            "stun:xn--bcher-kva.example"
        );
        // Not a name: the validation reports it.
        assert_eq!(to_ascii("bü cher"), "bü cher");
    }

    #[test]
    fn a_host_has_no_port_and_no_scheme() {
        for good in [
            "turn.example.org",
            "192.0.2.1",
            "2001:db8::1",
            "[2001:db8::1]",
            "localhost",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a..b", "turn:x", "x:3478", "http://x", "a b"] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            to_ascii(&text);
            authority_to_ascii(&text);
            ice_url_to_ascii(&text);
        }
    }
}
