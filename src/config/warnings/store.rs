//! The PostgreSQL server.

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
    let text = "is set, but store.url is not, so it has no effect";
    set.into_iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(key, _)| Violation::new(key, text))
        .collect()
}
