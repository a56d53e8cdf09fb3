//! `[http]`

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::macros::settings;
use crate::net::both_families;

settings! {
    /// The page, the API and signaling: listeners, proxies, timeouts and limits.
    pub struct Http in http {
        /// Addresses and ports for the page, the API, and signaling by WebSocket: over HTTPS unless `tls.mode`
        /// is `"off"`. They also serve TURN over TCP or TLS.
        ///
        /// See [One port for everything](../run/ports.md#one-port-for-http-and-turn).
        listen: Vec<SocketAddr> = both_families(8000), Restart;

        /// Addresses and ports for plain HTTP beside TLS, such as `["0.0.0.0:80", "[::]:80"]`: they redirect
        /// browsers to HTTPS, and answer the challenges of ACME.
        ///
        /// The redirect (308) leads to `server.public_url`, else to the host of the request. Challenges are
        /// requests below `/.well-known/acme-challenge/`. The listeners also answer requests from
        /// `http.trusted_proxies` that reached the proxy over HTTPS. Without TLS (`tls.mode`) the setting has
        /// no effect.
        plain_listen: Vec<SocketAddr> = Vec::new(), Restart;

        /// Origins whose pages may call the API and open WebSockets, such as `["https://app.example.org"]` or
        /// `["https://*.example.org"]`, where `*` is exactly one label.
        /// Empty: any, without credentials (there are no cookies, so an origin alone grants nothing).
        allowed_origins: Vec<String> = Vec::new(), Live;

        /// Origins whose pages may show the page of a room in a frame, such as `["https://cloud.example.org"]`.
        ///
        /// See [In a frame of another page](../build/frames.md).
        frame_ancestors: Vec<String> = Vec::new(), Live;

        /// Networks or addresses of the reverse proxies in front, such as `["127.0.0.1", "10.0.0.0/8"]`. Their
        /// `Forwarded` and `X-Forwarded-*` headers name the client; from other addresses they are ignored.
        ///
        /// parlor reads `Forwarded` (RFC 7239) or `X-Forwarded-For` from the right and takes the first
        /// address that is not a trusted proxy. Limits and logs use that address; links use
        /// `X-Forwarded-Proto` and `X-Forwarded-Host`. If both headers are present and disagree (a proxy may
        /// forward a header that the client wrote), [both addresses count](../run/proxies.md#requests).
        #[serde(deserialize_with = "crate::config::cidr::deserialize")]
        trusted_proxies: Vec<IpNet> = Vec::new(), Live;

        /// Whether a connection from one of `http.trusted_proxies` begins with a PROXY header (version 1 or 2),
        /// which names the client. HAProxy, nginx (`stream`) and load balancers of clouds send it. If it is on,
        /// trusted proxies must send it and others must not.
        ///
        /// See [PROXY protocol](../run/ports.md#proxy-protocol).
        proxy_protocol: bool = false, Live;

        /// The timeout from a connection to its first byte, and again to the end of a request's headers.
        #[serde(with = "crate::config::duration")]
        header_timeout: Duration = Duration::from_secs(10), Live;

        /// The timeout of a whole request, from its headers to the end of the response. WebSockets are exempt.
        #[serde(with = "crate::config::duration")]
        request_timeout: Duration = Duration::from_secs(30), Live;

        /// The maximum number of bytes in the body of one request.
        max_body: usize = 64 * 1024, Live;

        /// The maximum number of TCP connections, WebSockets included. When the limit is reached, a new
        /// connection evicts one of the address with the most connections.
        ///
        /// Connections without a request are evicted first, WebSockets last (closed with 4000).
        max_connections: usize = 12_000, Restart;

        /// The maximum number of TCP connections of one address (IPv6: one /56). `http.trusted_proxies` are
        /// exempt.
        ///
        /// An address from a [PROXY header](../run/ports.md#proxy-protocol) is not exempt. At the limit, a new
        /// connection evicts one of the same address that has not sent a request; if there is none, the new
        /// connection is closed.
        max_connections_per_address: usize = 2_000, Live;
    }
}
