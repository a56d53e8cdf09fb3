//! The reload scope of each key: live, or after a restart.
//!
//! The table names every field of every section. The compiler rejects a missing one.

use serde::Serialize;

use super::{Admin, Auth, Config, Diagnostic, Http, Ice, Log, Rooms, Server, Signaling, Tls, Turn};

/// The time from which a new value of a key is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReloadScope {
    /// In force as soon as it is read.
    Live,
    /// In force after a restart.
    Restart,
}

/// The result of a reload.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReloadReport {
    /// Keys with a new value that is in force.
    pub changed: Vec<&'static str>,
    /// Keys with a new value that is in force after a restart.
    pub needs_restart: Vec<&'static str>,
    /// Warnings about the new values and the old ones.
    pub warnings: Vec<String>,
}

impl ReloadReport {
    pub fn new(running: &Config, wanted: &Config, warnings: &[Diagnostic]) -> ReloadReport {
        let mut report = ReloadReport {
            warnings: warnings.iter().map(Diagnostic::to_string).collect(),
            ..ReloadReport::default()
        };
        for (key, effect) in differences(running, wanted) {
            match effect {
                ReloadScope::Live => report.changed.push(key),
                ReloadScope::Restart => report.needs_restart.push(key),
            }
        }
        report
    }
}

macro_rules! effects {
    ($($section:ident: $type:ident { $($key:ident: $effect:ident,)* })*) => {
        /// Every key with its reload scope.
        pub const RELOAD_SCOPES: &[(&str, ReloadScope)] = &[
            $($((concat!(stringify!($section), ".", stringify!($key)), ReloadScope::$effect),)*)*
        ];

        /// The keys whose values differ.
        fn differences(running: &Config, wanted: &Config) -> Vec<(&'static str, ReloadScope)> {
            let Config { $($section),* } = wanted;
            let mut found = Vec::new();
            $(
                let $type { $($key),* } = $section;
                $(if *$key != running.$section.$key {
                    let name = concat!(stringify!($section), ".", stringify!($key));
                    let difference = (reported_key(name, wanted), ReloadScope::$effect);
                    if !found.contains(&difference) {
                        found.push(difference);
                    }
                })*
            )*
            found
        }

        /// Copies from `running` to `wanted` the values that need a restart.
        pub fn keep_restart_values(running: &Config, wanted: &mut Config) {
            $($(if ReloadScope::$effect == ReloadScope::Restart {
                wanted.$section.$key.clone_from(&running.$section.$key);
            })*)*
        }
    };
}

effects! {
    server: Server {
        data_dir: Restart,
        public_url: Live,
        drain_timeout: Live,
    }
    http: Http {
        listen: Restart,
        plain_listen: Restart,
        allowed_origins: Live,
        trusted_proxies: Live,
        proxy_protocol: Live,
        header_timeout: Live,
        request_timeout: Live,
        max_body: Live,
        max_connections: Restart,
        max_connections_per_address: Live,
    }
    tls: Tls {
        mode: Restart,
        cert_file: Live,
        key_file: Live,
        domains: Live,
        acme_directory: Live,
        acme_contact: Live,
        acme_ca_file: Live,
        identity: Live,
    }
    auth: Auth {
        secret: Live,
        secret_file: Live,
        previous_secrets: Live,
        previous_secrets_file: Live,
        algorithm: Live,
        public_key_file: Live,
        jwks_file: Live,
        public_keys: Live,
        issuer: Live,
        audience: Live,
        token_ttl: Live,
        provision_users: Live,
        trust_roles: Live,
        enforce_expiry: Live,
    }
    signaling: Signaling {
        ping_interval: Live,
        ping_timeout: Live,
        close_timeout: Live,
        max_message: Live,
        max_queue: Live,
        rate: Live,
        burst: Live,
        byte_rate: Live,
        byte_burst: Live,
    }
    rooms: Rooms {
        create: Live,
        max_messages: Live,
        guest_grace_period: Live,
        kick_cooldown: Live,
    }
    ice: Ice {
        stun_urls: Live,
        turn_urls: Live,
        turn_username: Live,
        turn_password: Live,
        turn_password_file: Live,
    }
    turn: Turn {
        listen: Restart,
        tls_listen: Restart,
        proxy_protocol: Live,
        alternate_port: Restart,
        mode: Restart,
        coalesce_delay: Restart,
        segmentation: Restart,
        shards: Restart,
        realm: Restart,
        secret: Live,
        secret_file: Live,
        previous_secrets: Live,
        previous_secrets_file: Live,
        credential_ttl: Live,
        external_ip: Live,
        public_host: Live,
        relay_ports: Restart,
        allowed_peers: Live,
        denied_peers: Live,
        denied_peer_ports: Live,
        alternate_server: Live,
        max_allocations: Live,
        max_allocations_per_user: Live,
        max_allocations_per_address: Live,
        max_permissions: Live,
        max_channels: Live,
        bandwidth_per_allocation: Live,
        bandwidth_per_user: Live,
        bandwidth_total: Live,
        allow_anonymous: Live,
        unauthenticated_rate: Live,
        max_streams_per_address: Live,
    }
    admin: Admin {
        socket: Restart,
        metrics_listen: Restart,
        old_metric_names: Live,
    }
    log: Log {
        format: Restart,
        level: Live,
    }
}

/// Returns the setting to report for a field. Public keys and certificates are reported by the
/// setting that names their file.
fn reported_key(name: &'static str, wanted: &Config) -> &'static str {
    match name {
        "auth.public_keys" if wanted.auth.jwks_file.is_some() => "auth.jwks_file",
        "auth.public_keys" => "auth.public_key_file",
        "tls.identity" => "tls.cert_file",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Schema;
    use crate::public_key::{Material, PublicKey};

    #[test]
    fn the_table_has_exactly_the_known_keys() {
        let listed = RELOAD_SCOPES.iter().map(|(key, _)| *key);
        let filed = ["auth.public_keys", "tls.identity"];
        let mut listed: Vec<_> = listed.filter(|key| !filed.contains(key)).collect();
        listed.sort_unstable();
        let keys = Schema::known();
        let known: Vec<_> = keys.iter().map(|(key, _)| key).collect();
        assert_eq!(listed, known);
    }

    #[test]
    fn a_reload_keeps_the_values_that_need_a_restart() {
        let running = Config::default();
        let mut wanted = Config::default();
        wanted.turn.realm = "another".to_owned();
        wanted.turn.max_channels = 5;
        assert_eq!(
            differences(&running, &wanted),
            [
                ("turn.realm", ReloadScope::Restart),
                ("turn.max_channels", ReloadScope::Live)
            ]
        );
        keep_restart_values(&running, &mut wanted);
        assert_eq!(wanted.turn.realm, "parlor");
        assert_eq!(wanted.turn.max_channels, 5);
        assert_eq!(
            differences(&running, &wanted),
            [("turn.max_channels", ReloadScope::Live)]
        );
    }

    #[test]
    fn a_changed_key_is_reported_once() {
        let key = |x| PublicKey {
            id: None,
            material: Material::Ed25519(vec![x]),
        };
        let (mut jwks, mut pem) = (Config::default(), Config::default());
        jwks.auth.jwks_file = Some("jwks.json".into());
        jwks.auth.public_keys = vec![key(1)];
        pem.auth.public_key_file = Some("key.pem".into());
        pem.auth.public_keys = vec![key(2)];
        let files = ["auth.public_key_file", "auth.jwks_file"].map(|key| (key, ReloadScope::Live));
        assert_eq!(differences(&jwks, &pem), files);
        assert_eq!(differences(&pem, &jwks), files);
    }

    #[test]
    fn a_new_secret_in_the_same_file_is_a_difference() {
        let mut running = Config::default();
        running.auth.secret = Some(crate::secret::Secret::new("one"));
        let mut wanted = running.clone();
        wanted.auth.secret = Some(crate::secret::Secret::new("two"));
        assert_eq!(
            differences(&running, &wanted),
            [("auth.secret", ReloadScope::Live)]
        );
    }
}
