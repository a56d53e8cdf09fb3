//! The long-term credential mechanism (RFC 8489 section 9.2.4) with time-limited credentials.

use crate::credential::Username;
use crate::stun::{Attribute, Integrity, Message, Method};

use super::algorithms::{Key, Scheme};
use super::allocation::Allocation;
use super::requests::Request;
use super::table::Table;
use super::{ErrorReason, Settings};

/// A request whose integrity holds.
pub(super) struct Authenticated<'a> {
    pub username: &'a str,
    pub name: Username<'a>,
    pub key: Key,
}

/// Why a request is refused, and the key to sign the reason with where one is known.
pub(super) struct AuthFailure {
    pub reason: ErrorReason,
    pub key: Option<Box<Key>>,
}

impl From<ErrorReason> for AuthFailure {
    fn from(reason: ErrorReason) -> AuthFailure {
        AuthFailure { reason, key: None }
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
) -> Result<Authenticated<'a>, AuthFailure> {
    let Request {
        now,
        route,
        message,
    } = request;
    let integrity = message.integrity().ok_or(ErrorReason::Challenge)?;
    let claim = Claim::read(message, integrity)?;
    let held = table.find_by_client(route).and_then(|id| table.get(id));
    let result = claim.verify(settings, held.as_deref(), message);
    if !settings.nonces.check(claim.nonce, route.client, now.unix) {
        return Err(match result {
            Ok(_) => ErrorReason::StaleNonce.into(),
            // Who knows whose address that is: it must not be held against anybody.
            Err(_) => ErrorReason::BadCredentialAndNonce.into(),
        });
    }
    let result = result?;
    match held {
        Some(allocation) if !claim.matches_allocation(allocation) => Err(AuthFailure {
            reason: match message.method() {
                // RFC 8656 section 7.2 comes first: the five-tuple is taken, whoever asks.
                Method::ALLOCATE => ErrorReason::AllocationMismatch,
                _ => ErrorReason::WrongCredentials,
            },
            key: Some(Box::new(result.key)),
        }),
        _ => Ok(result),
    }
}

impl<'a> Claim<'a> {
    /// Reads in one pass what a request must carry; the first attribute of each type counts.
    fn read(message: &Message<'a>, integrity: Integrity) -> Result<Claim<'a>, ErrorReason> {
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
            return Err(ErrorReason::BadRequest);
        };
        Ok(Claim {
            username,
            realm,
            nonce,
            scheme: Scheme::of(nonce, list, chosen, integrity)?,
        })
    }

    /// Checks name and integrity. Whoever has an allocation proves themselves with its key.
    fn verify(
        &self,
        settings: &Settings,
        held: Option<&Allocation>,
        message: &Message<'_>,
    ) -> Result<Authenticated<'a>, ErrorReason> {
        if self.realm != settings.realm.as_bytes() {
            return Err(ErrorReason::UnknownRealm);
        }
        let username = std::str::from_utf8(self.username).map_err(|_| ErrorReason::UnknownUser)?;
        let name = Username::parse(username).ok_or(ErrorReason::UnknownUser)?;
        let own = held.filter(|held| self.matches_allocation(held));
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
        Ok(Authenticated {
            username,
            name,
            key: key.ok_or(ErrorReason::BadCredential)?,
        })
    }

    /// Whether it claims to be the owner of an allocation, by the algorithm that made it: who could
    /// do better then is not believed by less now.
    fn matches_allocation(&self, allocation: &Allocation) -> bool {
        allocation.username.as_bytes() == self.username && allocation.key.scheme == self.scheme
    }
}

impl ErrorReason {
    /// The code and reason phrase on the wire: no more than the RFC says, so that a reason helps
    /// nobody who guesses.
    pub(super) fn error_code(self) -> (u16, &'static str) {
        match self {
            ErrorReason::BadRequest | ErrorReason::PasswordAlgorithms => (400, "Bad Request"),
            ErrorReason::Challenge
            | ErrorReason::UnknownRealm
            | ErrorReason::UnknownUser
            | ErrorReason::BadCredential
            | ErrorReason::BadCredentialAndNonce
            | ErrorReason::Expired
            | ErrorReason::Revoked
            | ErrorReason::Unnamed => (401, "Unauthorized"),
            ErrorReason::PeerDenied
            | ErrorReason::PeerPortDenied
            | ErrorReason::TunnelledClient => (403, "Forbidden"),
            ErrorReason::UnknownAttribute => (420, "Unknown Attribute"),
            ErrorReason::AllocationMismatch => (437, "Allocation Mismatch"),
            ErrorReason::StaleNonce => (438, "Stale Nonce"),
            ErrorReason::AddressFamily => (440, "Address Family not Supported"),
            ErrorReason::WrongCredentials => (441, "Wrong Credentials"),
            ErrorReason::UnsupportedTransport => (442, "Unsupported Transport Protocol"),
            ErrorReason::PeerFamily => (443, "Peer Address Family Mismatch"),
            ErrorReason::UserQuota | ErrorReason::AddressQuota | ErrorReason::TotalQuota => {
                (486, "Allocation Quota Reached")
            }
            ErrorReason::PeerQuota
            | ErrorReason::NoPort
            | ErrorReason::NoReservation
            | ErrorReason::Draining => (508, "Insufficient Capacity"),
        }
    }
}
