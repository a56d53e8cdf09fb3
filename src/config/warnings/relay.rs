//! Relay ports, peers and ICE URLs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::config::value_source::Violation;
use crate::config::{Config, RelayMode, RelayScope, tls};
use crate::plural::counted;

/// The metadata service of cloud providers, which returns keys of the machine.
const CLOUD_METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// The prefixes of 6to4 (RFC 3056) and Teredo (RFC 4380).
const TUNNEL_PREFIXES: [&str; 2] = ["2002::/16", "2001::/32"];

/// Warns of relay ports that listeners use, and of fewer ports than one user may hold.
pub(super) fn relay_ports(config: &Config) -> Vec<Violation> {
    let (turn, range) = (&config.turn, config.turn.relay_ports);
    let within = |address: &&SocketAddr| (range.first..=range.last).contains(&address.port());
    if turn.mode == RelayMode::Internal {
        // Virtual ports do not conflict with listeners or firewalls.
        return small_capacity(config).into_iter().collect();
    }
    let mut violations = Vec::new();
    for address in turn.listen.iter().filter(within) {
        let text = format!(
            "names {address}, whose port is one of turn.relay_ports ({range}): no relayed address \
             can have it then"
        );
        violations.push(Violation::with("turn.listen", &["turn.relay_ports"], text));
    }
    let http = config
        .http
        .listen
        .iter()
        .map(|address| ("http.listen", address));
    let plain = config.http.plain_listen.iter();
    let http = http.chain(plain.map(|address| ("http.plain_listen", address)));
    let metrics = config.admin.metrics_listen.iter();
    let metrics = metrics.map(|address| ("admin.metrics_listen", address));
    for (key, address) in http.chain(metrics).filter(|(_, address)| within(address)) {
        let text = format!(
            "names {address}, whose port is one of turn.relay_ports ({range}): a firewall that is \
             open for these is open for it, unless they are opened for UDP alone"
        );
        violations.push(Violation::with(key, &["turn.relay_ports"], text));
    }
    violations.extend(small_capacity(config));
    violations
}

fn small_capacity(config: &Config) -> Option<Violation> {
    const QUOTA: &[&str] = &["turn.max_allocations_per_user"];
    let turn = &config.turn;
    let ports = usize::from(turn.relay_ports.last - turn.relay_ports.first) + 1;
    let (most, quota) = (turn.max_allocations, turn.max_allocations_per_user as usize);
    if most > ports {
        let text = format!(
            "is {most}, but turn.relay_ports has only {}",
            counted(ports, "port")
        );
        return Some(Violation::with(
            "turn.max_allocations",
            &["turn.relay_ports"],
            text,
        ));
    }
    let (key, has, bound) = match most {
        0 => (
            "turn.relay_ports",
            format!("has {}", counted(ports, "port")),
            ports,
        ),
        most => ("turn.max_allocations", format!("is {most}"), most),
    };
    (quota >= bound).then(|| {
        let text = format!(
            "{has}, and one user may hold {} (turn.max_allocations_per_user): \
             nothing would be left for anybody else",
            counted(quota, "allocation")
        );
        Violation::with(key, QUOTA, text)
    })
}

pub(super) fn dangerous_peers(config: &Config) -> Vec<Violation> {
    let turn = &config.turn;
    // `denied_peers` outranks `allowed_peers`.
    let closed = |net: &IpNet| turn.denied_peers.iter().any(|denied| denied.contains(net));
    let inside = turn.mode == RelayMode::Internal;
    let opened = turn.allowed_peers.iter();
    let opened = opened.filter(|net| !inside && !closed(net));
    let opened = opened.filter_map(|net| {
        let text = format!("has {net}, which {}", exposure(net)?);
        let with = &["turn.denied_peers"];
        Some(Violation::with("turn.allowed_peers", with, text))
    });
    let mut violations: Vec<_> = opened.collect();
    if turn.unauthenticated_rate == 0 {
        let text = "is 0: with forged source addresses, an attacker can make this host flood another \
                    address";
        violations.push(Violation::new("turn.unauthenticated_rate", text));
    }
    violations
}

/// Recommends the scope `room` where clients reach nothing but each other.
pub(super) fn open_scope(config: &Config) -> Vec<Violation> {
    let turn = &config.turn;
    if turn.mode != RelayMode::Internal || turn.scope == RelayScope::Room {
        return Vec::new();
    }
    let text = "is \"any\": clients of different rooms can send to each other through the relay; with                 turn.mode = \"internal\", \"room\" is recommended, unless other services create credentials                 without a room for clients in a room";
    let with = &["turn.mode"];
    vec![Violation::with("turn.scope", with, text.to_owned())]
}

/// Returns the risk if clients can reach `net`, as the end of a sentence.
fn exposure(net: &IpNet) -> Option<&'static str> {
    let loopback: IpAddr = match net {
        IpNet::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpNet::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    if net.prefix_len() == 0 {
        Some("lets clients reach every address that this host can, its own network included")
    } else if net.contains(&loopback) || loopback.is_ipv4() && net.addr().is_loopback() {
        Some("lets clients reach loopback services of this host")
    } else if net.contains(&CLOUD_METADATA) {
        Some("lets clients reach the cloud's metadata service, which returns keys")
    } else if TUNNEL_PREFIXES
        .iter()
        .any(|tunnel| is_subnet_of(net, tunnel))
    {
        Some(
            "is of 6to4 or Teredo: RFC 8656 section 21.4 forbids relaying to it, and parlor never does",
        )
    } else {
        None
    }
}

fn is_subnet_of(net: &IpNet, outer: &str) -> bool {
    outer
        .parse::<IpNet>()
        .is_ok_and(|outer| outer.contains(net))
}

/// Warns of many ICE URLs: browsers query every one before they have all candidates.
pub(super) fn many_ice_urls(config: &Config) -> Vec<Violation> {
    /// The number from which Firefox warns.
    const SLOW_FROM: usize = 5;
    let ice = &config.ice;
    let own = match config.turn.listen.is_empty() {
        true => 0,
        false
            if tls::https_listen(config).is_empty() && tls::turn_tls_listen(config).is_empty() =>
        {
            3
        }
        false => 4,
    };
    let all = own + ice.stun_urls.len() + ice.turn_urls.len();
    let (key, with): (_, &[&str]) = if ice.turn_urls.is_empty() {
        ("ice.stun_urls", &[])
    } else {
        ("ice.turn_urls", &["ice.stun_urls"])
    };
    if all < SLOW_FROM {
        return Vec::new();
    }
    let text = format!(
        "makes {all} ICE URLs with the {own} of this server: five or more slow down the start of every call, \
         and Firefox warns of them; this server's own are enough for most networks"
    );
    vec![Violation::with(key, with, text)]
}
