//! Hosts and URLs: the only parsers of them in parlor.
//!
//! | type | form | example |
//! |---|---|---|
//! | [`Host`] | a DNS name or an IP address | `talk.example.org`, `[2001:db8::1]` |
//! | [`Authority`] | a host and optionally a port (RFC 3986 section 3.2, without user information) | `talk.example.org:8443` |
//! | [`WebUrl`] | an http or https URL with a base path | `https://talk.example.org/voice` |
//! | [`OriginPattern`] | an origin, or a pattern of them | `https://*.example.org` |
//! | [`HttpsUrl`] | a resource that parlor fetches | `https://id.example.org/keys?v=2` |
//! | [`WebOrigin`] | the origin of a page (RFC 6454) | `https://app.example.org`, `tauri://localhost` |
//! | [`IceUrl`] | a STUN or TURN server (RFC 7064, RFC 7065) | `turn:talk.example.org:3478?transport=udp` |
//! | [`Sentinels`] | a Redis server by its sentinels | `redis+sentinel://a.example.org,b.example.org/parlor` |
//!
//! All of them compare and format in one normal form: names in lower case, addresses as [`std::net`]
//! formats them, IPv6 in brackets.

mod authority;
mod host;
mod https_url;
mod ice_url;
mod origin_pattern;
mod sentinels;
mod web_origin;
mod web_url;

pub use authority::{Authority, AuthorityError};
pub use host::{Host, HostError, to_ascii};
pub use https_url::{HttpsUrl, HttpsUrlError};
pub use ice_url::{IceScheme, IceUrl, IceUrlError, STUN_PORT, Transport};
pub use origin_pattern::OriginPattern;
pub use sentinels::{Sentinels, SentinelsError};
pub use web_origin::{WebOrigin, WebOriginError};
pub use web_url::{WebUrl, WebUrlError};
