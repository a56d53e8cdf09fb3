//! Validation of values beyond their types, alone and in combination.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration::{MAX_DURATION, MAX_DURATION_TEXT};
use super::names::is_host;
use super::origin::Violation;
use super::tls::{TCP_LISTENERS, tcp_listeners};
use super::{Config, PublicUrl, alternate_server, discovery, external_ip};

use crate::public_key::is_public;

/// The minimum length of `auth.secret`. A shorter secret can be guessed.
const MIN_AUTH_SECRET_BYTES: usize = 32;

/// Returns every violation of `config`: the key, and what must change.
pub(super) fn check(config: &Config) -> Vec<Violation> {
    let mut violations = Violations(Vec::new());
    violations.durations(config);
    violations.amounts(config);
    violations.texts(config);
    violations.secrets(config);
    violations.listeners(config);
    violations.addresses(config);
    violations.ice(config);
    violations.0
}

struct Violations(Vec<Violation>);

impl Violations {
    fn require(&mut self, sound: bool, key: &'static str, text: impl Into<String>) {
        if !sound {
            self.0.push(Violation::new(key, text));
        }
    }

    /// Adds a violation that depends on the keys in `with` too. It is omitted if one of those is invalid.
    fn require_with(
        &mut self,
        sound: bool,
        key: &'static str,
        with: &'static [&'static str],
        text: impl Into<String>,
    ) {
        if !sound {
            self.0.push(Violation::with(key, with, text));
        }
    }

    fn durations(&mut self, config: &Config) {
        let Config {
            http,
            auth,
            signaling,
            turn,
            ..
        } = config;
        let all: [(&'static str, Duration); 7] = [
            ("http.header_timeout", http.header_timeout),
            ("http.request_timeout", http.request_timeout),
            ("auth.token_ttl", auth.token_ttl),
            ("signaling.ping_interval", signaling.ping_interval),
            ("signaling.ping_timeout", signaling.ping_timeout),
            ("signaling.close_timeout", signaling.close_timeout),
            ("turn.credential_ttl", turn.credential_ttl),
        ];
        for (key, span) in all {
            self.require(
                !span.is_zero(),
                key,
                "must be longer than zero, such as 10s",
            );
            self.require(
                span <= MAX_DURATION,
                key,
                format!("must not be longer than {MAX_DURATION_TEXT}"),
            );
        }
        // Zero ends at once.
        self.require(
            config.server.drain_timeout <= MAX_DURATION,
            "server.drain_timeout",
            format!("must not be longer than {MAX_DURATION_TEXT}"),
        );
        self.require(
            turn.coalesce_delay <= Duration::from_millis(1),
            "turn.coalesce_delay",
            "must not be longer than 1ms: calls would be delayed",
        );
        // Tokens and credentials expire on a whole second.
        for (key, span) in [
            ("auth.token_ttl", auth.token_ttl),
            ("turn.credential_ttl", turn.credential_ttl),
        ] {
            let sound = span.is_zero() || span >= Duration::from_secs(1);
            self.require(sound, key, "must be at least one second");
        }
    }

    fn amounts(&mut self, config: &Config) {
        let Config {
            http,
            signaling,
            turn,
            ..
        } = config;
        for (key, amount) in [
            ("http.max_body", http.max_body),
            ("http.max_connections", http.max_connections),
            (
                "http.max_connections_per_address",
                http.max_connections_per_address,
            ),
            ("signaling.max_message", signaling.max_message),
            ("signaling.rate", signaling.rate as usize),
            ("signaling.burst", signaling.burst as usize),
            (
                "turn.max_allocations_per_user",
                turn.max_allocations_per_user as usize,
            ),
            ("turn.max_permissions", turn.max_permissions),
            ("turn.max_channels", turn.max_channels),
            ("turn.max_streams_per_address", turn.max_streams_per_address),
        ] {
            self.require(amount > 0, key, "must be at least 1");
        }
        let (queue, message) = (signaling.max_queue, signaling.max_message);
        self.require_with(
            queue >= message,
            "signaling.max_queue",
            &["signaling.max_message"],
            format!(
                "must be at least signaling.max_message ({message}), or that message does not fit"
            ),
        );
        let burst = signaling.byte_burst;
        self.require_with(
            burst == 0 || signaling.byte_rate == 0 || (message..queue).contains(&burst),
            "signaling.byte_burst",
            &["signaling.max_message", "signaling.max_queue"],
            format!(
                "must be at least signaling.max_message ({message}), or that message closes its \
                 sender, and less than signaling.max_queue ({queue}), or one sender fills it"
            ),
        );
    }

    fn texts(&mut self, config: &Config) {
        for (key, text) in [
            ("server.public_url", &config.server.public_url),
            ("auth.issuer", &config.auth.issuer),
            ("auth.audience", &config.auth.audience),
            ("ice.turn_username", &config.ice.turn_username),
            ("turn.public_host", &config.turn.public_host),
        ] {
            let sound = text.as_ref().is_none_or(|text| !text.trim().is_empty());
            self.require(sound, key, "must not be empty: leave the key out instead");
        }
        let socket = config.admin.socket.as_ref();
        self.require(
            socket.is_none_or(|path| path.is_absolute()),
            "admin.socket",
            "must be a path that begins with /: leave the key out for the default",
        );
        let path = config.server.data_dir.as_ref();
        self.require(
            path.is_none_or(|path| !path.as_os_str().is_empty()),
            "server.data_dir",
            "must not be empty: leave the key out for the default",
        );
        let realm = &config.turn.realm;
        let plain = realm
            .chars()
            .all(|c| !c.is_control() && c != '"' && c != '\\');
        self.require(
            (1..128).contains(&realm.chars().count()) && plain,
            "turn.realm",
            "must have 1 to 127 characters, none of them a quote or a control character",
        );
    }

    fn secrets(&mut self, config: &Config) {
        let newest = config
            .auth
            .secret
            .iter()
            .map(|secret| ("auth.secret", secret));
        let older = config.auth.previous_secrets.iter();
        for (key, secret) in newest.chain(older.map(|secret| ("auth.previous_secrets", secret))) {
            self.require(
                !is_public(secret.expose()),
                key,
                "is a public key, which is not secret: \
                 name its file in auth.public_key_file or auth.jwks_file",
            );
            let bytes = secret.expose().len();
            self.require(
                bytes >= MIN_AUTH_SECRET_BYTES,
                key,
                format!(
                    "must have at least {MIN_AUTH_SECRET_BYTES} bytes, not {bytes}: \
                     `openssl rand -hex 32` makes a good one"
                ),
            );
        }
        let newest = config
            .turn
            .secret
            .iter()
            .map(|secret| ("turn.secret", secret));
        let older = config.turn.previous_secrets.iter();
        for (key, secret) in newest.chain(older.map(|secret| ("turn.previous_secrets", secret))) {
            let sound = !secret.expose().is_empty();
            self.require(sound, key, "must not be empty: leave the key out instead");
        }
    }

    /// Requires distinct TCP addresses. Port 0 may repeat: each use gets a port of its own.
    fn listeners(&mut self, config: &Config) {
        let mut taken = BTreeMap::new();
        for (key, list) in tcp_listeners(config) {
            let needed = matches!(key, "http.listen" | "turn.listen");
            let example = "must name at least one address, such as 0.0.0.0:8000";
            self.require(!list.is_empty() || !needed, key, example);
            for address in list.iter().filter(|address| address.port() != 0) {
                if let Some(other) = taken.insert(*address, key) {
                    let text = format!("names {address}, which {other} has already");
                    let with = TCP_LISTENERS.iter().position(|known| *known == other);
                    let with = with.map_or(&TCP_LISTENERS[..], |at| &TCP_LISTENERS[at..=at]);
                    self.require_with(false, key, with, text);
                }
            }
        }
    }

    fn addresses(&mut self, config: &Config) {
        let url = config.server.public_url.as_deref();
        for url in url.iter().filter(|text| !text.trim().is_empty()) {
            if let Err(reason) = PublicUrl::parse(url) {
                self.require(false, "server.public_url", reason);
            }
        }
        for (key, is_on) in [
            ("http.proxy_protocol", config.http.proxy_protocol),
            ("turn.proxy_protocol", config.turn.proxy_protocol),
        ] {
            self.require_with(
                !is_on || !config.http.trusted_proxies.is_empty(),
                key,
                &["http.trusted_proxies"],
                "is on, but http.trusted_proxies is empty: name the proxy there",
            );
        }
        for origin in &config.http.allowed_origins {
            self.require(
                is_web_origin(origin),
                "http.allowed_origins",
                format!("must be origins such as https://app.example.org, not `{origin}`"),
            );
        }
        if let Some(host) = config.turn.public_host.as_deref() {
            self.require(
                host.trim().is_empty() || is_host(host),
                "turn.public_host",
                format!("must be a name or an address without port or scheme, not `{host}`"),
            );
        }
        self.0.extend(alternate_server::violations(&config.turn));
        self.0.extend(discovery::violations(&config.turn));
        let messages = external_ip::errors(&config.turn.external_ip);
        let messages = messages.into_iter();
        self.0
            .extend(messages.map(|violation| Violation::new("turn.external_ip", violation)));
        let auto = config.turn.external_ip.iter().any(|text| text == "auto");
        self.require_with(
            !auto || !config.ice.stun_urls.is_empty(),
            "turn.external_ip",
            &["ice.stun_urls"],
            "is `auto`, which asks a STUN server: name one in ice.stun_urls",
        );
    }

    fn ice(&mut self, config: &Config) {
        let ice = &config.ice;
        let lists: [(&'static str, &[String], [&str; 2]); 2] = [
            ("ice.stun_urls", &ice.stun_urls, ["stun:", "stuns:"]),
            ("ice.turn_urls", &ice.turn_urls, ["turn:", "turns:"]),
        ];
        for (key, urls, schemes) in lists {
            for url in urls {
                let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
                let scheme = schemes[0];
                self.require(
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
        self.require_with(
            ice.turn_urls.is_empty() || credentials,
            "ice.turn_urls",
            &["ice.turn_username", "ice.turn_password"],
            "needs ice.turn_username and ice.turn_password (TURN_USERNAME and TURN_PASSWORD): \
             browsers refuse a TURN server without them",
        );
    }
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

/// Returns whether `text` is an origin: a scheme and a host, without a path. Packaged apps have
/// schemes of their own.
fn is_web_origin(text: &str) -> bool {
    let Some((scheme, authority)) = text.split_once("://") else {
        return false;
    };
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => PublicUrl::is_origin(text),
        _ => {
            let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
            !scheme.is_empty() && scheme.chars().all(name) && is_host(authority)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::TlsMode;
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
        let url = |config: &mut Config| config.ice.turn_urls = vec!["turn:u:p4ss@t".to_owned()];
        assert_eq!(violations(url)[0], "ice.turn_urls");
    }

    #[test]
    fn an_origin_is_a_scheme_and_a_host() {
        for good in [
            "https://app.example:8443",
            "http://localhost",
            "tauri://localhost",
        ] {
            assert!(is_web_origin(good), "{good}");
        }
        for bad in [
            "*",
            "null",
            "app.example",
            "https://x/y",
            "://x",
            "tauri://",
            "a b://x",
        ] {
            assert!(!is_web_origin(bad), "{bad}");
        }
    }
}
