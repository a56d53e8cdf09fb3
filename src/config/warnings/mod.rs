//! Warnings: valid but risky settings. They are few, because users ignore warnings after a false one.

mod relay;
mod secrets;
mod store;
mod web;

use super::value_source::Violation;
use super::{Config, ValueSources, acme, tls};

/// Returns a warning for every risky value of `config`.
pub(super) fn check(config: &Config, value_sources: &ValueSources) -> Vec<Violation> {
    let checks: [fn(&Config) -> Vec<Violation>; 19] = [
        secrets::short_secrets,
        secrets::reused_secret,
        web::relative_data_dir,
        web::page_without_https,
        web::https_without_tls,
        web::missing_audience,
        web::trust_of_every_proxy,
        web::exposed_metrics,
        relay::relay_ports,
        relay::dangerous_peers,
        relay::open_scope,
        tls::warnings,
        acme::warnings,
        relay::many_ice_urls,
        store::unverified_store,
        store::store_without_url,
        store::exposed_redis,
        store::secrets_of_nodes,
        store::cluster_without_url,
    ];
    let found = checks.iter().flat_map(|check| check(config));
    found
        .chain(secrets::exposed_secrets(config, value_sources))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::config::{Config, TlsMode, ValueSources};
    use crate::secret::Secret;

    fn report(change: impl FnOnce(&mut Config)) -> Vec<String> {
        let mut config = Config::default();
        change(&mut config);
        let violations = check(&config, &ValueSources::new()).into_iter();
        violations
            .map(|violation| format!("{} {}", violation.key, violation.text))
            .collect()
    }

    #[test]
    fn a_database_elsewhere_without_verification_gets_a_warning() {
        for (url, warned) in [
            ("postgres://u@db/x", false),
            ("postgres://u@db/x?sslmode=verify-ca", false),
            ("postgres://u@localhost/x?sslmode=disable", false),
            ("postgres://u@db/x?sslmode=disable", true),
            ("postgres://u@db/x?sslmode=require", true),
        ] {
            let found = report(|config| config.store.url = Some(url.parse().unwrap()));
            assert_eq!(found.len(), usize::from(warned), "{url}: {found:?}");
        }
        let unused = report(|config| config.store.ca_file = Some("ca.pem".into()));
        assert_eq!(
            unused,
            ["store.ca_file is set, but store.url is not, so it has no effect"]
        );
    }

    #[test]
    fn a_redis_server_elsewhere_without_tls_gets_a_warning() {
        let of = |url: &str, ca_file: bool| {
            report(|config| {
                config.auth.secret = Some(Secret::new("x".repeat(32)));
                config.turn.secret = Some(Secret::new("y".repeat(32)));
                config.cluster.redis_url = Some(url.parse().unwrap());
                config.cluster.redis_ca_file = ca_file.then(|| "ca.pem".into());
            })
        };
        assert_eq!(of("redis://localhost", false), [""; 0]);
        assert_eq!(of("rediss://db", true), [""; 0]);
        let elsewhere = of("redis://db", false);
        assert_eq!(elsewhere.len(), 1, "{elsewhere:?}");
        assert!(elsewhere[0].starts_with("cluster.redis_url has no TLS"));
        let unused = "cluster.redis_ca_file is set, but cluster.redis_url is not rediss://, so it has no effect";
        assert_eq!(of("redis://localhost", true), [unused]);
        let alone = report(|config| config.cluster.node = Some("n1".to_owned()));
        assert_eq!(
            alone,
            ["cluster.node is set, but cluster.redis_url is not, so it has no effect"]
        );
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
