//! Extra ICE servers.

use super::violations::Violations;
use crate::config::{Config, PublicUrl};

pub(super) fn ice_servers(config: &Config, violations: &mut Violations) {
    let ice = &config.ice;
    let lists: [(&'static str, &[String], [&str; 2]); 2] = [
        ("ice.stun_urls", &ice.stun_urls, ["stun:", "stuns:"]),
        ("ice.turn_urls", &ice.turn_urls, ["turn:", "turns:"]),
    ];
    for (key, urls, schemes) in lists {
        for url in urls {
            let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
            let scheme = schemes[0];
            violations.require(
                rest.is_some_and(|rest| is_ice_authority(rest, scheme == "turn:")),
                key,
                if url.contains('@') {
                    format!(
                        "must look like {scheme}example.org:3478: name and password have \
                     keys of their own"
                    )
                } else {
                    format!("must look like {scheme}example.org:3478, not `{url}`")
                },
            );
        }
    }
    let credentials = ice.turn_username.is_some() && ice.turn_password.is_some();
    violations.require_with(
        ice.turn_urls.is_empty() || credentials,
        "ice.turn_urls",
        &["ice.turn_username", "ice.turn_password"],
        "needs ice.turn_username and ice.turn_password (TURN_USERNAME and TURN_PASSWORD): \
         browsers refuse a TURN server without them",
    );
}

/// Returns whether a URL has the form of RFC 7064 or, for TURN, RFC 7065. Browsers reject the whole
/// peer connection for one malformed URL.
fn is_ice_authority(rest: &str, turn: bool) -> bool {
    let (place, query) = rest
        .split_once('?')
        .map_or((rest, None), |(place, query)| (place, Some(query)));
    let known = |query| turn && matches!(query, "transport=udp" | "transport=tcp");
    query.is_none_or(known)
        && place.is_ascii()
        && !place.contains('/')
        && !place.contains(char::is_whitespace)
        && PublicUrl::parse(&format!("http://{place}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ice_url_must_be_valid_for_browsers() {
        for good in [
            "t.example",
            "t.example:3478",
            "[2001:db8::1]:5349",
            "192.0.2.1",
        ] {
            assert!(is_ice_authority(good, true) && is_ice_authority(good, false));
            let query = format!("{good}?transport=tcp");
            assert!(is_ice_authority(&query, true) && !is_ice_authority(&query, false));
        }
        for bad in [
            "",
            "//t.example",
            "t.example/",
            "t.example:0",
            "t.example:99999",
            "t.example:x",
            "t.example?transport=sctp",
            "t.example?",
            "name:password@t.example",
            "2001:db8::1",
            "t example",
            " t.example",
        ] {
            assert!(!is_ice_authority(bad, true), "{bad}");
        }
    }
}
