//! Listeners, origins, hosts and public addresses.

use std::collections::BTreeMap;

use super::violations::Violations;
use crate::config::tls::{TCP_LISTENERS, tcp_listeners};
use crate::config::value_source::Violation;
use crate::config::{Config, alternate_port, alternate_server, external_ip, public_url};
use crate::url::{Host, HttpsUrl, OriginPattern, WebOrigin};

/// Requires distinct TCP addresses. Port 0 may repeat: each use gets a port of its own.
pub(super) fn listeners(config: &Config, violations: &mut Violations) {
    let mut taken = BTreeMap::new();
    for (key, list) in tcp_listeners(config) {
        let needed = matches!(key, "http.listen" | "turn.listen");
        let example = "must name at least one address, such as 0.0.0.0:8000";
        violations.require(!list.is_empty() || !needed, key, example);
        for address in list.iter().filter(|address| address.port() != 0) {
            if let Some(other) = taken.insert(*address, key) {
                let text = format!("names {address}, which {other} has already");
                let with = TCP_LISTENERS.iter().position(|known| *known == other);
                let with = with.map_or(&TCP_LISTENERS[..], |at| &TCP_LISTENERS[at..=at]);
                violations.require_with(false, key, with, text);
            }
        }
    }
}

pub(super) fn public_addresses(config: &Config, violations: &mut Violations) {
    let url = config.server.public_url.as_deref();
    for url in url.iter().filter(|text| !text.trim().is_empty()) {
        if let Err(error) = public_url::parse(url) {
            violations.require(false, "server.public_url", error.to_string());
        }
    }
    for (key, is_on) in [
        ("http.proxy_protocol", config.http.proxy_protocol),
        ("turn.proxy_protocol", config.turn.proxy_protocol),
    ] {
        violations.require_with(
            !is_on || !config.http.trusted_proxies.is_empty(),
            key,
            &["http.trusted_proxies"],
            "is on, but http.trusted_proxies is empty: name the proxy there",
        );
    }
    for origin in &config.http.allowed_origins {
        violations.require(
            OriginPattern::parse(origin).is_ok(),
            "http.allowed_origins",
            format!(
                "must be origins such as https://app.example.org or https://*.example.org, not `{origin}`"
            ),
        );
    }
    for origin in &config.http.frame_ancestors {
        violations.require(
            matches!(WebOrigin::parse(origin), Ok(WebOrigin::Web(_))),
            "http.frame_ancestors",
            format!(
                "must be origins such as https://cloud.example.org, without a pattern, not `{origin}`"
            ),
        );
    }
    if let Some(url) = config.auth.jwks_url.as_deref() {
        violations.require(
            HttpsUrl::parse(url).is_ok(),
            "auth.jwks_url",
            format!("must be a URL such as https://id.example.org/keys.json, not `{url}`"),
        );
        violations.require_with(
            config.auth.audience.is_some(),
            "auth.jwks_url",
            &["auth.audience"],
            "needs auth.audience: the issuer may sign tokens for other services with the same keys \
             (\"any\" accepts those as well)",
        );
    }
    if let Some(host) = config.turn.public_host.as_deref() {
        violations.require(
            host.trim().is_empty() || Host::parse(host).is_ok(),
            "turn.public_host",
            format!("must be a name or an address without port or scheme, not `{host}`"),
        );
    }
    violations.extend(alternate_server::violations(&config.turn));
    violations.extend(alternate_port::violations(&config.turn));
    let messages = external_ip::errors(&config.turn.external_ip);
    let messages = messages.into_iter();
    violations.extend(messages.map(|violation| Violation::new("turn.external_ip", violation)));
    let auto = config.turn.external_ip.iter().any(|text| text == "auto");
    violations.require_with(
        !auto || !config.ice.stun_urls.is_empty(),
        "turn.external_ip",
        &["ice.stun_urls"],
        "is `auto`, which asks a STUN server: name one in ice.stun_urls",
    );
}
