//! STUN on the wire (RFC 8489): a borrowed decoder that allocates nothing, and a writer into the
//! caller's buffer. Numbers and shapes only; what they mean is decided in [`crate::turn`].

mod address;
mod attribute;
mod channel;
mod message;
mod writer;

#[cfg(test)]
mod tests;

pub use address::{MAX_XOR_ADDRESS, decode_xor_address, encode_address, encode_xor_address};
pub use attribute::Attribute;
pub use channel::{CHANNEL_HEADER, ChannelData, is_channel_number};
use message::ATTRIBUTE_HEADER;
pub use message::{Class, HEADER, Malformed, Message, Method};
pub use writer::{Integrity, IntegrityKey, Writer};

/// The magic cookie in every STUN header (RFC 8489 section 5).
pub const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// The 96 bits that tie an answer to its request.
pub type TransactionId = [u8; 12];

/// CRC-32 of ISO 3309, as FINGERPRINT wants it (RFC 8489 section 14.7).
fn crc32(bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = {
        let mut table = [0; 256];
        let mut index = 0;
        while index < 256 {
            let mut value = index as u32;
            let mut bit = 0;
            while bit < 8 {
                value = if value & 1 == 1 {
                    0xedb8_8320 ^ (value >> 1)
                } else {
                    value >> 1
                };
                bit += 1;
            }
            table[index] = value;
            index += 1;
        }
        table
    };
    !bytes.iter().fold(!0, |crc, byte| {
        TABLE[usize::from(crc as u8 ^ byte)] ^ (crc >> 8)
    })
}

/// What FINGERPRINT's CRC is XORed with.
const FINGERPRINT_XOR: u32 = 0x5354_554e;
