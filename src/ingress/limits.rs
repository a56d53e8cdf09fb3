//! The limits and timeouts of every TCP listener.
//!
//! | limit | `http.listen`, `http.plain_listen` | `admin.metrics_listen` | `turn.listen`, `turn.tls_listen` |
//! |---|---|---|---|
//! | connections in total | `http.max_connections` | [`MAX_METRICS_CONNECTIONS`] | [`MAX_STREAMS`] |
//! | at that limit | evict a connection of the source with the most, else wait | the same | reject |
//! | connections per source | `http.max_connections_per_address` | the same | `turn.max_streams_per_address` |
//! | connections not yet classified | part of the total; evicted first | the same | [`MAX_PENDING_STREAMS`]; evict the oldest |
//! | time per step | `http.header_timeout` | the same | [`TURN_STEP_TIMEOUT`] |
//! | PROXY header from `http.trusted_proxies` | `http.proxy_protocol` | none | `turn.proxy_protocol` |
//! | pause after a failed accept(2) | [`ACCEPT_BACKOFF`] | the same | the same |
//!
//! A *source* is an IPv4 address or an IPv6 /56 ([`crate::rate::source_prefix`]). A *step* is the PROXY header, the
//! first byte, the TLS handshake, or the first byte inside TLS. A TURN stream on an HTTP listener leaves
//! the HTTP limits after its classification and counts for the TURN limits.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipnet::IpNet;

use crate::config;

/// TURN streams in total.
pub const MAX_STREAMS: usize = 4096;

/// TURN connections that wait for a PROXY header or a TLS handshake. A legitimate client needs a few
/// round trips.
pub const MAX_PENDING_STREAMS: usize = 512;

/// Connections to the metrics listeners in total.
pub const MAX_METRICS_CONNECTIONS: usize = 64;

/// Time for the PROXY header of a TURN connection, and again for its TLS handshake.
pub const TURN_STEP_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after accept(2) has failed: usually the process is out of descriptors.
pub const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The limits of one kind of listener that a reload of the configuration may change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Open connections per source.
    pub max_per_source: usize,
    /// Time for each step before a connection is classified.
    pub step_timeout: Duration,
    /// Whether trusted proxies send a PROXY header.
    pub proxy_protocol: bool,
    pub trusted_proxies: Vec<IpNet>,
}

impl Limits {
    /// The limits of `http.listen` and `http.plain_listen`.
    pub fn http(http: &config::Http) -> Limits {
        Limits {
            max_per_source: http.max_connections_per_address,
            step_timeout: http.header_timeout,
            proxy_protocol: http.proxy_protocol,
            trusted_proxies: http.trusted_proxies.clone(),
        }
    }

    /// The limits of `admin.metrics_listen`.
    pub fn metrics(http: &config::Http) -> Limits {
        Limits {
            proxy_protocol: false,
            ..Limits::http(http)
        }
    }

    /// The limits of `turn.listen` and `turn.tls_listen`.
    pub fn turn(turn: &config::Turn, trusted_proxies: &[IpNet]) -> Limits {
        Limits {
            max_per_source: turn.max_streams_per_address,
            step_timeout: TURN_STEP_TIMEOUT,
            proxy_protocol: turn.proxy_protocol,
            trusted_proxies: trusted_proxies.to_vec(),
        }
    }

    /// Whether `ip` is a trusted proxy, which many clients share.
    pub fn is_proxy(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.trusted_proxies.iter().any(|net| net.contains(&ip))
    }

    /// Whether a connection from `ip` has to begin with a PROXY header.
    pub fn expects_proxy_header(&self, ip: IpAddr) -> bool {
        self.proxy_protocol && self.is_proxy(ip)
    }
}

/// The current limits of a kind of listener. A reload replaces them.
#[derive(Debug, Default)]
pub struct LiveLimits(RwLock<Arc<Limits>>);

impl LiveLimits {
    pub fn new(limits: Limits) -> LiveLimits {
        LiveLimits(RwLock::new(Arc::new(limits)))
    }

    pub fn get(&self) -> Arc<Limits> {
        let limits = self.0.read().unwrap_or_else(PoisonError::into_inner);
        limits.clone()
    }

    /// Applies new limits to later connections. Existing connections stay.
    pub fn set(&self, limits: Limits) {
        let mut current = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(limits);
    }

    /// See [`Limits::is_proxy`].
    pub fn is_proxy(&self, ip: IpAddr) -> bool {
        self.get().is_proxy(ip)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_has_to_send_a_proxy_header_and_a_reload_changes_that() {
        let trusted: [IpNet; 1] = ["192.0.2.0/24".parse().unwrap()];
        let mut turn = config::Turn::default();
        let limits = LiveLimits::new(Limits::turn(&turn, &trusted));
        let expects = |ip: &str| limits.get().expects_proxy_header(ip.parse().unwrap());
        assert!(!expects("192.0.2.1"));
        turn.proxy_protocol = true;
        limits.set(Limits::turn(&turn, &trusted));
        assert!(expects("192.0.2.1") && expects("::ffff:192.0.2.7"));
        assert!(!expects("198.51.100.1"));
        limits.set(Limits::turn(&turn, &[]));
        assert!(!expects("192.0.2.1"));
    }

    #[test]
    fn the_metrics_listener_expects_no_proxy_header() {
        let http = config::Http {
            proxy_protocol: true,
            trusted_proxies: vec!["192.0.2.0/24".parse().unwrap()],
            ..config::Http::default()
        };
        let proxy = IpAddr::from([192, 0, 2, 1]);
        assert!(Limits::http(&http).expects_proxy_header(proxy));
        assert!(!Limits::metrics(&http).expects_proxy_header(proxy));
    }
}
