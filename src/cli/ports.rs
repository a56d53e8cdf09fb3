//! `parlor ports`: the ports to open in a firewall, from the effective configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::config::{self, Config, RelayMode, TlsMode, plain_listen, turn_tls_listen};

use crate::admin::Response;

/// Traffic that a firewall must let in.
struct FirewallRule {
    protocol: &'static str,
    ports: String,
    addresses: Vec<SocketAddr>,
    why: &'static str,
}

pub(super) fn run(config: &Config) -> Response {
    let rules = rules(config);
    let rows = rules.iter().map(|rule| {
        vec![
            rule.protocol.to_owned(),
            rule.ports.clone(),
            rule.from().to_owned(),
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
    let metrics = "metrics, unprotected: allow Prometheus only";
    let mut all = by_port("tcp", &config.http.listen, web);
    all.extend(by_port("tcp", &plain_listen(config), plain));
    all.extend(by_port("udp", &turn.listen, udp));
    all.extend(by_port("tcp", &turn.listen, tcp));
    all.extend(by_port("tcp", &turn_tls_listen(config), tls));
    let second = config::discovery_pairs(turn).into_iter().flatten();
    let second = second.map(|address| SocketAddr::new(address.ip(), turn.alternate_port));
    let why = "STUN for NAT behavior discovery (RFC 5780)";
    all.extend(by_port("udp", &second.collect::<Vec<_>>(), why));
    all.extend((turn.mode == RelayMode::Ports).then(|| FirewallRule {
        protocol: "udp",
        ports: turn.relay_ports.to_string(),
        addresses: turn.listen.clone(),
        why: "relayed media from peers",
    }));
    all.extend(by_port("tcp", &config.admin.metrics_listen, metrics));
    all
}

/// Groups addresses by port: one rule per port.
fn by_port(protocol: &'static str, listen: &[SocketAddr], why: &'static str) -> Vec<FirewallRule> {
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
            why,
        })
        .collect()
}

impl FirewallRule {
    /// Returns who must reach the port, by its addresses.
    fn from(&self) -> &'static str {
        if self.is_local() {
            "this host only"
        } else {
            "everyone"
        }
    }

    fn is_local(&self) -> bool {
        self.addresses
            .iter()
            .all(|address| address.ip().is_loopback())
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
            "why": self.why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsMode;

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
