//! STUN messages (RFC 8489): a borrowed decoder that does not allocate, and a writer into the
//! caller's buffer. This module handles the format only; [`crate::turn`] handles the meaning.

mod address;
mod attribute;
mod channel;
mod fingerprint;
mod header;
mod integrity;
mod message;
mod writer;

#[cfg(test)]
mod tests;

pub use address::{MAX_XOR_ADDRESS, decode_xor_address, encode_address, encode_xor_address};
pub use attribute::Attribute;
pub use channel::{CHANNEL_HEADER, ChannelData, is_channel_number};
pub use header::{COOKIE, Class, HEADER, Method, TransactionId};
pub use integrity::{Integrity, IntegrityKey};
pub use message::{Malformed, Message};
pub use writer::Writer;
