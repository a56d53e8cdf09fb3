//! `parlor.v1` over real sockets, beside plain clients.

mod messages;
mod opening;
mod presence;
mod renewal;
mod requests;
mod sessions;

use serde_json::{Value, json};

use crate::wire::world::LOBBY;

/// A frame of the server to an extended client about a user.
fn about(seq: u64, kind: &str, user: &str, data: &Value) -> Value {
    json!({"seq": seq, "type": kind, "data": data, "from": user, "roomId": LOBBY})
}

/// A frame of a client.
fn frame(kind: &str, to: Option<&str>, data: &Value) -> Value {
    let mut frame = json!({"type": kind, "from": "me", "roomId": LOBBY, "data": data});
    if let Some(to) = to {
        frame["to"] = to.into();
    }
    frame
}

/// A frame of a client as its receivers get it.
fn relayed(seq: u64, from: &str, frame: &Value) -> Value {
    let mut frame = frame.clone();
    frame["seq"] = seq.into();
    frame["from"] = from.into();
    frame
}
