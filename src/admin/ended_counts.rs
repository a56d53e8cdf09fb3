//! Adds the number of closed connections and freed relays to a response.

use serde_json::Value;

use crate::service::Ended;

use super::response::Response;

/// Returns a response with these counts; without a server there are none.
pub(super) fn with_counts(mut json: Value, text: String, ended: Option<Ended>) -> Response {
    let Some(Ended {
        connections,
        relays,
    }) = ended
    else {
        return Response::new(json, text);
    };
    json["connections"] = connections.into();
    json["relays"] = relays.into();
    let connections = counted(connections, "connection");
    let relays = counted(relays, "relay");
    Response::new(
        json,
        format!("{text}: {connections} closed, {relays} freed"),
    )
}

fn counted(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}
