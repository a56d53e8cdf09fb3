//! Public URLs: the base of links and the host of ICE URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::public_url::parse as parse_public_url;
use super::{Config, TlsMode};
use crate::url::{Host, WebUrl};

/// `server.public_url`, if it is set.
pub fn public_url(config: &Config) -> Option<WebUrl> {
    parse_public_url(config.server.public_url.as_deref()?).ok()
}

/// The host of `server.public_url`, if it is set.
pub(super) fn page_host(config: &Config) -> Option<Host> {
    Some(public_url(config)?.host().clone())
}

/// The base of links: `server.public_url`, else the address of the HTTP listener (`127.0.0.1` for a
/// wildcard). Without a trailing slash.
pub fn base_url(config: &Config, http: SocketAddr) -> String {
    match public_url(config) {
        Some(url) => url.to_string(),
        None => {
            let scheme = match config.tls.mode {
                TlsMode::Off => "http",
                _ => "https",
            };
            format!("{scheme}://{}", connectable(http))
        }
    }
}

/// The ports of TURN over TLS in ICE URLs: those of the listeners shared with HTTP (`https`) and of the
/// others (`alone`). If ICE URLs use the host of an https `server.public_url`, its port replaces that of
/// the HTTP listener, which may differ behind a NAT or a load balancer.
pub fn advertised_tls(
    config: &Config,
    https: &[SocketAddr],
    alone: &[SocketAddr],
) -> Vec<SocketAddr> {
    let url = public_url(config).filter(|url| ice_host(config).as_ref() == Some(url.host()));
    let outside = url.filter(WebUrl::is_https).map(|url| url.port());
    let at = |one: &SocketAddr| SocketAddr::new(one.ip(), outside.unwrap_or(one.port()));
    https.iter().map(at).chain(alone.iter().copied()).collect()
}

/// The TLS port that restrictive networks leave open.
pub const HTTPS_PORT: u16 = 443;

/// The listening port that ICE URLs use: the usual one, else the first. Each additional URL delays every
/// browser, and Firefox warns at five or more.
pub fn advertised_port(ports: impl IntoIterator<Item = u16>, usual: u16) -> Option<u16> {
    let mut first = None;
    for port in ports {
        if port == usual {
            return Some(port);
        }
        first = first.or(Some(port));
    }
    first
}

/// The invite link of a room. The invite is in the fragment, which browsers do not send, so no
/// log contains it.
pub fn invite_link(config: &Config, http: SocketAddr, room_id: &str, invite: &str) -> String {
    format!("{}/r/{room_id}#{invite}", base_url(config, http))
}

/// The host of ICE URLs: `turn.public_host`, else that of `server.public_url`; `None` if it
/// depends on the request.
pub fn ice_host(config: &Config) -> Option<Host> {
    match config.turn.public_host.as_deref() {
        Some(host) => Host::parse(host).ok(),
        None => page_host(config),
    }
}

/// An address that a program on this host can connect to.
pub fn connectable(listening: SocketAddr) -> SocketAddr {
    let ip = match listening.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listening.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(public_url: Option<&str>, public_host: Option<&str>) -> Config {
        let mut config = Config::default();
        config.server.public_url = public_url.map(str::to_owned);
        config.turn.public_host = public_host.map(str::to_owned);
        config
    }

    #[test]
    fn a_link_begins_with_the_public_url_or_else_with_this_host() {
        let any: SocketAddr = "0.0.0.0:8000".parse().unwrap();
        let public = config(Some("https://talk.example.org/"), None);
        assert_eq!(
            invite_link(&public, any, "lobby", "abc"),
            "https://talk.example.org/r/lobby#abc"
        );
        let private = config(None, None);
        assert_eq!(base_url(&private, any), "http://127.0.0.1:8000");
        assert_eq!(
            base_url(&private, "[::]:1".parse().unwrap()),
            "http://[::1]:1"
        );
    }

    #[test]
    fn a_link_to_a_server_that_speaks_tls_begins_with_https() {
        let mut config = config(None, None);
        config.tls.mode = TlsMode::Files;
        let base = base_url(&config, "0.0.0.0:8443".parse().unwrap());
        assert_eq!(base, "https://127.0.0.1:8443");
    }

    #[test]
    fn turn_over_tls_uses_the_port_of_the_public_url() {
        let [https, alone]: [[SocketAddr; 1]; 2] =
            ["[::]:8443", "[::]:5349"].map(|text| [text.parse().unwrap()]);
        let ports = |url, host| {
            let offered = advertised_tls(&config(url, host), &https, &alone);
            offered.iter().map(SocketAddr::port).collect::<Vec<_>>()
        };
        assert_eq!(ports(None, None), [8443, 5349]);
        assert_eq!(ports(Some("https://a.example"), None), [443, 5349]);
        assert_eq!(ports(Some("https://a.example:444"), None), [444, 5349]);
        assert_eq!(ports(Some("http://a.example"), None), [8443, 5349]);
        let elsewhere = ports(Some("https://a.example"), Some("turn.example"));
        assert_eq!(elsewhere, [8443, 5349]);
    }

    #[test]
    fn the_standard_port_is_advertised_if_parlor_listens_on_it() {
        assert_eq!(advertised_port([8443, 443, 5349], HTTPS_PORT), Some(443));
        assert_eq!(advertised_port([5349, 8443], HTTPS_PORT), Some(5349));
        assert_eq!(advertised_port([], HTTPS_PORT), None);
    }

    #[test]
    fn turn_public_host_outranks_server_public_url_in_ice_urls() {
        let url = Some("https://talk.example.org:8443");
        let host = |url, host| Some(ice_host(&config(url, host))?.to_string());
        assert_eq!(
            host(url, Some("turn.example.org")).unwrap(),
            "turn.example.org"
        );
        assert_eq!(host(None, Some("2001:db8::1")).unwrap(), "[2001:db8::1]");
        assert_eq!(host(url, None).unwrap(), "talk.example.org");
        assert_eq!(host(None, None), None);
    }
}
