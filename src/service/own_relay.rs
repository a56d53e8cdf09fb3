//! Where clients reach this node's own relay.

use std::net::{IpAddr, SocketAddr};

use super::app::App;
use super::relay_address::RelayAddress;
use crate::config::{self, Config};
use crate::url::{Host, STUN_PORT};

impl App {
    /// The address of this node's relay; `None` if this node is the only one.
    pub fn relay_address(&self) -> Option<RelayAddress> {
        let id = self.relay_nodes.as_ref()?.id().to_owned();
        let settings = self.settings();
        let config = &settings.config;
        let ips = public_ips(config, self);
        let host = match config.turn.public_host.as_deref() {
            Some(host) => Host::parse(host).ok(),
            None => ips.first().map(|ip| Host::Ip(*ip)),
        };
        let (port, tls_port) = match &host {
            Some(host) => relay_ports(self, config, host),
            None => (None, None),
        };
        let address = |ip: IpAddr| {
            let port = relay_ports(self, config, &Host::Ip(ip)).0?;
            Some(SocketAddr::new(ip, port))
        };
        Some(RelayAddress {
            id,
            host: host.map(|host| host.to_string()),
            port,
            tls_port,
            addresses: ips.into_iter().filter_map(address).collect(),
        })
    }
}

/// The addresses at which clients on other hosts reach this relay, IPv4 first. If there are none, those of its
/// listeners.
fn public_ips(config: &Config, app: &App) -> Vec<IpAddr> {
    let public = config.turn.public_host.as_deref();
    let public = public.and_then(|host| Host::parse(host).ok()?.ip());
    if let Some(ip) = public {
        return vec![ip];
    }
    let current = app.relay.current_addresses();
    let offered: Vec<_> = current.host.offered().map(|(_, public)| public).collect();
    if !offered.is_empty() {
        return offered;
    }
    let family = |is_ipv4: bool| {
        let mut listeners = app.turn.iter().map(SocketAddr::ip);
        listeners.find(|ip| ip.is_ipv4() == is_ipv4 && !ip.is_unspecified())
    };
    [true, false].into_iter().filter_map(family).collect()
}

/// The ports of `host` for STUN and TURN, and for TURN over TLS: one of each, so that parlor has four ICE
/// URLs of its own.
pub fn relay_ports(app: &App, config: &Config, host: &Host) -> (Option<u16>, Option<u16>) {
    let tls = config::advertised_tls(config, &app.https, &app.turn_tls);
    (
        config::advertised_port(ports(host, &app.turn), STUN_PORT),
        config::advertised_port(ports(host, &tls), config::HTTPS_PORT),
    )
}

/// The ports at which `host` reaches a listener: where it is an address that one listens on, or a
/// wildcard of its family, those; else (a name, an address in front of a NAT) all.
fn ports(host: &Host, listeners: &[SocketAddr]) -> Vec<u16> {
    let reaches = |listener: &&SocketAddr| match host.ip() {
        None => false,
        Some(ip) => {
            let wildcard = listener.ip().is_unspecified() && listener.is_ipv4() == ip.is_ipv4();
            wildcard || listener.ip() == ip
        }
    };
    let mut chosen: Vec<_> = listeners.iter().filter(reaches).collect();
    if chosen.is_empty() {
        chosen = listeners.iter().collect();
    }
    let mut ports: Vec<u16> = Vec::new();
    for listener in chosen {
        if !ports.contains(&listener.port()) {
            ports.push(listener.port());
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_those_of_the_listeners_that_the_host_reaches() {
        let listeners = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let ports = |host, listeners: &[SocketAddr]| ports(&Host::parse(host).unwrap(), listeners);
        let two = listeners(&["127.0.0.1:1111", "[::1]:2222"]);
        assert_eq!(ports("127.0.0.1", &two), [1111]);
        assert_eq!(ports("[::1]", &two), [2222]);
        assert_eq!(ports("talk.example", &two), [1111, 2222]);
        assert_eq!(ports("192.0.2.1", &two), [1111, 2222]);
        let wild = listeners(&["0.0.0.0:3478", "[::]:3478"]);
        assert_eq!(ports("192.0.2.1", &wild), [3478]);
        assert_eq!(ports("talk.example", &wild), [3478]);
        assert_eq!(ports("talk.example", &[]), [0u16; 0]);
    }
}
