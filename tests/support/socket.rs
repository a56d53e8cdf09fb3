//! Plain WebSockets of users.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};

use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use super::DEADLINE;

/// The connection of a user to a room.
pub(crate) type Socket = WebSocket<TcpStream>;

/// Opens a WebSocket to a room. `query` follows the token in the URL.
///
/// # Errors
/// The server refused the upgrade.
pub(crate) fn open(
    address: SocketAddr,
    room: &str,
    token: &str,
    query: &str,
) -> Result<Socket, String> {
    request(address, upgrade(address, room, token, query))
}

/// [`open`] for a client that speaks `parlor.v1`.
pub(crate) fn open_extended(
    address: SocketAddr,
    room: &str,
    token: &str,
    query: &str,
) -> Result<Socket, String> {
    let mut upgrade = upgrade(address, room, token, query);
    let protocol = HeaderValue::from_static("parlor.v1");
    upgrade
        .headers_mut()
        .insert(SEC_WEBSOCKET_PROTOCOL, protocol);
    request(address, upgrade)
}

fn upgrade(address: SocketAddr, room: &str, token: &str, query: &str) -> Request {
    let url = format!("ws://{address}/api/ws/rooms/{room}?token={token}{query}");
    url.into_client_request().expect("a URL")
}

fn request(address: SocketAddr, upgrade: Request) -> Result<Socket, String> {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_nodelay(true).unwrap();
    let opened = client(upgrade, stream).map_err(|error| error.to_string());
    opened.map(|(socket, _)| socket)
}

/// Sends a ping: the pong to it comes when the user has entered the room.
///
/// # Errors
/// The connection has ended.
pub(crate) fn ping(socket: &mut Socket) -> Result<(), Error> {
    socket.send(Message::Ping("entered".into()))
}

/// Waits until the user has entered the room. `false` if the server closes the connection instead.
pub(crate) fn has_entered(socket: &mut Socket) -> bool {
    let sent = ping(socket);
    loop {
        match sent.as_ref().map(|()| socket.read()) {
            Ok(Ok(Message::Pong(_))) => return true,
            Ok(Err(Error::Io(error))) if error.kind() == ErrorKind::Interrupted => {}
            Ok(Ok(Message::Close(_)) | Err(_)) | Err(_) => return false,
            Ok(Ok(_)) => {}
        }
    }
}

/// Reads until the close frame, and returns its code.
#[track_caller]
pub(crate) fn close_code(socket: &mut Socket) -> u16 {
    loop {
        if let Message::Close(Some(close)) = socket.read().expect("a message") {
            return close.code.into();
        }
    }
}
