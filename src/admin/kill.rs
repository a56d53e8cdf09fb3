//! `parlor session kill`: ends one WebSocket or one allocation.

use crate::credential::anonymous_address;
use crate::room::CloseCode;

use super::context::{Context, ServerContext};
use super::failure::Failure;
use super::name_lookup::NameLookup;
use super::response::Response;
use super::sessions::{Connections, Row};

/// Minimum length of an id prefix: a shorter one is likely a typing error.
const MIN_DIGITS: usize = 4;

/// Ends a session. Its client may reconnect: no later request is rejected.
pub(super) async fn kill(context: &Context, id: &str) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let connections = Connections::of(server).await;
    let row = find_session(connections.rows(), id)?;
    let (closed, freed) = end(server, &row).await;
    if closed + freed == 0 {
        return Err(Failure::new(format!(
            "the session `{id}` has already ended"
        )));
    }
    let (user, room, id) = (row.user, row.room, row.id());
    tracing::info!(user, room, id, "session killed");
    let names = NameLookup::of(server, [user].into(), room.into_iter().collect()).await;
    let mut json = row.json(&names);
    json["connections"] = closed.into();
    json["relays"] = freed.into();
    Ok(Response::new(json, text(&row, &names)))
}

/// Returns the number of closed connections and of freed relays.
async fn end(server: &ServerContext, row: &Row<'_>) -> (usize, usize) {
    if let Some(relay) = row.relay {
        return (0, server.app.relay.end_session(relay).count().await);
    }
    let hub = &server.app.hub;
    let closed = row
        .room
        .map(|room| hub.close(room, row.user, CloseCode::Removed));
    (usize::from(closed == Some(true)), 0)
}

fn text(row: &Row<'_>, names: &NameLookup) -> String {
    let name = names.shown(row.user);
    let room = row.room.map(|room| format!(" in {}", names.room(room)));
    let room = room.unwrap_or_default();
    match row.relay {
        Some(relay) if anonymous_address(row.user).is_some() => {
            format!("Freed 1 relay of {} {name}", relay.client)
        }
        Some(_) => format!("Freed 1 relay of {name}{room}"),
        None => format!("Closed 1 connection of {name}{room}"),
    }
}

/// Returns the only row whose id starts with `id`.
fn find_session<'a>(rows: impl Iterator<Item = Row<'a>>, id: &str) -> Result<Row<'a>, Failure> {
    if id.len() < MIN_DIGITS {
        return Err(Failure::new(format!(
            "`{id}` is too short for a session id: `parlor sessions --all` shows the ids; the first \
             {MIN_DIGITS} digits are enough"
        )));
    }
    let mut rows = rows.filter(|row| row.id().starts_with(id));
    match (rows.next(), rows.next()) {
        (Some(row), None) => Ok(row),
        (Some(_), Some(_)) => Err(Failure::new(format!(
            "`{id}` matches several sessions: `parlor sessions --all` shows their full ids"
        ))),
        (None, _) => Err(Failure::new(format!(
            "there is no session `{id}`: `parlor sessions --all` shows all"
        ))),
    }
}
