//! `parlor.v1` over real sockets, beside plain clients.

mod chat;
mod messages;
mod moderation;
mod opening;
mod presence;
mod quality;
mod renewal;
mod requests;
mod sessions;
mod token;

use serde_json::{Value, json};

use crate::wire::world::{Client, LOBBY, World};

/// A frame of the server to an extended client about a user.
fn about(seq: u64, kind: &str, user: &str, data: &Value) -> Value {
    json!({"seq": seq, "type": kind, "data": data, "from": user, "roomId": LOBBY})
}

/// The next frame that is not about the room: after a change by another process, the room may be sent once.
fn read_about_people(client: &mut Client) -> Value {
    loop {
        let frame = client.read();
        if frame["type"] != "room-updated" {
            return frame;
        }
    }
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

/// A session as its client knows it.
struct Known {
    token: String,
    seq: u64,
}

impl Known {
    fn of(first: &Value, seq: u64) -> Known {
        let token = first["resume"]["token"].as_str().expect("a token");
        let token = token.to_owned();
        Known { token, seq }
    }

    fn path(&self) -> String {
        let Known { token, seq } = self;
        format!("/api/ws/rooms/lobby?session={token}&seq={seq}")
    }
}

/// Resumes a session, and returns the data of `resumed`.
fn resume(world: &World, user: &str, known: &Known) -> (Client, Value) {
    let mut client = world.connect_extended(&known.path(), user);
    let resumed = client.read();
    assert_eq!(resumed["type"], "resumed", "{resumed}");
    (client, resumed["data"].clone())
}
