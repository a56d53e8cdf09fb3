//! Requests of clients, with flaws.

use std::net::SocketAddr;

use parlor::credential::{Minted, long_term_key, long_term_key_sha256};
use parlor::stun::{
    Attribute, Class, HEADER, IntegrityKey, MAX_XOR_ADDRESS, Message, Method, TransactionId,
    Writer, encode_xor_address,
};
use parlor::turn::Route;

use crate::input::Input;

pub const REALM: &str = "parlor";

/// Attribute types that parlor supports or may support later.
const TYPES: [u16; 16] = [
    0x0019, 0x000d, 0x0012, 0x000c, 0x0017, 0x0018, 0x0022, 0x0013, 0x001a, 0x8000, 0x8004, 0x001e,
    0x001d, 0x8002, 0x8022, 0x0024,
];

const METHODS: [Method; 8] = [
    Method::ALLOCATE,
    Method::REFRESH,
    Method::CREATE_PERMISSION,
    Method::CHANNEL_BIND,
    Method::BINDING,
    Method::SEND,
    Method::DATA,
    Method(0x00a),
];

/// PASSWORD-ALGORITHMS: SHA-256, then MD5.
const OFFERED: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

const LIFETIMES: [u32; 6] = [0, 1, 600, 1777, 3600, u32::MAX];

/// A client with a five-tuple and a credential.
pub struct Client {
    pub route: Route,
    pub minted: Minted,
    pub nonce: Vec<u8>,
    /// The previous nonce.
    pub stale: Vec<u8>,
    transaction: u32,
}

/// Values that a request may refer to.
pub struct Known<'a> {
    pub peers: &'a [SocketAddr],
    pub tokens: &'a [[u8; 8]],
}

/// The flaws of a request, one bit each.
mod flaw {
    pub const BAD_KEY: u8 = 1;
    pub const UNSIGNED: u8 = 2;
    pub const STALE: u8 = 4;
    pub const AGAIN: u8 = 8;
    pub const REALM: u8 = 16;
    pub const MUTATED: u8 = 32;
    pub const LENGTH: u8 = 64;
    pub const INDICATION: u8 = 128;
}

impl Client {
    pub fn new(route: Route, minted: Minted) -> Client {
        Client {
            route,
            minted,
            nonce: Vec::new(),
            stale: Vec::new(),
            transaction: 0,
        }
    }

    /// Returns the room that the credential is bound to.
    pub fn room(&self) -> Option<&str> {
        let name = self.minted.username.split_once('/');
        name.map(|(_, room)| room)
    }

    fn transaction(&mut self, again: bool) -> TransactionId {
        self.transaction += u32::from(!again);
        let mut id = [7; 12];
        id[..4].copy_from_slice(&self.transaction.to_be_bytes());
        id
    }

    /// Returns the request that `input` selects: method, flaws, attributes.
    pub fn request(&mut self, input: &mut Input<'_>, known: Known<'_>) -> Option<Vec<u8>> {
        let method = *input.one_of(&METHODS)?;
        let flaws = input.byte()?;
        let flawed = |flaw: u8| flaws & flaw != 0;
        let transaction = self.transaction(flawed(flaw::AGAIN));
        let class = if flawed(flaw::INDICATION) {
            Class::Indication
        } else {
            Class::Request
        };
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, class, transaction);
        let byte = input.byte()?;
        let sha256 = byte & 0x80 != 0;
        for _ in 0..(byte & 0x7f) % 9 {
            let (kind, value) = attribute(input, &known, &transaction)?;
            writer = writer.attribute(Attribute(kind), &value);
        }
        if flawed(flaw::UNSIGNED) {
            writer.fingerprint();
        } else {
            let realm = if flawed(flaw::REALM) {
                "elsewhere"
            } else {
                REALM
            };
            let nonce = if flawed(flaw::STALE) {
                &self.stale
            } else {
                &self.nonce
            };
            if sha256 {
                writer = writer
                    .attribute(Attribute::PASSWORD_ALGORITHMS, &OFFERED)
                    .attribute(Attribute::PASSWORD_ALGORITHM, &OFFERED[..4]);
            }
            writer
                .attribute(Attribute::USERNAME, self.minted.username.as_bytes())
                .attribute(Attribute::REALM, realm.as_bytes())
                .attribute(Attribute::NONCE, nonce)
                .integrity(&self.key(realm, sha256, flawed(flaw::BAD_KEY)))
                .fingerprint();
        }
        if flawed(flaw::MUTATED) {
            let at = usize::from(input.short()?) % out.len();
            out[at] ^= input.byte()?;
        }
        if flawed(flaw::LENGTH) {
            out.truncate(usize::from(input.short()?) % (out.len() + 1));
        }
        Some(out)
    }

    fn key(&self, realm: &str, sha256: bool, bad: bool) -> IntegrityKey {
        let Minted {
            username,
            credential,
        } = &self.minted;
        match (bad, sha256) {
            (true, _) => IntegrityKey::new(b"bad"),
            (_, true) => IntegrityKey::sha256(&long_term_key_sha256(username, realm, credential)),
            (_, false) => IntegrityKey::new(&long_term_key(username, realm, credential)),
        }
    }

    /// Returns a valid Send indication.
    pub fn send(&mut self, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
        let transaction = self.transaction(false);
        let mut out = Vec::new();
        let _ = Writer::new(&mut out, Method::SEND, Class::Indication, transaction)
            .xor_address(Attribute::XOR_PEER_ADDRESS, peer)
            .attribute(Attribute::DATA, data);
        out
    }

    /// Stores the nonce of a challenge.
    pub fn hear(&mut self, response: &Message<'_>) {
        if let Some(nonce) = response.get(Attribute::NONCE).filter(|n| *n != self.nonce) {
            self.stale = std::mem::replace(&mut self.nonce, nonce.to_vec());
        }
    }
}

/// Returns a valid attribute, or one with arbitrary bytes.
fn attribute(
    input: &mut Input<'_>,
    known: &Known<'_>,
    transaction: &TransactionId,
) -> Option<(u16, Vec<u8>)> {
    let kind = input.byte()?;
    if kind & 0x80 != 0 {
        let kind = if kind & 0x40 != 0 {
            input.short()?
        } else {
            TYPES[usize::from(kind) % TYPES.len()]
        };
        return Some((kind, input.few()?.to_vec()));
    }
    let kind = TYPES[usize::from(kind) % TYPES.len()];
    let value = match kind {
        0x0019 => vec![17, 0, 0, 0],
        0x000d => input.one_of(&LIFETIMES)?.to_be_bytes().to_vec(),
        0x0012 => xored(*input.one_of(known.peers)?, transaction),
        0x000c => vec![0x40, input.byte()? % 8, 0, 0],
        0x0017 | 0x8000 => vec![input.byte()? % 4, 0, 0, 0],
        0x0018 => vec![input.byte()?],
        0x0022 => input
            .one_of(known.tokens)
            .map_or(vec![1; 8], |t| t.to_vec()),
        0x001a => Vec::new(),
        0x001d => vec![0, input.byte()? % 4, 0, 0],
        0x8002 => vec![0, 2, 0, 0, 0, 1, 0, 0],
        0x001e => vec![9; 32],
        _ => input.few()?.to_vec(),
    };
    Some((kind, value))
}

fn xored(address: SocketAddr, transaction: &TransactionId) -> Vec<u8> {
    let mut value = [0; MAX_XOR_ADDRESS];
    let len = encode_xor_address(address, transaction, &mut value);
    value[..len].to_vec()
}

/// Returns the peers that a request names, if it can be parsed.
pub fn peers_of(request: &[u8]) -> Vec<SocketAddr> {
    let Ok(message) = Message::parse(request) else {
        return Vec::new();
    };
    assert!(request.len() >= HEADER);
    let transaction = message.transaction();
    let named = message
        .attributes()
        .filter(|(attribute, _)| *attribute == Attribute::XOR_PEER_ADDRESS);
    named
        .filter_map(|(_, value)| parlor::stun::decode_xor_address(value, &transaction))
        .collect()
}
