//! `parlor ports`: the ports to open in a firewall, from the effective configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::config::{
    self, Config, HTTPS_PORT, RelayMode, TlsMode, https_listen, plain_listen, turn_tls_listen,
};

use crate::admin::Response;

/// Traffic that a firewall must let in.
struct FirewallRule {
    protocol: &'static str,
    ports: String,
    addresses: Vec<SocketAddr>,
    /// The hosts that must reach the port, unless it is open on this host only.
    needed_by: NeededBy,
    why: &'static str,
}

/// The hosts that a firewall must let in.
#[derive(Debug, Clone, PartialEq, Eq)]
enum NeededBy {
    Everyone,
    /// The proxies in front (`http.trusted_proxies`).
    Proxies(Vec<IpNet>),
    /// The server that collects the metrics.
    Prometheus,
}

pub(super) fn run(config: &Config) -> Response {
    let rules = rules(config);
    let rows = rules.iter().map(|rule| {
        vec![
            rule.protocol.to_owned(),
            rule.ports.clone(),
            rule.open_to(),
            rule.why.to_owned(),
        ]
    });
    let json = rules.iter().map(FirewallRule::json).collect();
    let response = Response::table(json, &["PROTOCOL", "PORTS", "OPEN TO", "WHY"], rows);
    if config.turn.external_ip.is_empty() {
        response
    } else {
        response.remark(
            "This host is behind NAT (turn.external_ip): forward the same ports to it, unchanged.",
        )
    }
}

fn rules(config: &Config) -> Vec<FirewallRule> {
    let turn = &config.turn;
    let web = match config.tls.mode {
        TlsMode::Off => "the page, the API, and signaling by WebSocket",
        _ => {
            "the page, the API, and signaling by WebSocket; TURN for clients whose firewall allows \
             HTTPS only"
        }
    };
    let plain = "redirects browsers to HTTPS; ACME validation (http-01)";
    let udp = "STUN, and TURN for clients that can send UDP";
    let tcp = "TURN for clients whose firewall blocks UDP";
    let tls = "TURN over TLS, for clients whose firewall blocks everything else";
    let metrics = "metrics, unprotected";
    let everyone = &NeededBy::Everyone;
    let mut all = by_port("tcp", &config.http.listen, &needs_http(config), web);
    all.extend(by_port(
        "tcp",
        &plain_listen(config),
        &needs_plain_http(config),
        plain,
    ));
    all.extend(by_port("udp", &turn.listen, everyone, udp));
    all.extend(by_port("tcp", &turn.listen, everyone, tcp));
    all.extend(by_port("tcp", &turn_tls_listen(config), everyone, tls));
    let second = config::discovery_pairs(turn).into_iter().flatten();
    let second = second.map(|address| SocketAddr::new(address.ip(), turn.alternate_port));
    let why = "STUN for NAT behavior discovery (RFC 5780)";
    all.extend(by_port("udp", &second.collect::<Vec<_>>(), everyone, why));
    all.extend((turn.mode == RelayMode::Ports).then(|| FirewallRule {
        protocol: "udp",
        ports: turn.relay_ports.to_string(),
        addresses: turn.listen.clone(),
        needed_by: NeededBy::Everyone,
        why: "relayed media from peers",
    }));
    let listen = &config.admin.metrics_listen;
    all.extend(by_port("tcp", listen, &NeededBy::Prometheus, metrics));
    all
}

/// Returns who connects to `http.listen`. Behind a proxy, these are clients too if ICE servers name the port.
fn needs_http(config: &Config) -> NeededBy {
    let https = https_listen(config);
    let advertised = config::advertised_tls(config, &https, &turn_tls_listen(config));
    let ports = advertised.iter().map(SocketAddr::port);
    let port = config::advertised_port(ports, HTTPS_PORT);
    let is_advertised = https.iter().any(|address| Some(address.port()) == port);
    if is_advertised && !reaches_relay_by_proxy(config) {
        NeededBy::Everyone
    } else {
        NeededBy::proxies(config)
    }
}

/// Whether the host in ICE servers is that of `server.public_url`, which leads to the proxy. Nodes name themselves.
fn reaches_relay_by_proxy(config: &Config) -> bool {
    let url = config::public_url(config);
    let is_named = url.is_some_and(|url| config::ice_host(config).as_ref() == Some(url.host()));
    is_named && config.cluster.redis_url.is_none()
}

/// Returns who connects to `http.plain_listen`. An authority validates each name at the host that the name leads to.
fn needs_plain_http(config: &Config) -> NeededBy {
    match config.tls.mode {
        TlsMode::Acme => NeededBy::Everyone,
        _ => NeededBy::proxies(config),
    }
}

/// Groups addresses by port: one rule per port.
fn by_port(
    protocol: &'static str,
    listen: &[SocketAddr],
    needed_by: &NeededBy,
    why: &'static str,
) -> Vec<FirewallRule> {
    let mut ports: BTreeMap<u16, Vec<SocketAddr>> = BTreeMap::new();
    for address in listen {
        ports.entry(address.port()).or_default().push(*address);
    }
    ports
        .into_iter()
        .map(|(port, addresses)| FirewallRule {
            protocol,
            ports: match port {
                0 => "any (port 0)".to_owned(),
                port => port.to_string(),
            },
            addresses,
            needed_by: needed_by.clone(),
            why,
        })
        .collect()
}

impl FirewallRule {
    /// Returns who must reach the port, in words.
    fn open_to(&self) -> String {
        match &self.needed_by {
            _ if self.is_local() => "this host only".to_owned(),
            NeededBy::Everyone => "everyone".to_owned(),
            NeededBy::Proxies(proxies) => {
                let hosts: Vec<_> = proxies.iter().map(host).collect();
                format!("trusted proxies only: {}", hosts.join(", "))
            }
            NeededBy::Prometheus => "Prometheus only".to_owned(),
        }
    }

    /// Whether no other host needs the port.
    fn is_local(&self) -> bool {
        let mut addresses = self.addresses.iter();
        let is_used_here = match &self.needed_by {
            NeededBy::Proxies(proxies) => proxies.iter().all(|proxy| proxy.addr().is_loopback()),
            _ => false,
        };
        is_used_here || addresses.all(|address| address.ip().is_loopback())
    }

    fn json(&self) -> Value {
        let addresses = self
            .addresses
            .iter()
            .map(|address| address.ip().to_string());
        json!({
            "protocol": self.protocol,
            "ports": self.ports,
            "addresses": addresses.collect::<Vec<_>>(),
            "open": !self.is_local(),
            "open_to": self.open_to(),
            "why": self.why,
        })
    }
}

impl NeededBy {
    fn proxies(config: &Config) -> NeededBy {
        match &config.http.trusted_proxies[..] {
            [] => NeededBy::Everyone,
            proxies => NeededBy::Proxies(proxies.to_vec()),
        }
    }
}

/// Returns an address without the length of its prefix, or a network with it.
fn host(net: &IpNet) -> String {
    if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{StoreUrl, TlsMode};

    /// Returns who needs each TCP port of a node behind a balancer, with this change of its settings.
    fn open_to(change: impl FnOnce(&mut Config)) -> Vec<(String, String)> {
        let mut config = Config::default();
        config.http.listen = vec!["10.0.0.11:8000".parse().unwrap()];
        config.http.trusted_proxies = vec!["10.0.0.5/32".parse().unwrap()];
        config.turn.mode = RelayMode::Internal;
        config.turn.listen.clear();
        config.server.public_url = Some("https://talk.example.org".to_owned());
        change(&mut config);
        let rules = rules(&config).into_iter();
        rules
            .map(|one| (one.ports.clone(), one.open_to()))
            .collect()
    }

    fn row(port: &str, who: &str) -> (String, String) {
        (port.to_owned(), who.to_owned())
    }

    #[test]
    fn a_port_behind_a_balancer_is_open_to_the_balancer_only() {
        let metrics = row("9641", "this host only");
        let balancer = "trusted proxies only: 10.0.0.5";
        assert_eq!(open_to(|_| {}), [row("8000", balancer), metrics.clone()]);
        let several = open_to(|config| {
            let more = [
                "10.1.0.0/16".parse().unwrap(),
                "fd00::5/128".parse().unwrap(),
            ];
            config.http.trusted_proxies.extend::<[IpNet; 2]>(more);
        });
        let all = row("8000", &format!("{balancer}, 10.1.0.0/16, fd00::5"));
        assert_eq!(several, [all, metrics]);
    }

    #[test]
    fn a_proxy_on_the_same_host_needs_no_open_port() {
        let behind = open_to(|config| {
            config.http.listen = vec!["0.0.0.0:8000".parse().unwrap()];
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        assert_eq!(behind[0], row("8000", "this host only"));
    }

    #[test]
    fn metrics_on_another_address_are_open_to_prometheus_only() {
        let listed = open_to(|config| {
            config.admin.metrics_listen = vec!["10.0.0.11:9641".parse().unwrap()];
        });
        assert_eq!(listed[1], row("9641", "Prometheus only"));
    }

    #[test]
    fn a_port_that_ice_servers_name_is_open_to_everyone() {
        let https = |config: &mut Config| {
            config.tls.mode = TlsMode::Acme;
            config.http.listen = vec!["10.0.0.11:443".parse().unwrap()];
            config.http.plain_listen = vec!["10.0.0.11:80".parse().unwrap()];
            config.turn.tls_listen.clear();
        };
        let proxied = open_to(https);
        assert_eq!(proxied[0], row("443", "trusted proxies only: 10.0.0.5"));
        // The authority validates names that lead to the node.
        assert_eq!(proxied[1], row("80", "everyone"));
        let named = open_to(|config| {
            https(config);
            config.turn.public_host = Some("n1.example.org".to_owned());
        });
        assert_eq!(named[0], row("443", "everyone"));
        let node = open_to(|config| {
            https(config);
            config.store.url = Some("postgres://db/parlor".parse::<StoreUrl>().unwrap());
            config.cluster.redis_url = Some("redis://db".parse().unwrap());
        });
        assert_eq!(node[0], row("443", "everyone"));
        let separate = open_to(|config| {
            https(config);
            config.http.listen = vec!["10.0.0.11:8443".parse().unwrap()];
            config.turn.public_host = Some("n1.example.org".to_owned());
            config.turn.tls_listen = vec!["10.0.0.11:443".parse().unwrap()];
        });
        assert_eq!(separate[0], row("8443", "trusted proxies only: 10.0.0.5"));
        assert_eq!(separate[2], row("443", "everyone"));
    }

    #[test]
    fn internal_mode_opens_no_relay_ports() {
        let mut config = Config::default();
        config.turn.mode = RelayMode::Internal;
        let rules = rules(&config);
        let ports: Vec<_> = rules.iter().map(|one| one.ports.as_str()).collect();
        assert_eq!(ports, ["8000", "3478", "3478", "9641"]);
    }

    #[test]
    fn the_alternate_port_of_discovery_is_listed() {
        let mut config = Config::default();
        let listen = ["192.0.2.1:3478", "192.0.2.2:3478", "[::]:3478"];
        config.turn.listen = listen.map(|text| text.parse().unwrap()).into();
        config.turn.alternate_port = 3479;
        let rules = rules(&config);
        let second = rules.iter().find(|one| one.ports == "3479").unwrap();
        assert_eq!((second.protocol, second.addresses.len()), ("udp", 2));
    }

    #[test]
    fn with_tls_the_http_port_serves_turn_as_well_and_other_ports_are_listed_separately() {
        let mut config = Config::default();
        config.http.plain_listen = vec!["[::]:80".parse().unwrap()];
        config.turn.tls_listen = vec!["[::]:5349".parse().unwrap()];
        let listed = |config: &Config| -> Vec<_> {
            let rules = rules(config).into_iter();
            rules.map(|one| (one.ports, one.why)).collect()
        };
        let without = listed(&config);
        config.tls.mode = TlsMode::Files;
        let with = listed(&config);
        let ports: Vec<_> = with.iter().map(|(ports, _)| ports.as_str()).collect();
        let range = "49152-65535";
        assert_eq!(ports, ["8000", "80", "3478", "3478", "5349", range, "9641"]);
        assert!(with[0].1.contains("TURN") && !without[0].1.contains("TURN"));
        assert_eq!(without.len(), 5);
    }

    #[test]
    fn the_default_configuration_needs_four_open_ports_and_keeps_metrics_local() {
        let listed = run(&Config::default()).json;
        let listed: Vec<_> = listed.as_array().unwrap().iter().collect();
        let brief: Vec<_> = listed
            .iter()
            .map(|one| {
                (
                    one["protocol"].as_str().unwrap(),
                    one["ports"].as_str().unwrap(),
                )
            })
            .collect();
        assert_eq!(
            brief,
            [
                ("tcp", "8000"),
                ("udp", "3478"),
                ("tcp", "3478"),
                ("udp", "49152-65535"),
                ("tcp", "9641")
            ]
        );
        let open = listed.iter().map(|one| one["open"].as_bool().unwrap());
        assert_eq!(open.collect::<Vec<_>>(), [true, true, true, true, false]);
        assert_eq!(listed[0]["addresses"], json!(["0.0.0.0", "::"]));
    }
}
