//! `GET /api/ice-servers`: STUN and TURN servers with a fresh credential, in the format of
//! `RTCPeerConnection`. Guests, and tokens for certain rooms, get it for a room that they are in.

use std::net::SocketAddr;

use hyper::StatusCode;
use serde_json::{Value, json as value};

use super::access::visible_room;
use super::errors::not_a_participant;
use crate::http::{Error, Request, Response, json};
use crate::service::{App, Caller, RoomAccess};
use crate::storage::{User, utc};
use crate::url::{Authority, Host, IceUrl, STUN_PORT, Transport};
use crate::{clock, config};

pub(super) async fn servers(request: Request) -> Result<Response, Error> {
    let host = host(&request)?;
    let (user, room) = match request.query("room") {
        Some(room_id) => bound_to(request.access(&room_id).await?, &room_id)?,
        None => {
            let caller = request.caller().await?;
            match only_room(&caller)? {
                Some(only) => bound_to(request.access(&only).await?, &only)?,
                None => (caller.user, None),
            }
        }
    };
    let bound = room.as_ref().map(|(room, generation)| BoundTo {
        room,
        generation: *generation,
    });
    let offer = Offer::new(&request.app, &host, &user, bound);
    let answer = value!({
        "iceServers": offer.servers,
        "iceTransportPolicy": offer.policy,
        "ttl": offer.ttl,
        "expiresAt": utc::format(offer.expires),
    });
    Ok(json(StatusCode::OK, &answer))
}

/// The room of a credential, and the generation of the membership in it.
pub(super) struct BoundTo<'a> {
    pub room: &'a str,
    pub generation: u64,
}

/// The participant, and the room and generation of the credential.
fn bound_to(access: RoomAccess, room_id: &str) -> Result<(User, Option<(String, u64)>), Error> {
    let room = visible_room(&access, room_id)?;
    if access.participant {
        Ok((access.caller.user, Some((room.id, access.generation))))
    } else {
        Err(not_a_participant())
    }
}

/// The room of a guest, or of a token for one room, if the request names none: a credential without a
/// room would stay valid after they leave.
fn only_room(caller: &Caller) -> Result<Option<String>, Error> {
    match (&caller.user.guest, caller.claims.rooms.as_deref()) {
        (Some(guest), _) => Ok(Some(guest.room_id.clone())),
        (None, None) => Ok(None),
        (None, Some([only])) => Ok(Some(only.clone())),
        (None, Some(_)) => Err(Error::forbidden(
            "The token is for certain rooms: name the one you mean by `?room=`",
        )),
    }
}

/// Servers for one user, with a credential of their own.
pub(super) struct Offer {
    /// `RTCIceServer`s.
    pub servers: Value,
    /// An `RTCIceTransportPolicy`: whether peers may be reached directly, or through the relay alone.
    pub policy: &'static str,
    /// Seconds.
    pub ttl: u64,
    /// Unix seconds.
    pub expires: u64,
}

impl Offer {
    /// parlor's own servers at `host`, with a credential that is bound to a room if one is given; then the
    /// configured others.
    pub(super) fn new(app: &App, host: &Host, user: &User, bound: Option<BoundTo<'_>>) -> Offer {
        let unix = clock::now().unix;
        let settings = app.settings();
        let ttl = settings.config.turn.credential_ttl.as_secs();
        let expires = user.limit_expiry(unix.saturating_add(ttl));
        let credentials = &settings.credentials;
        let room = bound.as_ref().map(|bound| bound.room);
        let minted = match &bound {
            Some(BoundTo { room, generation }) => {
                credentials.mint_for_member(&user.id, room, *generation, expires)
            }
            None => credentials.mint(&user.id, None, expires),
        };
        tracing::debug!(room, expires, "ICE credentials issued");
        let (port, tls_port) = offered_ports(&settings.config, host, app);
        let mut servers = Vec::new();
        if let Some(port) = port {
            let mut turn: Vec<_> = [Transport::Udp, Transport::Tcp]
                .map(|transport| IceUrl::turn(host.clone(), port, transport).to_string())
                .into();
            // Last: TLS is for clients whose network blocks the others.
            turn.extend(tls_port.map(|port| IceUrl::turns(host.clone(), port).to_string()));
            let stun = IceUrl::stun(host.clone(), port).to_string();
            servers.push(value!({ "urls": [stun] }));
            servers.push(value!({
                "urls": turn,
                "username": minted.username,
                "credential": minted.credential,
            }));
        }
        servers.extend(external(&settings.config.ice));
        Offer {
            servers: Value::from(servers),
            policy: settings.config.turn.mode.ice_transport_policy(),
            ttl: expires.saturating_sub(unix),
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
/// request was sent to.
pub(super) fn host(request: &Request) -> Result<Host, Error> {
    config::ice_host(&request.app.settings().config)
        .or_else(|| request.host().map(Authority::into_host))
        .ok_or_else(|| Error::bad_request("The request names no host (RFC 9110, section 7.2)"))
}

/// The ports of `host` for STUN and TURN, and for TURN over TLS: one of each, so that parlor has four ICE
/// URLs of its own.
fn offered_ports(config: &config::Config, host: &Host, app: &App) -> (Option<u16>, Option<u16>) {
    let tls = config::advertised_tls(config, &app.https, &app.turn_tls);
    (
        config::advertised_port(ports(host, &app.turn), STUN_PORT),
        config::advertised_port(ports(host, &tls), config::HTTPS_PORT),
    )
}

/// The ports at which `host` reaches a listener: where it is an address that one listens on, or a
/// wildcard of its family, those; else (a name, an address in front of a NAT) all.
fn ports(host: &Host, listeners: &[SocketAddr]) -> Vec<u16> {
    let reaches = |listener: &&SocketAddr| match host.ip() {
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
    fn ports_are_those_of_the_listeners_that_the_host_reaches() {
        let listeners = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let ports = |host, listeners: &[SocketAddr]| ports(&Host::parse(host).unwrap(), listeners);
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
