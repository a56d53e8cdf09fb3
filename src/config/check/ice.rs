//! Extra ICE servers.

use super::violations::Violations;
use crate::config::Config;
use crate::url::{IceUrl, IceUrlError};

pub(super) fn ice_servers(config: &Config, violations: &mut Violations) {
    let ice = &config.ice;
    for (key, urls, is_turn) in [
        ("ice.stun_urls", &ice.stun_urls, false),
        ("ice.turn_urls", &ice.turn_urls, true),
    ] {
        let example = if is_turn {
            "turn:example.org:3478"
        } else {
            "stun:example.org:3478"
        };
        for url in urls {
            let text = match IceUrl::parse(url) {
                Ok(parsed) if parsed.scheme().is_turn() == is_turn => continue,
                // The URL has a password: it is not quoted.
                Err(IceUrlError::UserInfo) => {
                    format!("must look like {example}: name and password have keys of their own")
                }
                Ok(_) | Err(IceUrlError::Malformed) => {
                    format!("must look like {example}, not `{url}`")
                }
            };
            violations.require(false, key, text);
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
