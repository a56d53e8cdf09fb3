//! The long-term credential mechanism (RFC 8489 section 9.2.4) with time-limited credentials.

use crate::credential::Bearer;
use crate::stun::{Attribute, IntegrityKey, Message, Method};

use super::requests::Request;
use super::table::Table;
use super::{Refusal, Settings};

/// A request whose integrity holds.
pub(super) struct Proven<'a> {
    pub username: &'a str,
    pub bearer: Bearer<'a>,
    pub key: IntegrityKey,
}

/// Why a request is refused, and the key to sign the refusal with where one is known.
pub(super) struct Unproven {
    pub refusal: Refusal,
    pub key: Option<Box<IntegrityKey>>,
}

impl From<Refusal> for Unproven {
    fn from(refusal: Refusal) -> Unproven {
        Unproven { refusal, key: None }
    }
}

/// Checks who sent a request, in the order of RFC 8489 section 9.2.4.
pub(super) fn authenticate<'a>(
    settings: &Settings,
    table: &mut Table,
    request: Request<'a>,
) -> Result<Proven<'a>, Unproven> {
    let Request {
        now,
        route,
        message,
    } = request;
    if !message.has_integrity() {
        return Err(Refusal::Challenge.into());
    }
    let (Some(username), Some(realm), Some(nonce)) = (
        message.text(Attribute::USERNAME),
        message.text(Attribute::REALM),
        message.get(Attribute::NONCE),
    ) else {
        return Err(Refusal::BadRequest.into());
    };
    if !settings.nonces.check(nonce, route.client, now.unix) {
        return Err(Refusal::StaleNonce.into());
    }
    if realm != settings.realm {
        return Err(Refusal::UnknownRealm.into());
    }
    let bearer = Bearer::parse(username).ok_or(Refusal::UnknownUser)?;
    let held = table.of_client(route).and_then(|id| table.get(id));
    if let Some(allocation) = held {
        if *allocation.username == *username {
            if !message.verify(&allocation.key) {
                return Err(Refusal::BadCredential.into());
            }
            let key = allocation.key.clone();
            return Ok(Proven {
                username,
                bearer,
                key,
            });
        }
        // Another user's request on this allocation: they must prove themselves all the same.
        let key = prove(settings, message, username)?;
        let refusal = match message.method() {
            // RFC 8656 section 7.2 comes first: the five-tuple is taken, whoever asks.
            Method::ALLOCATE => Refusal::AllocationMismatch,
            _ => Refusal::WrongCredentials,
        };
        return Err(Unproven {
            refusal,
            key: Some(Box::new(key)),
        });
    }
    let key = prove(settings, message, username)?;
    Ok(Proven {
        username,
        bearer,
        key,
    })
}

/// The key among those of all secrets that the message's integrity was made with.
fn prove(
    settings: &Settings,
    message: &Message<'_>,
    username: &str,
) -> Result<IntegrityKey, Refusal> {
    let keys = settings.credentials.keys(username, &settings.realm);
    let mut keys = keys.map(|key| IntegrityKey::new(&key));
    keys.find(|key| message.verify(key))
        .ok_or(Refusal::BadCredential)
}

impl Refusal {
    /// The code and reason phrase on the wire: no more than the RFC says, so that a refusal helps
    /// nobody who guesses.
    pub(super) fn on_the_wire(self) -> (u16, &'static str) {
        match self {
            Refusal::BadRequest => (400, "Bad Request"),
            Refusal::Challenge
            | Refusal::UnknownRealm
            | Refusal::UnknownUser
            | Refusal::BadCredential
            | Refusal::Expired
            | Refusal::Revoked => (401, "Unauthorized"),
            Refusal::PeerDenied => (403, "Forbidden"),
            Refusal::UnknownAttribute => (420, "Unknown Attribute"),
            Refusal::AllocationMismatch => (437, "Allocation Mismatch"),
            Refusal::StaleNonce => (438, "Stale Nonce"),
            Refusal::AddressFamily => (440, "Address Family not Supported"),
            Refusal::WrongCredentials => (441, "Wrong Credentials"),
            Refusal::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            Refusal::PeerFamily => (443, "Peer Address Family Mismatch"),
            Refusal::UserQuota => (486, "Allocation Quota Reached"),
            Refusal::PeerQuota | Refusal::TotalQuota | Refusal::NoPort => {
                (508, "Insufficient Capacity")
            }
        }
    }
}
