//! Time-limited TURN credentials: minting, checking and revoking them.
//!
//! `username = "{expiry}:{user id}"`, or `"{expiry}:{user id}/{room id}"` if the credential is
//! bound to a room, with the expiry in Unix seconds, and `/{generation}` for a member who has left
//! the room before; `password = base64(HMAC-SHA1(secret,
//! username))`. coturn's `use-auth-secret` and every WebRTC client support this format
//! (draft-uberti-behave-turn-rest-00). The newest secret mints, all secrets check. Other services
//! mint further forms of usernames with the same secret: [`Username::parse`] lists them.

mod credentials;
mod revocations;
mod subjects;
mod username;

pub use credentials::{Credentials, Minted, long_term_key, long_term_key_sha256};
pub use revocations::{Revocations, RevokedGenerations, RevokedSet};
pub use subjects::{MembershipKey, Subjects};
pub use username::{CredentialSubject, Username, anonymous_address, belongs_to};
