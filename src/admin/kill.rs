//! `parlor session kill`: ends one WebSocket or one allocation.

use crate::credential::anonymous_address;
use crate::service::{Ended, ListedSession};

use super::context::{Context, ServerContext};
use super::failure::Failure;
use super::name_lookup::NameLookup;
use super::response::Response;
use super::session_row::Row;
use super::sessions::Connections;

/// Minimum length of an id prefix: a shorter one is likely a typing error.
const MIN_DIGITS: usize = 4;

/// Ends a session. Its client may reconnect: no later request is rejected.
pub(super) async fn kill(context: &Context, id: &str) -> Result<Response, Failure> {
    let server = context.require_server()?;
    let connections = Connections::of(server).await;
    let row = find_session(connections.rows(), id).map_err(|mut failure| {
        let silent = connections.silent.iter();
        let silent = silent.map(|name| format!("{name} has not answered"));
        failure.problems.extend(silent);
        failure
    })?;
    let ended = end(server, &connections, &row).await?;
    if ended == Ended::default() {
        return Err(Failure::new(format!(
            "the session `{id}` has already ended"
        )));
    }
    let (user, room, id) = (row.user, row.room, row.id());
    tracing::info!(user, room, id, "session killed");
    let names = NameLookup::of(server, [user].into(), room.into_iter().collect()).await;
    let mut json = row.json(&names);
    json["connections"] = ended.connections.into();
    json["relays"] = ended.relays.into();
    let mut text = text(&row, &names);
    if let Some(node) = row.node {
        text.push_str(&format!(" on {node}"));
    }
    Ok(Response::new(json, text))
}

/// Ends a session of any node.
async fn end(
    server: &ServerContext,
    connections: &Connections,
    row: &Row<'_>,
) -> Result<Ended, Failure> {
    let session = match (row.relay, row.room) {
        (Some(relay), _) => ListedSession::Relay(Box::new(relay.clone())),
        (None, Some(room)) => ListedSession::Connection {
            user: row.user.to_owned(),
            room: room.to_owned(),
        },
        (None, None) => return Ok(Ended::default()),
    };
    match row.node {
        Some(node) if !connections.is_own(row) => {
            let ended = server.app.end_session_of(node, session).await;
            ended.ok_or_else(|| Failure::new(format!("{node} has not answered")))
        }
        _ => Ok(server.app.end_session(&session).await),
    }
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
