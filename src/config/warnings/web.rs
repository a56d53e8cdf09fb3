//! The data directory, the page, tokens, proxies and metrics.

use std::net::IpAddr;

use crate::config::value_source::Violation;
use crate::config::{Config, TlsMode, public_url};

/// Warns of a data directory that depends on the working directory.
pub(super) fn relative_data_dir(config: &Config) -> Vec<Violation> {
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

/// Warns of a page without https:
/// <https://w3c.github.io/mediacapture-main/#dom-navigator-mediadevices> is `[SecureContext]`.
pub(super) fn page_without_https(config: &Config) -> Vec<Violation> {
    let insecure = public_url(config).filter(|url| !url.is_https() && !url.host().is_loopback());
    let text = "is not https: browsers give a page the microphone over https alone, \
                but for pages of the same computer";
    let violation = insecure.map(|_| Violation::new("server.public_url", text));
    violation.into_iter().collect()
}

/// Warns of an https URL without TLS and without a trusted proxy.
pub(super) fn https_without_tls(config: &Config) -> Vec<Violation> {
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

pub(super) fn missing_audience(config: &Config) -> Vec<Violation> {
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

pub(super) fn trust_of_every_proxy(config: &Config) -> Vec<Violation> {
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

pub(super) fn exposed_metrics(config: &Config) -> Vec<Violation> {
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
