//! Warnings: valid but risky settings. They are few, because users ignore warnings after a false one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::origin::{Origin, Violation};
use super::{Config, Origins, RelayMode, TlsMode, acme, file, public_url, secrets, tls};
use crate::secret::Secret;

/// The length in bytes below which a TURN secret can be guessed.
const MIN_TURN_SECRET_BYTES: usize = 16;

/// The metadata service of cloud providers, which returns keys of the machine.
const CLOUD_METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// The prefixes of 6to4 (RFC 3056) and Teredo (RFC 4380).
const TUNNEL_PREFIXES: [&str; 2] = ["2002::/16", "2001::/32"];

/// Returns a warning for every risky value of `config`.
pub(super) fn check(config: &Config, origins: &Origins) -> Vec<Violation> {
    let checks: [fn(&Config) -> Vec<Violation>; 13] = [
        short_secrets,
        reused_secret,
        relative_data_dir,
        page_without_https,
        https_without_tls,
        missing_audience,
        trust_of_every_proxy,
        exposed_metrics,
        relay_ports,
        dangerous_peers,
        tls::warnings,
        acme::warnings,
        many_ice_urls,
    ];
    let found = checks.iter().flat_map(|check| check(config));
    found.chain(exposed_secrets(config, origins)).collect()
}

/// Warns of a short TURN secret. It is not an error, because a secret shared with coturn may be short.
fn short_secrets(config: &Config) -> Vec<Violation> {
    turn_secrets(config)
        .filter(|(_, secret)| secret.expose().len() < MIN_TURN_SECRET_BYTES)
        .map(|(key, secret)| {
            let bytes = secret.expose().len();
            let text = format!(
                "has {bytes} bytes, so a client with a credential can guess it: \
                 `openssl rand -hex 32` makes a good one"
            );
            Violation::new(key, text)
        })
        .collect()
}

fn turn_secrets(config: &Config) -> impl Iterator<Item = (&'static str, &Secret)> {
    let turn = &config.turn;
    let newest = turn.secret.iter().map(|secret| ("turn.secret", secret));
    let older = turn.previous_secrets.iter();
    newest.chain(older.map(|secret| ("turn.previous_secrets", secret)))
}

fn reused_secret(config: &Config) -> Vec<Violation> {
    let same =
        turn_secrets(config).filter(|(_, secret)| config.auth.secret.as_ref() == Some(secret));
    let text = "equals auth.secret: a service that creates TURN credentials can then also sign \
                tokens for any user";
    same.map(|(key, _)| Violation::with(key, &["auth.secret"], text))
        .collect()
}

/// Warns of a page without https:
/// <https://w3c.github.io/mediacapture-main/#dom-navigator-mediadevices> is `[SecureContext]`.
fn page_without_https(config: &Config) -> Vec<Violation> {
    let insecure = public_url(config).filter(|url| !url.is_https() && !url.host().is_loopback());
    let text = "is not https: browsers give a page the microphone over https alone, \
                but for pages of the same computer";
    let violation = insecure.map(|_| Violation::new("server.public_url", text));
    violation.into_iter().collect()
}

/// Warns of a data directory that depends on the working directory.
fn relative_data_dir(config: &Config) -> Vec<Violation> {
    let dir = config.server.data_dir.iter();
    let relative = dir.filter(|dir| dir.is_relative() && !dir.as_os_str().is_empty());
    relative
        .map(|dir| {
            let text = format!(
                "is {}, which depends on the working directory: write a path that \
                 begins with /",
                dir.display()
            );
            Violation::new("server.data_dir", text)
        })
        .collect()
}

/// Warns of an https URL without TLS and without a trusted proxy.
fn https_without_tls(config: &Config) -> Vec<Violation> {
    let is_https = public_url(config).is_some_and(|url| url.is_https());
    let is_spoken = config.tls.mode != TlsMode::Off;
    if !is_https || is_spoken || !config.http.trusted_proxies.is_empty() {
        return Vec::new();
    }
    let text = "is https, but tls.mode is off and http.trusted_proxies is empty: set tls.mode, or \
                name the proxy that speaks TLS, or every client counts as that one address";
    let with = &["tls.mode", "http.trusted_proxies"];
    vec![Violation::with("server.public_url", with, text)]
}

fn missing_audience(config: &Config) -> Vec<Violation> {
    let auth = &config.auth;
    let Some(_) = auth
        .algorithm
        .key_kind()
        .filter(|_| auth.audience.is_none())
    else {
        return Vec::new();
    };
    let text = "is unset: a token that the same issuer made for another service opens this one too";
    vec![Violation::with("auth.audience", &["auth.algorithm"], text)]
}

fn trust_of_every_proxy(config: &Config) -> Vec<Violation> {
    let proxies = config.http.trusted_proxies.iter();
    let all_addresses = proxies.filter(|net| net.prefix_len() == 0);
    all_addresses
        .map(|net| {
            let text = format!(
                "has {net}: any client can claim any address, so limits by address fail and logs \
                 show wrong addresses"
            );
            Violation::new("http.trusted_proxies", text)
        })
        .collect()
}

fn exposed_metrics(config: &Config) -> Vec<Violation> {
    let listeners = config.admin.metrics_listen.iter();
    let public = listeners.filter(|address| !is_private(address.ip()));
    public
        .map(|address| {
            let text = format!(
                "names {address}, which others may reach, and nothing protects /metrics: name \
                 a loopback or private address, or let a firewall keep them out"
            );
            Violation::new("admin.metrics_listen", text)
        })
        .collect()
}

/// Returns whether an address is loopback or of a private network.
fn is_private(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Warns of relay ports that listeners use, and of fewer ports than one user may hold.
fn relay_ports(config: &Config) -> Vec<Violation> {
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
        let text = format!("is {most}, but turn.relay_ports has only {ports} ports");
        return Some(Violation::with(
            "turn.max_allocations",
            &["turn.relay_ports"],
            text,
        ));
    }
    let (key, has, bound) = match most {
        0 => ("turn.relay_ports", format!("has {ports} ports"), ports),
        most => ("turn.max_allocations", format!("is {most}"), most),
    };
    (quota >= bound).then(|| {
        let text = format!(
            "{has}, and one user may hold {quota} allocations (turn.max_allocations_per_user): \
             nothing would be left for anybody else"
        );
        Violation::with(key, QUOTA, text)
    })
}

fn dangerous_peers(config: &Config) -> Vec<Violation> {
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
fn many_ice_urls(config: &Config) -> Vec<Violation> {
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

fn exposed_secrets(config: &Config, origins: &Origins) -> Vec<Violation> {
    let set = secrets::SECRET_KEYS
        .into_iter()
        .filter(|key| is_set(config, key));
    let exposed = set.filter_map(|key| match origins.get(key) {
        Some(Origin::File { path, .. }) if file::is_world_readable(path) => {
            let text = format!(
                "is in a file that every user of this host may read: \
                 fix it with `chmod o-r {}`",
                path.display()
            );
            Some(Violation::new(key, text))
        }
        _ => None,
    });
    exposed.collect()
}

/// Returns whether `key` holds a secret. An empty list holds none.
fn is_set(config: &Config, key: &str) -> bool {
    let tree = serde_json::to_value(config).unwrap_or_default();
    let value = key.split('.').fold(&tree, |place, part| &place[part]);
    value.get(0).unwrap_or(value).is_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let violations = check(&config, &Origins::new()).into_iter();
        violations
            .map(|violation| format!("{} {}", violation.key, violation.text))
            .collect()
    }

    #[test]
    fn an_https_url_without_tls_gets_a_warning() {
        let url = |config: &mut Config| {
            config.server.public_url = Some("https://talk.example.org".to_owned());
        };
        let alone = report(url);
        assert_eq!(alone.len(), 1, "{alone:?}");
        assert!(alone[0].starts_with("server.public_url is https, but tls.mode is off"));
        let behind = report(|config| {
            url(config);
            config.http.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        });
        assert_eq!(behind, [""; 0]);
        let spoken = report(|config| {
            url(config);
            config.tls.mode = TlsMode::SelfSigned;
        });
        assert_eq!(spoken, [""; 0]);
    }

    #[test]
    fn a_relative_data_directory_gets_a_warning() {
        let dir = |dir: &str| report(|config| config.server.data_dir = Some(dir.into()));
        assert!(
            dir("data")[0]
                .starts_with("server.data_dir is data, which depends on the working directory")
        );
        assert_eq!(dir("/var/lib/parlor"), [""; 0]);
        assert_eq!(dir(""), [""; 0]);
    }
}
