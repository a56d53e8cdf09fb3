//! The long-term credential mechanism (RFC 8489 section 9.2.4) with time-limited credentials.

use crate::credential::Username;
use crate::stun::{Attribute, Integrity, Message, Method};

use super::algorithms::{Key, Scheme};
use super::allocation::Allocation;
use super::requests::Request;
use super::table::Table;
use super::{Refusal, Settings};

/// A request whose integrity holds.
pub(super) struct Proven<'a> {
    pub username: &'a str,
    pub name: Username<'a>,
    pub key: Key,
}

/// Why a request is refused, and the key to sign the refusal with where one is known.
pub(super) struct Unproven {
    pub refusal: Refusal,
    pub key: Option<Box<Key>>,
}

impl From<Refusal> for Unproven {
    fn from(refusal: Refusal) -> Unproven {
        Unproven { refusal, key: None }
    }
}

/// What a request says of who sent it.
struct Claim<'a> {
    /// Nothing where the name is hidden (USERHASH), which is not offered here.
    username: &'a [u8],
    realm: &'a [u8],
    nonce: &'a [u8],
    scheme: Scheme,
}

/// Checks who sent a request, in the order of RFC 8489 section 9.2.4: the nonce comes last.
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
    let integrity = message.integrity().ok_or(Refusal::Challenge)?;
    let claim = Claim::read(message, integrity)?;
    let held = table.of_client(route).and_then(|id| table.get(id));
    let proven = claim.prove(settings, held.as_deref(), message);
    if !settings.nonces.check(claim.nonce, route.client, now.unix) {
        return Err(match proven {
            Ok(_) => Refusal::StaleNonce.into(),
            // Who knows whose address that is: it must not be held against anybody.
            Err(_) => Refusal::BadCredentialAndNonce.into(),
        });
    }
    let proven = proven?;
    match held {
        Some(allocation) if !claim.is_of(allocation) => Err(Unproven {
            refusal: match message.method() {
                // RFC 8656 section 7.2 comes first: the five-tuple is taken, whoever asks.
                Method::ALLOCATE => Refusal::AllocationMismatch,
                _ => Refusal::WrongCredentials,
            },
            key: Some(Box::new(proven.key)),
        }),
        _ => Ok(proven),
    }
}

impl<'a> Claim<'a> {
    /// Reads in one pass what a request must carry; the first attribute of each type counts.
    fn read(message: &Message<'a>, integrity: Integrity) -> Result<Claim<'a>, Refusal> {
        let (mut username, mut userhash, mut realm, mut nonce) = (None, None, None, None);
        let (mut list, mut chosen) = (None, None);
        for (attribute, value) in message.attributes() {
            let place = match attribute {
                Attribute::USERNAME => &mut username,
                Attribute::USERHASH => &mut userhash,
                Attribute::REALM => &mut realm,
                Attribute::NONCE => &mut nonce,
                Attribute::PASSWORD_ALGORITHMS => &mut list,
                Attribute::PASSWORD_ALGORITHM => &mut chosen,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        let hidden = userhash.map(|_| &[][..]);
        let (Some(username), Some(realm), Some(nonce)) = (username.or(hidden), realm, nonce) else {
            return Err(Refusal::BadRequest);
        };
        Ok(Claim {
            username,
            realm,
            nonce,
            scheme: Scheme::of(nonce, list, chosen, integrity)?,
        })
    }

    /// Checks name and integrity. Whoever has an allocation proves themselves with its key.
    fn prove(
        &self,
        settings: &Settings,
        held: Option<&Allocation>,
        message: &Message<'_>,
    ) -> Result<Proven<'a>, Refusal> {
        if self.realm != settings.realm.as_bytes() {
            return Err(Refusal::UnknownRealm);
        }
        let username = std::str::from_utf8(self.username).map_err(|_| Refusal::UnknownUser)?;
        let name = Username::parse(username).ok_or(Refusal::UnknownUser)?;
        let own = held.filter(|held| self.is_of(held));
        let key = match own {
            Some(allocation) => Some(&allocation.key)
                .filter(|key| key.fits(message))
                .cloned(),
            None => {
                let passwords = settings.credentials.passwords(username);
                let key = |word: String| Key::new(self.scheme, username, &settings.realm, &word);
                passwords.map(key).find(|key| key.fits(message))
            }
        };
        Ok(Proven {
            username,
            name,
            key: key.ok_or(Refusal::BadCredential)?,
        })
    }

    /// Whether it claims to be the owner of an allocation, by the algorithm that made it: who could
    /// do better then is not believed by less now.
    fn is_of(&self, allocation: &Allocation) -> bool {
        allocation.username.as_bytes() == self.username && allocation.key.scheme == self.scheme
    }
}

impl Refusal {
    /// The code and reason phrase on the wire: no more than the RFC says, so that a refusal helps
    /// nobody who guesses.
    pub(super) fn on_the_wire(self) -> (u16, &'static str) {
        match self {
            Refusal::BadRequest | Refusal::PasswordAlgorithms => (400, "Bad Request"),
            Refusal::Challenge
            | Refusal::UnknownRealm
            | Refusal::UnknownUser
            | Refusal::BadCredential
            | Refusal::BadCredentialAndNonce
            | Refusal::Expired
            | Refusal::Revoked
            | Refusal::Unnamed => (401, "Unauthorized"),
            Refusal::PeerDenied | Refusal::PeerPortDenied | Refusal::TunnelledClient => {
                (403, "Forbidden")
            }
            Refusal::UnknownAttribute => (420, "Unknown Attribute"),
            Refusal::AllocationMismatch => (437, "Allocation Mismatch"),
            Refusal::StaleNonce => (438, "Stale Nonce"),
            Refusal::AddressFamily => (440, "Address Family not Supported"),
            Refusal::WrongCredentials => (441, "Wrong Credentials"),
            Refusal::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            Refusal::PeerFamily => (443, "Peer Address Family Mismatch"),
            Refusal::UserQuota | Refusal::AddressQuota | Refusal::TotalQuota => {
                (486, "Allocation Quota Reached")
            }
            Refusal::PeerQuota | Refusal::NoPort | Refusal::NoReservation | Refusal::Draining => {
                (508, "Insufficient Capacity")
            }
        }
    }
}
