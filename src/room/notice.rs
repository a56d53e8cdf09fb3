//! Frames of the server to one `parlor.v1` client, about its token and its ICE servers.
//!
//! They have no `seq`: a [`Session`](super::Session) numbers them when they are sent.

use bytes::Bytes;

use super::envelope::quoted;

/// Returns the warning that the client's token ends in this number of seconds.
pub fn token_expiring(room: &str, seconds: u64) -> Bytes {
    let room = quoted(room);
    let frame = format!(r#"{{"type":"token-expiring","roomId":{room},"data":{{"in":{seconds}}}}}"#);
    Bytes::from(frame)
}

/// Returns the frame with fresh ICE servers. `servers` is the response of `GET /api/ice-servers`.
pub fn ice_servers(room: &str, servers: &str) -> Bytes {
    let room = quoted(room);
    let frame = format!(r#"{{"type":"ice-servers","roomId":{room},"data":{servers}}}"#);
    Bytes::from(frame)
}
