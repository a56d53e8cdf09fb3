//! The PostgreSQL server, and the Redis server.

use crate::config::value_source::Violation;
use crate::config::{Config, SslMode};

/// A server elsewhere, with a connection that others can read or take over.
pub(super) fn unverified_store(config: &Config) -> Vec<Violation> {
    let store = &config.store;
    let Some(url) = store.url.as_ref().filter(|url| !url.is_local()) else {
        return Vec::new();
    };
    let text = match url.ssl_mode() {
        SslMode::Disable => {
            "has sslmode=disable: everybody on the way can read and change the data"
        }
        SslMode::Require if store.ca_file.is_none() => {
            "has sslmode=require, which does not verify the server: use verify-full, with \
             store.ca_file for an authority of your own"
        }
        _ => return Vec::new(),
    };
    vec![Violation::new("store.url", text)]
}

/// Settings that belong to a PostgreSQL server, and no server.
pub(super) fn store_without_url(config: &Config) -> Vec<Violation> {
    let store = &config.store;
    if store.url.is_some() {
        return Vec::new();
    }
    let set = [
        ("store.password", store.password.is_some()),
        ("store.ca_file", store.ca_file.is_some()),
    ];
    without_effect(&set, "store.url")
}

/// A Redis server elsewhere, with a connection that others can read or take over.
pub(super) fn exposed_redis(config: &Config) -> Vec<Violation> {
    let url = config.cluster.redis_url.as_ref();
    if url.is_none_or(|url| !url.is_exposed()) {
        return Vec::new();
    }
    let text = "has no TLS: everybody on the way can read and change signals, and remove users; use \
                rediss:// (rediss+sentinel://), or a network of its own";
    vec![Violation::new("cluster.redis_url", text)]
}

/// Nodes of a cluster without the secrets that all of them share. No error: commands beside a server do not see the
/// secrets that systemd passes to it.
pub(super) fn secrets_of_nodes(config: &Config) -> Vec<Violation> {
    let missing = config.missing_secrets_of_nodes().into_iter();
    let violation = |key: &'static str| {
        let text = format!(
            "is not set here, and all nodes need the same one: pass it by the unit \
             (LoadCredential={key}:FILE), or set {key}_file"
        );
        Violation::with(key, &["cluster.redis_url"], text)
    };
    missing.map(violation).collect()
}

/// Settings that belong to a Redis server, and no server, or no TLS.
pub(super) fn cluster_without_url(config: &Config) -> Vec<Violation> {
    let cluster = &config.cluster;
    if let Some(url) = &cluster.redis_url {
        let text = "is set, but cluster.redis_url is not rediss://, so it has no effect";
        if cluster.redis_ca_file.is_none() || url.has_tls() {
            return Vec::new();
        }
        return vec![Violation::new("cluster.redis_ca_file", text)];
    }
    let set = [
        ("cluster.redis_password", cluster.redis_password.is_some()),
        ("cluster.redis_ca_file", cluster.redis_ca_file.is_some()),
        ("cluster.node", cluster.node.is_some()),
    ];
    without_effect(&set, "cluster.redis_url")
}

/// A warning for each setting that is set, although `url` is not.
fn without_effect(settings: &[(&'static str, bool)], url: &str) -> Vec<Violation> {
    let set = settings.iter().filter(|(_, is_set)| *is_set);
    set.map(|(key, _)| {
        let text = format!("is set, but {url} is not, so it has no effect");
        Violation::new(key, text)
    })
    .collect()
}
