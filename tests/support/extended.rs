//! Clients that speak `parlor.v1`.

use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};

use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::socket::{self, Socket};

/// A connection of a user to a room, and the token of its session.
pub(crate) struct Extended {
    pub socket: Socket,
    pub session: String,
    /// The number of the last frame.
    pub seq: u64,
    address: (String, String),
}

impl Extended {
    /// Begins a session.
    pub(crate) fn begin(address: SocketAddr, room: &str, token: &str) -> Extended {
        let socket = connect(address, room, token, "");
        let mut client = Extended {
            socket,
            session: String::new(),
            seq: 0,
            address: (room.to_owned(), token.to_owned()),
        };
        client.first("welcome");
        client
    }

    /// Resumes the session, and returns the number of frames that follow.
    pub(crate) fn resume(&mut self, address: SocketAddr) -> u64 {
        let query = format!("&session={}&seq={}", self.session, self.seq);
        let (room, token) = &self.address;
        self.socket = connect(address, room, token, &query);
        let resumed = self.first("resumed");
        resumed["data"]["missed"].as_u64().expect("a number")
    }

    fn first(&mut self, kind: &str) -> Value {
        let first = self.read_any();
        assert_eq!(first["type"], kind, "{first}");
        let session = first["data"]["resume"]["token"].as_str();
        self.session = session.expect("a token").to_owned();
        first
    }

    /// Reads the next frame of the session.
    pub(crate) fn read(&mut self) -> Value {
        let frame = self.read_any();
        self.seq += 1;
        assert_eq!(frame["seq"], self.seq, "{frame}");
        frame
    }

    fn read_any(&mut self) -> Value {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return serde_json::from_str(&text).expect("JSON"),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    /// Sends an application's message.
    pub(crate) fn send(&mut self, to: &str, data: &str) {
        self.send_frame(
            &json!({"type": "message", "from": "", "roomId": "", "to": to, "data": data}),
        );
    }

    pub(crate) fn send_frame(&mut self, frame: &Value) {
        let frame = Message::text(frame.to_string());
        self.socket.send(frame).expect("sent");
    }

    /// The next frame is an application's message with this content.
    pub(crate) fn reads(&mut self, data: &str) {
        let frame = self.read();
        let (kind, data) = (json!("message"), json!(data));
        assert_eq!((&frame["type"], &frame["data"]), (&kind, &data));
    }

    /// Loses the connection without a close frame.
    pub(crate) fn lose(&mut self) {
        self.socket
            .get_mut()
            .shutdown(Shutdown::Both)
            .expect("a socket");
    }
}

fn connect(address: SocketAddr, room: &str, token: &str, query: &str) -> Socket {
    socket::open_extended(address, room, token, query).expect("an upgrade")
}
