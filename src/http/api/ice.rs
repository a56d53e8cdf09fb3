//! `GET /api/ice-servers`: STUN and TURN with a credential just minted, in the shape that
//! `RTCPeerConnection` takes.

use std::net::{IpAddr, SocketAddr};

use hyper::StatusCode;
use hyper::header;
use serde_json::{Value, json as value};

use super::{no_such_room, not_a_participant, not_for_this_room};
use crate::http::{App, Error, Request, Response, json};
use crate::store::utc;
use crate::{clock, config};

pub async fn servers(request: Request) -> Result<Response, Error> {
    let host = host(&request)?;
    let asked = request.query("room");
    let visitor = request.visitor(asked.as_deref().unwrap_or("")).await?;
    let user = &visitor.caller.user;
    let room = match (&asked, &visitor.room, &user.guest) {
        (Some(asked), _, _) if !visitor.caller.claims.allows_room(asked) => {
            return Err(not_for_this_room());
        }
        (Some(_), None, _) => return Err(no_such_room()),
        (Some(_), Some(_), _) if !visitor.participant => return Err(not_a_participant()),
        (Some(_), Some(room), _) => Some(&room.id),
        // A guest has no business outside the room, and neither has the credential.
        (None, _, Some(guest)) => Some(&guest.room_id),
        (None, _, None) => None,
    };
    let offer = Offer::new(&request.app, &host, &user.id, room.map(String::as_str));
    let answer = value!({
        "iceServers": offer.servers,
        "iceTransportPolicy": "all",
        "ttl": offer.ttl,
        "expiresAt": utc::text(offer.expires),
    });
    Ok(json(StatusCode::OK, &answer))
}

/// Servers for one user, with a credential of their own.
pub struct Offer {
    /// `RTCIceServer`s.
    pub servers: Value,
    /// Seconds.
    pub ttl: u64,
    /// Unix seconds.
    pub expires: u64,
}

impl Offer {
    /// parlor's own servers at `host`, bound to `room` if one is given; then the configured others.
    pub fn new(app: &App, host: &str, user: &str, room: Option<&str>) -> Offer {
        let ttl = app.config.turn.credential_ttl.as_secs();
        let expires = clock::now().unix.saturating_add(ttl);
        let minted = app.credentials.mint(user, room, expires);
        let ports = ports(host, &app.turn);
        let stun: Vec<_> = ports
            .iter()
            .map(|port| format!("stun:{host}:{port}"))
            .collect();
        let turn: Vec<_> = ["udp", "tcp"]
            .iter()
            .flat_map(|over| {
                let url = move |port| format!("turn:{host}:{port}?transport={over}");
                ports.iter().map(url)
            })
            .collect();
        let mut servers = Vec::new();
        if !ports.is_empty() {
            servers.push(value!({ "urls": stun }));
            servers.push(value!({
                "urls": turn,
                "username": minted.username,
                "credential": minted.credential,
            }));
        }
        servers.extend(external(&app.config.ice));
        Offer {
            servers: Value::from(servers),
            ttl,
            expires,
        }
    }
}

fn external(ice: &crate::config::Ice) -> impl Iterator<Item = Value> {
    let stun = (!ice.stun_urls.is_empty()).then(|| value!({ "urls": ice.stun_urls }));
    let turn = (!ice.turn_urls.is_empty()).then(|| {
        let mut server = value!({ "urls": ice.turn_urls });
        if let Some(username) = &ice.turn_username {
            server["username"] = Value::from(username.as_str());
        }
        if let Some(password) = &ice.turn_password {
            server["credential"] = Value::from(password.expose());
        }
        server
    });
    stun.into_iter().chain(turn)
}

/// The host for URLs: `turn.public_host`, else that of `server.public_url`, else the one that the
/// request was sent to. IPv6 addresses are in brackets.
pub fn host(request: &Request) -> Result<String, Error> {
    let asked = request.header(header::HOST).or(request
        .uri()
        .authority()
        .map(|authority| authority.as_str()));
    config::turn_host(&request.app.config)
        .or_else(|| asked.and_then(bare_host))
        .ok_or_else(|| Error::bad_request("The request names no host (RFC 9110, section 7.2)"))
}

/// A host without its port; `None` for what can be none.
fn bare_host(authority: &str) -> Option<String> {
    if let Ok(ip) = authority.parse::<IpAddr>() {
        return Some(bracketed(ip));
    }
    if let Some(rest) = authority.strip_prefix('[') {
        let (ip, _) = rest.split_once(']')?;
        return ip.parse().ok().map(bracketed);
    }
    let name = authority
        .split_once(':')
        .map_or(authority, |(name, _)| name);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (!name.is_empty() && name.bytes().all(fits)).then(|| name.to_owned())
}

fn bracketed(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    }
}

/// The ports at which `host` reaches a listener: where it is an address that one listens on, or a
/// wildcard of its family, those; else (a name, an address in front of a NAT) all.
fn ports(host: &str, listeners: &[SocketAddr]) -> Vec<u16> {
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    let reaches = |listener: &&SocketAddr| match ip {
        None => false,
        Some(ip) => {
            let wildcard = listener.ip().is_unspecified() && listener.is_ipv4() == ip.is_ipv4();
            wildcard || listener.ip() == ip
        }
    };
    let mut chosen: Vec<_> = listeners.iter().filter(reaches).collect();
    if chosen.is_empty() {
        chosen = listeners.iter().collect();
    }
    let mut ports: Vec<u16> = Vec::new();
    for listener in chosen {
        if !ports.contains(&listener.port()) {
            ports.push(listener.port());
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_loses_its_port_and_an_ipv6_address_keeps_its_brackets() {
        let bare = |text: &str| bare_host(text);
        assert_eq!(bare("talk.example:8000").as_deref(), Some("talk.example"));
        assert_eq!(bare("192.0.2.1:80").as_deref(), Some("192.0.2.1"));
        assert_eq!(bare("[2001:db8::1]:80").as_deref(), Some("[2001:db8::1]"));
        assert_eq!(bare("2001:db8::1").as_deref(), Some("[2001:db8::1]"));
        for odd in ["", ":80", "[::1", "a b", "a/b", "a\"b", "[evil]"] {
            assert_eq!(bare(odd), None, "{odd}");
        }
    }

    #[test]
    fn ports_are_those_of_the_listeners_that_the_host_reaches() {
        let listeners = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let two = listeners(&["127.0.0.1:1111", "[::1]:2222"]);
        assert_eq!(ports("127.0.0.1", &two), [1111]);
        assert_eq!(ports("[::1]", &two), [2222]);
        assert_eq!(ports("talk.example", &two), [1111, 2222]);
        assert_eq!(ports("192.0.2.1", &two), [1111, 2222]);
        let wild = listeners(&["0.0.0.0:3478", "[::]:3478"]);
        assert_eq!(ports("192.0.2.1", &wild), [3478]);
        assert_eq!(ports("talk.example", &wild), [3478]);
        assert_eq!(ports("talk.example", &[]), [0u16; 0]);
    }
}
