//! The client behind proxies: `Forwarded` (RFC 7239) and the `X-Forwarded-*` headers.
//!
//! Any client can send such headers. So they count only if the TCP peer is a trusted proxy, and only as
//! far as trusted proxies wrote them: parsing starts at the right, where the nearest proxy wrote, and ends
//! at the first invalid element.

use std::net::IpAddr;

use hyper::header::{self, HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::clock::Mono;
use crate::rate::PerIpLimiter;
use crate::url::Authority;

const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The longest evaluated chain of proxies.
const MAX_HOPS: usize = 16;

/// The client of a request, and the host that it requested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientInfo {
    pub address: IpAddr,
    /// The second candidate address of the client, if the headers disagree.
    pub alternative: Option<IpAddr>,
    /// Whether `address` belongs to a trusted proxy that names no client.
    pub is_proxy: bool,
    /// Whether the client used HTTPS; `None` if no trusted proxy says so.
    pub https: Option<bool>,
    /// The host that the client requested from a trusted proxy.
    pub host: Option<Authority>,
}

impl ClientInfo {
    /// Determines the client of a request from TCP peer `peer`.
    ///
    /// A proxy that writes one of the two kinds of headers may forward a forged header of the other kind.
    /// So if both name a client and disagree, the client may be either.
    pub fn new(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientInfo {
        let peer = peer.to_canonical();
        if !is_trusted(trusted, peer) {
            return ClientInfo::direct(peer);
        }
        let usual = [FOR, PROTO, HOST].iter().any(|h| headers.contains_key(h));
        let usual = usual.then(|| from_x_forwarded(peer, headers, trusted));
        let standard = headers
            .contains_key(FORWARDED)
            .then(|| from_forwarded(peer, headers, trusted));
        let client_info = match (usual, standard) {
            (Some(usual), Some(standard)) => usual.combine(standard, trusted),
            (Some(one), None) | (None, Some(one)) => one,
            (None, None) => ClientInfo::direct(peer),
        };
        ClientInfo {
            is_proxy: is_trusted(trusted, client_info.address),
            ..client_info
        }
    }

    pub fn direct(address: IpAddr) -> ClientInfo {
        ClientInfo {
            address,
            alternative: None,
            is_proxy: false,
            https: None,
            host: None,
        }
    }

    /// The host that the client requested, from a trusted proxy or else from `Host`.
    pub(super) fn requested_host(&self, headers: &HeaderMap) -> Option<Authority> {
        self.host.clone().or_else(|| host_header(headers))
    }

    /// Evaluates both kinds of headers. If one names only proxies, the other decides.
    fn combine(self, standard: ClientInfo, trusted: &[IpNet]) -> ClientInfo {
        let names_client = |client_info: &ClientInfo| !is_trusted(trusted, client_info.address);
        let (address, alternative) = match (names_client(&self), names_client(&standard)) {
            (false, _) => (standard.address, None),
            (true, false) => (self.address, None),
            (true, true) => {
                let alternative =
                    Some(standard.address).filter(|alternative| *alternative != self.address);
                (self.address, alternative)
            }
        };
        ClientInfo {
            address,
            alternative,
            is_proxy: false,
            https: equal_or_single(self.https, standard.https),
            host: equal_or_single(self.host, standard.host),
        }
    }

    /// Whether the limit of the client's address allows one more.
    pub fn try_take(&self, limit: &PerIpLimiter, now: Mono) -> bool {
        match self.alternative {
            Some(alternative) => limit.take_ambiguous([self.address, alternative], now),
            None => limit.take(self.address, now),
        }
    }

    /// The address that an admin may ban. `None` for a proxy, since a ban would block all its clients,
    /// and for an address that the client may have forged.
    pub fn bannable_address(&self) -> Option<IpAddr> {
        Some(self.address).filter(|_| !self.is_proxy && self.alternative.is_none())
    }

    /// The address to log if there is no [`ClientInfo::bannable_address`].
    pub fn ambiguous_address(&self) -> Option<String> {
        match (self.alternative, self.is_proxy) {
            (Some(alternative), _) => Some(format!("{} or {alternative}", self.address)),
            (None, true) => Some(self.address.to_string()),
            (None, false) => None,
        }
    }
}

/// Combines the results of two headers, either of which may be absent.
fn equal_or_single<T: PartialEq>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => (one == other).then_some(one),
        (one, other) => one.or(other),
    }
}

/// Evaluates `Forwarded`. Protocol and host come from the proxy that named the client.
fn from_forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientInfo {
    let mut client_info = ClientInfo::direct(peer);
    for element in items_from_right(headers, FORWARDED).take(MAX_HOPS) {
        let Some(element) = element.and_then(Element::parse) else {
            return client_info;
        };
        client_info = ClientInfo {
            https: element.proto.and_then(is_https),
            host: element.host.and_then(parse_host),
            ..ClientInfo::direct(element.client.unwrap_or(client_info.address))
        };
        if element
            .client
            .is_none_or(|client| !is_trusted(trusted, client))
        {
            return client_info;
        }
    }
    client_info
}

/// Evaluates `X-Forwarded-For`, and the other two headers as the nearest proxy wrote them.
fn from_x_forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> ClientInfo {
    let mut address = peer;
    for node in items_from_right(headers, FOR).take(MAX_HOPS) {
        let Some(client) = node.and_then(parse_node) else {
            break;
        };
        address = client;
        if !is_trusted(trusted, client) {
            break;
        }
    }
    let nearest = |name| items_from_right(headers, name).next().flatten();
    ClientInfo {
        https: nearest(PROTO).and_then(is_https),
        host: nearest(HOST).and_then(parse_host),
        ..ClientInfo::direct(address)
    }
}

/// An element of `Forwarded`, written by one proxy.
#[derive(Default)]
struct Element<'a> {
    /// `None` for `unknown` and for obfuscated identifiers.
    client: Option<IpAddr>,
    proto: Option<&'a str>,
    host: Option<&'a str>,
}

impl Element<'_> {
    /// Parses `for=192.0.2.60;proto=http;by=203.0.113.43` (RFC 7239 section 4); `None` if it is malformed.
    fn parse(text: &str) -> Option<Element<'_>> {
        let mut element = Element::default();
        let mut seen = [false; 3];
        for pair in split(text.as_bytes(), b';') {
            let (name, value) = std::str::from_utf8(pair).ok()?.trim().split_once('=')?;
            let value = unquote(value)?;
            let position = ["for", "proto", "host"]
                .iter()
                .position(|known| name.eq_ignore_ascii_case(known));
            let Some(position) = position else {
                continue;
            };
            // At most once per element (section 4).
            if std::mem::replace(&mut seen[position], true) {
                return None;
            }
            match position {
                0 => element.client = parse_node(value),
                1 => element.proto = Some(value),
                _ => element.host = Some(value),
            }
        }
        seen.contains(&true).then_some(element)
    }
}

/// The items of all lines of a header, the last one first; `None` for an item that is not text.
fn items_from_right(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = Option<&str>> {
    let lines: Vec<_> = headers.get_all(name).iter().collect();
    let items = lines.into_iter().rev();
    items
        .flat_map(|line| split(line.as_bytes(), b','))
        .map(|item| Some(std::str::from_utf8(item).ok()?.trim()))
}

/// Splits at `separator` outside quotes, the last piece first. So an open quote of a client, at the left,
/// does not affect the element of the nearest proxy.
fn split(text: &[u8], separator: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut quoted = false;
        let at = text.iter().rposition(|&byte| {
            quoted ^= byte == b'"';
            byte == separator && !quoted
        });
        let (left, piece) = match at {
            Some(at) => (Some(&text[..at]), &text[at + 1..]),
            None => (None, text),
        };
        rest = left;
        Some(piece)
    })
}

/// Returns a token, or the text of a quoted string without escapes.
fn unquote(value: &str) -> Option<&str> {
    let value = value.trim();
    let inner = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    (!inner.contains(['"', '\\'])).then_some(inner)
}

/// Parses the address of a node (RFC 7239 section 6), with or without a port, IPv6 in brackets. Also
/// accepts IPv6 without brackets, as in `X-Forwarded-For`.
fn parse_node(node: &str) -> Option<IpAddr> {
    let ip = |text: &str| text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    if let Some(rest) = node.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return ip(address).filter(|_| fits && address.contains(':'));
    }
    ip(node).or_else(|| {
        let (address, port) = node.split_once(':')?;
        ip(address).filter(|_| is_port(port))
    })
}

/// Whether a text is a port or an obfuscated port (RFC 7239 section 6.3).
fn is_port(port: &str) -> bool {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    match port.strip_prefix('_') {
        Some(name) => !name.is_empty() && name.chars().all(fits),
        None => port.parse::<u16>().is_ok(),
    }
}

fn is_https(proto: &str) -> Option<bool> {
    match proto.to_ascii_lowercase().as_str() {
        "https" | "wss" => Some(true),
        "http" | "ws" => Some(false),
        _ => None,
    }
}

/// Parses `Host`; `None` if it is absent or names no valid host.
pub(super) fn host_header(headers: &HeaderMap) -> Option<Authority> {
    parse_host(headers.get(header::HOST)?.to_str().ok()?)
}

fn parse_host(text: &str) -> Option<Authority> {
    Authority::parse_header(text).ok()
}

fn is_trusted(trusted: &[IpNet], ip: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(&ip))
}

#[cfg(test)]
mod tests;
