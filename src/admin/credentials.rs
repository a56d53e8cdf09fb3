//! `parlor token issue` and `parlor turn credential`

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::json;

use crate::clock;
use crate::config::{Config, HTTPS_PORT, advertised_port, connectable, ice_host};
use crate::storage::{Room, User, utc};
use crate::token::Claims;
use crate::url::{Host, IceUrl, STUN_PORT, Transport};

use super::command::Grant;
use super::context::Context;
use super::failure::Failure;
use super::response::Response;
use super::{room_lookup, user_lookup};

pub(super) async fn issue_token(context: &Context, grant: Grant) -> Result<Response, Failure> {
    let room = match &grant.room {
        Some(room) => Some(room_lookup::open_room(context, room).await?),
        None => None,
    };
    let user = user_lookup::provisioned_user(context, &grant.user).await?;
    check_guest(&user, room.as_ref())?;
    let unix = clock::now().unix;
    let exp = user.limit_expiry(unix.saturating_add(grant.ttl.as_secs()));
    let claims = Claims {
        sub: user.id.clone(),
        exp,
        iat: Some(unix),
        name: Some(user.display_name.clone()),
        rooms: room.as_ref().map(|room| vec![room.id.clone()]),
        role: Some(user.role().to_owned()),
        generation: Some(user.token_cutoff.generation),
        ..Claims::default()
    };
    let token = context.sign(&claims)?;
    let expires_at = utc::format(exp);
    let mut json = json!({
        "token": token,
        "id": user.id,
        "name": user.name,
        "expires_at": expires_at,
    });
    if let Some(room) = &room {
        json["room"] = json!({ "id": room.id, "name": room.name });
    }
    let remark = format!(
        "Token of {} (id {}), until {expires_at}.",
        user.name, user.id
    );
    Ok(Response::new(json, token).remark(remark))
}

pub(super) async fn issue_turn_credential(
    context: &Context,
    grant: Grant,
) -> Result<Response, Failure> {
    let room = match &grant.room {
        Some(room) => Some(room_lookup::open_room(context, room).await?),
        None => None,
    };
    let user = user_lookup::active_user(context, &grant.user).await?;
    check_guest(&user, room.as_ref())?;
    let expires = user.limit_expiry(clock::now().unix.saturating_add(grant.ttl.as_secs()));
    let credentials = context.credentials()?;
    let minted = match &room {
        Some(room) => {
            let unix = clock::now().unix;
            let admission = context.store().admission(&room.id, &user.id, unix).await?;
            credentials.mint_for_member(&user.id, &room.id, admission.generation, expires)
        }
        None => credentials.mint(&user.id, None, expires),
    };
    let (config, tls) = (context.config(), context.turn_tls());
    let Urls { urls, remark } = urls(&config, context.turn(), &tls);
    let expires_at = utc::format(expires);
    let row = |name: &str, value: &str| vec![name.to_owned(), value.to_owned()];
    let mut rows = vec![
        row("username", &minted.username),
        row("credential", &minted.credential),
        row("expires_at", &expires_at),
    ];
    rows.extend(urls.iter().map(|url| row("url", url)));
    let policy = context.config().turn.mode.ice_transport_policy();
    let mut json = json!({
        "username": minted.username,
        "credential": minted.credential,
        "urls": urls,
        "expires_at": expires_at,
    });
    if policy != "all" {
        rows.push(row("ice_transport_policy", policy));
        json["ice_transport_policy"] = json!(policy);
    }
    let response = Response::table(json, &["NAME", "VALUE"], rows.into_iter());
    Ok(match remark {
        Some(remark) => response.remark(remark),
        None => response,
    })
}

/// Tokens and credentials of a guest are restricted to their room.
fn check_guest(user: &User, room: Option<&Room>) -> Result<(), Failure> {
    match &user.guest {
        Some(guest) if room.is_none_or(|room| room.id != guest.room_id) => {
            Err(Failure::new(format!(
                "`{}` is a guest of one room only: add --room {}",
                user.name, guest.room_id
            )))
        }
        _ => Ok(()),
    }
}

struct Urls {
    urls: Vec<String>,
    remark: Option<&'static str>,
}

/// Returns the URLs of the relay. Without a configured host name they hold listener addresses, since no
/// request says by which name clients reach this host.
fn urls(config: &Config, listen: &[SocketAddr], tls: &[SocketAddr]) -> Urls {
    let host = ice_host(config);
    let hosts = |listen: &[SocketAddr], usual| -> BTreeSet<(u16, Host)> {
        let fixed = listen.iter().filter(|address| address.port() != 0);
        match &host {
            Some(host) => {
                let port = advertised_port(fixed.map(|address| address.port()), usual);
                port.map(|port| (port, host.clone())).into_iter().collect()
            }
            None => fixed
                .map(|address| (address.port(), connectable(*address).ip().into()))
                .collect(),
        }
    };
    let (hosts, tls) = (hosts(listen, STUN_PORT), hosts(tls, HTTPS_PORT));
    let urls = hosts.iter().flat_map(|(port, host)| {
        [Transport::Udp, Transport::Tcp].map(|over| IceUrl::turn(host.clone(), *port, over))
    });
    let tls = tls.into_iter();
    let urls = urls.chain(tls.map(|(port, host)| IceUrl::turns(host, port)));
    let remark = if hosts.is_empty() {
        Some("turn.listen has port 0, so only the running server knows its URLs.")
    } else if host.is_none() {
        Some(
            "The URLs hold the listener addresses: set turn.public_host or server.public_url for \
             other hosts.",
        )
    } else {
        None
    };
    Urls {
        urls: urls.map(|url| url.to_string()).collect(),
        remark,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_host_name_replaces_all_addresses_of_a_port() {
        let mut config = Config::default();
        config.turn.public_host = Some("turn.example.org".to_owned());
        let tls = ["0.0.0.0:5349".parse().unwrap()];
        let result = urls(&config, &config.turn.listen, &tls);
        assert_eq!(
            result.urls,
            [
                "turn:turn.example.org:3478?transport=udp",
                "turn:turn.example.org:3478?transport=tcp",
                "turns:turn.example.org:5349?transport=tcp"
            ]
        );
        assert_eq!(result.remark, None);
    }

    #[test]
    fn without_a_host_name_urls_hold_addresses_and_port_0_has_none() {
        let mut config = Config::default();
        let result = urls(&config, &config.turn.listen, &[]);
        assert_eq!(result.urls.len(), 4);
        assert!(
            result
                .urls
                .contains(&"turn:127.0.0.1:3478?transport=udp".to_owned())
        );
        assert!(
            result
                .urls
                .contains(&"turn:[::1]:3478?transport=tcp".to_owned())
        );
        assert!(result.remark.is_some());
        config.turn.listen = vec!["127.0.0.1:0".parse().unwrap()];
        assert_eq!(urls(&config, &config.turn.listen, &[]).urls, [""; 0]);
    }
}
