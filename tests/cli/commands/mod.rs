//! Commands that a running server executes: their effects, their output, and permissions.

mod audit;
mod discovery;
mod drain;
mod guests;
mod hostile;
mod kill;
mod moderation;
mod running;

use std::net::{SocketAddr, TcpStream};

use crate::support::turn::{Client, SECRET};
use crate::support::{Builder, DEADLINE, Daemon, http};
use serde_json::Value;
use tokio_tungstenite::tungstenite::{Message, WebSocket, client};

/// A server whose TURN secret the tests know.
fn start() -> Daemon {
    Builder::new().env("PARLOR_TURN__SECRET", SECRET).start()
}

/// A user in a room, with a WebSocket and a relay that is bound to the room.
struct Guest {
    id: String,
    socket: WebSocket<TcpStream>,
    relay: Client,
    relayed: SocketAddr,
}

impl Guest {
    /// Adds the user `name`, who joins `room`, connects and allocates.
    fn enters(daemon: &Daemon, room: &str, name: &str) -> Guest {
        let id = daemon.cli_json(&["user", "add", name])["id"].take();
        let id = id.as_str().expect("an id").to_owned();
        let token = daemon.cli_json(&["token", "issue", name])["token"].take();
        let token = token.as_str().expect("a token");
        let caller = http::Client::new(daemon.http()).with_token(token);
        caller.post(&format!("/api/rooms/{room}/join")).ok();
        let stream = TcpStream::connect(daemon.http()).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let url = format!("ws://{}/api/ws/rooms/{room}?token={token}", daemon.http());
        let (mut socket, _) = client(url, stream).expect("an upgrade");
        // The answer shows that the server has added the connection to the room.
        socket
            .send(Message::Ping(Default::default()))
            .expect("sent");
        while !socket.read().expect("a message").is_pong() {}
        let mut relay = Client::udp(daemon.turn(), &id, Some(room));
        let relayed = relay.allocated();
        Guest {
            id,
            socket,
            relay,
            relayed,
        }
    }

    /// Returns the close code of the WebSocket.
    fn close_code(&mut self) -> u16 {
        loop {
            match self.socket.read().expect("a message") {
                Message::Close(Some(close)) => return close.code.into(),
                Message::Close(None) => panic!("a close frame without a code"),
                _ => {}
            }
        }
    }

    /// Returns whether the allocation exists; the server answers 437 if it does not.
    fn has_relay(&mut self) -> bool {
        match self.refresh() {
            None => true,
            Some(437) => false,
            Some(other) => panic!("{other}"),
        }
    }

    /// Waits until the allocation has ended.
    fn loses_relay(&mut self) {
        let started = parlor::clock::now().mono;
        loop {
            match self.refresh() {
                // Revoked, but the command that ends the allocation is still on its way to the shard: the answer 401
                // ends it, too.
                None | Some(401) => {}
                Some(437) => return,
                Some(other) => panic!("{other}"),
            }
            let waited = parlor::clock::now().mono.since(started);
            assert!(waited < DEADLINE, "the relay is still there");
        }
    }

    /// Refreshes the allocation; returns the code of an error.
    fn refresh(&mut self) -> Option<u16> {
        let refresh = self.relay.request(parlor::stun::Method::REFRESH, &[]);
        refresh.code()
    }
}

/// Returns the only matching row of `sessions`.
fn row<'a>(sessions: &'a Value, user: &str, over: &str) -> &'a Value {
    let rows = sessions.as_array().expect("a list").iter();
    let mut rows = rows.filter(|row| row["user"]["id"] == user && row["over"] == over);
    let row = rows
        .next()
        .unwrap_or_else(|| panic!("no {user} over {over}: {sessions}"));
    assert!(rows.next().is_none(), "{sessions}");
    row
}
