//! `GET /api/ice-servers`: STUN and TURN servers with a fresh credential, in the format of
//! `RTCPeerConnection`. Guests, and tokens for certain rooms, get it for a room that they are in.

use hyper::StatusCode;
use serde_json::{Value, json as value};

use super::access::visible_room;
use super::errors::not_a_participant;
use crate::http::{Error, Request, Response, json};
use crate::service::{App, Caller, RelayAddress, RoomAccess, relay_ports};
use crate::storage::{User, utc};
use crate::url::{Authority, Host, IceUrl, Transport};
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
    let offer = Offer::new(&request.app, host, &user, bound).await;
    Ok(json(StatusCode::OK, &offer.into_json()))
}

/// The room of a credential, and the generation of the membership in it.
pub(in crate::http) struct BoundTo<'a> {
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
pub(in crate::http) struct Offer {
    /// `RTCIceServer`s.
    pub servers: Value,
    /// An `RTCIceTransportPolicy`: whether peers may be reached directly, or through the relay alone.
    pub policy: &'static str,
    /// Seconds.
    pub ttl: u64,
    /// Unix seconds.
    pub expires: u64,
    /// Whether the credential ends with a guest's access, before `turn.credential_ttl`.
    pub ends_with_access: bool,
    /// Whether allocations end with the credential (`turn.end_at_expiry`).
    pub ends_allocations: bool,
    /// Names the relay, if there are several nodes.
    pub relay: Option<String>,
}

impl Offer {
    /// parlor's own servers, with a credential that is bound to a room if one is given; then the configured
    /// others. They are at `host`, unless there are several nodes: then they are those of the room's relay node.
    pub(in crate::http) async fn new(
        app: &App,
        host: Host,
        user: &User,
        bound: Option<BoundTo<'_>>,
    ) -> Offer {
        let room = bound.as_ref().map(|bound| bound.room);
        let relay = app.relay_for(room).await;
        let unix = clock::now().unix;
        let settings = app.settings();
        let ttl = settings.config.turn.credential_ttl.as_secs();
        let wanted = unix.saturating_add(ttl);
        let expires = user.limit_expiry(wanted);
        let credentials = &settings.credentials;
        let minted = match &bound {
            Some(BoundTo { room, generation }) => {
                credentials.mint_for_member(&user.id, room, *generation, expires)
            }
            None => credentials.mint(&user.id, None, expires),
        };
        tracing::debug!(room, expires, "ICE credentials issued");
        let named = relay.as_deref().and_then(at_relay);
        let (host, port, tls_port) = named.unwrap_or_else(|| {
            let (port, tls_port) = relay_ports(app, &settings.config, &host);
            (host, port, tls_port)
        });
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
            ends_with_access: expires < wanted,
            ends_allocations: settings.config.turn.end_at_expiry,
            relay: relay.map(|relay| relay.id.clone()),
        }
    }

    /// The response of `GET /api/ice-servers`.
    pub(in crate::http) fn into_json(self) -> Value {
        let mut answer = value!({
            "iceServers": self.servers,
            "iceTransportPolicy": self.policy,
            "ttl": self.ttl,
            "expiresAt": utc::format(self.expires),
        });
        if self.ends_allocations {
            answer["endAtExpiry"] = Value::from(true);
        }
        if let Some(relay) = self.relay {
            answer["relay"] = Value::from(relay);
        }
        answer
    }
}

/// The host and the ports of a node's relay; `None` if the node knows no address of its own.
fn at_relay(relay: &RelayAddress) -> Option<(Host, Option<u16>, Option<u16>)> {
    let host = Host::parse(relay.host.as_deref()?).ok()?;
    Some((host, relay.port, relay.tls_port))
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
pub(in crate::http) fn host(request: &Request) -> Result<Host, Error> {
    config::ice_host(&request.app.settings().config)
        .or_else(|| request.host().map(Authority::into_host))
        .ok_or_else(|| Error::bad_request("The request names no host (RFC 9110, section 7.2)"))
}
