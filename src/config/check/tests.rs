use std::time::Duration;

use super::check;
use crate::config::{Config, TlsMode};
use crate::secret::Secret;

fn violations(change: impl FnOnce(&mut Config)) -> Vec<&'static str> {
    let mut config = Config::default();
    change(&mut config);
    check(&config)
        .into_iter()
        .map(|violation| violation.key)
        .collect()
}

#[test]
fn the_default_configuration_is_valid() {
    assert_eq!(violations(|_| {}), [""; 0]);
}

#[test]
fn a_secret_under_32_bytes_is_rejected_and_not_shown() {
    let mut config = Config::default();
    config.auth.secret = Some(Secret::new("x".repeat(31)));
    let found = check(&config);
    assert_eq!(found[0].key, "auth.secret");
    assert!(!found[0].text.contains("xxx"));
    assert_eq!(
        violations(|config| config.auth.secret = Some(Secret::new("x".repeat(32)))),
        [""; 0]
    );
    assert_eq!(
        violations(|config| config.auth.previous_secrets = vec![Secret::new("old")]),
        ["auth.previous_secrets"]
    );
}

#[test]
fn keys_by_url_need_https_and_an_audience() {
    let with = |url: &str, audience: Option<&str>| {
        violations(|config| {
            config.auth.jwks_url = Some(url.to_owned());
            config.auth.audience = audience.map(str::to_owned);
        })
    };
    let url = "https://id.example.org/keys?v=2";
    assert_eq!(with(url, Some("parlor")), [""; 0]);
    assert_eq!(with(url, Some("any")), [""; 0]);
    assert_eq!(with(url, None), ["auth.jwks_url"]);
    assert_eq!(
        with("http://id.example.org/keys", Some("a")),
        ["auth.jwks_url"]
    );
}

#[test]
fn frames_have_origins_without_a_pattern() {
    let with =
        |origin: &str| violations(|config| config.http.frame_ancestors = vec![origin.to_owned()]);
    assert_eq!(with("https://cloud.example.org"), [""; 0]);
    for other in [
        "https://*.example.org",
        "*",
        "'self'",
        "tauri://localhost",
        "a.example",
    ] {
        assert_eq!(with(other), ["http.frame_ancestors"], "{other}");
    }
}

#[test]
fn a_leeway_is_five_minutes_at_most() {
    let with = |seconds| violations(|config| config.auth.leeway = Duration::from_secs(seconds));
    assert_eq!(with(300), [""; 0]);
    assert_eq!(with(301), ["auth.leeway"]);
}

#[test]
fn a_required_timeout_or_limit_must_not_be_zero() {
    let zero = Duration::ZERO;
    assert_eq!(
        violations(|config| {
            config.signaling.ping_interval = zero;
            config.signaling.burst = 0;
            config.turn.credential_ttl = zero;
        }),
        [
            "signaling.ping_interval",
            "turn.credential_ttl",
            "signaling.burst"
        ]
    );
    assert_eq!(
        violations(|config| config.http.request_timeout = Duration::MAX),
        ["http.request_timeout"]
    );
}

#[test]
fn two_listeners_cannot_share_an_address() {
    assert_eq!(
        violations(|config| config.http.listen.clear()),
        ["http.listen"]
    );
    assert_eq!(
        violations(|config| config.admin.metrics_listen.clear()),
        [""; 0]
    );
    assert_eq!(
        violations(|config| config.turn.listen = config.http.listen.clone()),
        ["turn.listen", "turn.listen"]
    );
    // Without TLS it has no listener.
    let same = |config: &mut Config| config.turn.tls_listen = config.turn.listen.clone();
    assert_eq!(violations(same), [""; 0]);
    assert_eq!(
        violations(|config| {
            same(config);
            config.tls.mode = TlsMode::Files;
        }),
        ["turn.tls_listen", "turn.tls_listen"]
    );
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    assert_eq!(
        violations(|config| config.http.listen = vec![any, any]),
        [""; 0]
    );
}

#[test]
fn proxy_protocol_needs_a_trusted_proxy() {
    let on = |config: &mut Config| config.turn.proxy_protocol = true;
    assert_eq!(violations(on), ["turn.proxy_protocol"]);
    assert_eq!(
        violations(|config| {
            on(config);
            config.http.trusted_proxies = vec!["192.0.2.0/24".parse().unwrap()];
        }),
        [""; 0]
    );
}

#[test]
fn external_ip_auto_needs_a_stun_server() {
    let auto = |config: &mut Config| config.turn.external_ip = vec!["auto".to_owned()];
    assert_eq!(violations(auto), ["turn.external_ip"]);
    assert_eq!(
        violations(|config| {
            auto(config);
            config.ice.stun_urls = vec!["stun:192.0.2.1:3478".to_owned()];
        }),
        [""; 0]
    );
}

#[test]
fn an_external_turn_server_needs_its_credentials() {
    let url = |config: &mut Config| config.ice.turn_urls = vec!["turn:t.example".to_owned()];
    assert_eq!(violations(url), ["ice.turn_urls"]);
    assert_eq!(
        violations(|config| {
            url(config);
            config.ice.turn_username = Some("u".to_owned());
            config.ice.turn_password = Some(Secret::new("p"));
        }),
        [""; 0]
    );
    assert_eq!(
        violations(|config| config.ice.stun_urls = vec!["stun://x".to_owned()]),
        ["ice.stun_urls"]
    );
}

#[test]
fn the_password_in_an_ice_url_is_not_shown() {
    let mut config = Config::default();
    config.ice.turn_urls = vec!["turn:u:p4ss@t".to_owned()];
    let found = check(&config);
    assert_eq!(found[0].key, "ice.turn_urls");
    assert!(!found[0].text.contains("p4ss"));
}

#[test]
fn a_cluster_needs_a_shared_database() {
    let found = violations(|config| {
        config.cluster.redis_url = Some("redis://localhost".parse().unwrap());
        config.store.url = Some("postgres://u@localhost/x".parse().unwrap());
    });
    assert_eq!(found, [""; 0]);
    let found = violations(|config| {
        config.cluster.redis_url = Some("redis://localhost".parse().unwrap());
    });
    assert_eq!(found, ["cluster.redis_url"]);
}

#[test]
fn the_name_of_a_node_its_prefix_and_its_lease_have_limits() {
    for name in ["", "a b", "a\n", "ä", &"x".repeat(64)] {
        assert_eq!(
            violations(|config| config.cluster.node = Some(name.to_owned())),
            ["cluster.node"]
        );
    }
    for prefix in ["", "a b", &"x".repeat(64)] {
        assert_eq!(
            violations(|config| config.cluster.prefix = prefix.to_owned()),
            ["cluster.prefix"]
        );
    }
    for (milliseconds, valid) in [(999, false), (1000, true), (60_000, true), (60_001, false)] {
        let found = violations(|config| config.cluster.lease = Duration::from_millis(milliseconds));
        assert_eq!(found.is_empty(), valid, "{milliseconds}");
    }
    let valid = violations(|config| config.cluster.node = Some("Node-1.example_org".to_owned()));
    assert_eq!(valid, [""; 0]);
}
