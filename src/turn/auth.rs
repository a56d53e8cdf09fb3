//! The long-term credential mechanism (RFC 8489 section 9.2.4) with time-limited credentials.

use crate::credential::Username;
use crate::stun::{Attribute, Integrity, Message, Method};

use super::ErrorReason;
use super::algorithms::{Key, Scheme};
use super::allocation::Allocation;
use super::allocation_table::AllocationTable;
use super::request::Request;
use super::settings::Config;

/// The sender of a request whose integrity is valid.
pub(super) struct Authenticated<'a> {
    pub username: &'a str,
    pub name: Username<'a>,
    pub key: Key,
}

/// Why a request is rejected, and the key that signs the error response, if it is known.
pub(super) struct AuthFailure {
    pub reason: ErrorReason,
    pub key: Option<Box<Key>>,
}

impl From<ErrorReason> for AuthFailure {
    fn from(reason: ErrorReason) -> AuthFailure {
        AuthFailure { reason, key: None }
    }
}

/// The authentication attributes of a request.
struct AuthAttributes<'a> {
    /// Empty if the request has USERHASH instead, which this server does not offer.
    username: &'a [u8],
    realm: &'a [u8],
    nonce: &'a [u8],
    scheme: Scheme,
}

/// Authenticates the sender of a request, in the order of RFC 8489 section 9.2.4: the nonce is
/// checked last.
pub(super) fn authenticate<'a>(
    config: &Config,
    table: &mut AllocationTable,
    request: Request<'a>,
) -> Result<Authenticated<'a>, AuthFailure> {
    let Request {
        now,
        route,
        message,
    } = request;
    let integrity = message.integrity().ok_or(ErrorReason::Challenge)?;
    let attributes = AuthAttributes::read(message, integrity)?;
    let held = table.find_by_client(route).and_then(|id| table.get(id));
    let result = attributes.verify(config, held.as_deref(), message);
    if !config
        .nonces
        .check(attributes.nonce, route.client, now.unix)
    {
        return Err(match result {
            Ok(_) => ErrorReason::StaleNonce.into(),
            // Without a valid nonce the source address may be spoofed: nobody is banned for it.
            Err(_) => ErrorReason::BadCredentialAndNonce.into(),
        });
    }
    let result = result?;
    match held {
        Some(allocation) if !attributes.matches_allocation(allocation) => Err(AuthFailure {
            reason: match message.method() {
                // RFC 8656 section 7.2 comes first: the five-tuple is in use.
                Method::ALLOCATE => ErrorReason::AllocationMismatch,
                _ => ErrorReason::WrongCredentials,
            },
            key: Some(Box::new(result.key)),
        }),
        _ => Ok(result),
    }
}

impl<'a> AuthAttributes<'a> {
    /// Reads the attributes in one pass. The first attribute of each type counts.
    fn read(
        message: &Message<'a>,
        integrity: Integrity,
    ) -> Result<AuthAttributes<'a>, ErrorReason> {
        let (mut username, mut userhash, mut realm, mut nonce) = (None, None, None, None);
        let (mut list, mut chosen) = (None, None);
        for (attribute, value) in message.attributes() {
            let slot = match attribute {
                Attribute::USERNAME => &mut username,
                Attribute::USERHASH => &mut userhash,
                Attribute::REALM => &mut realm,
                Attribute::NONCE => &mut nonce,
                Attribute::PASSWORD_ALGORITHMS => &mut list,
                Attribute::PASSWORD_ALGORITHM => &mut chosen,
                _ => continue,
            };
            slot.get_or_insert(value);
        }
        let hidden = userhash.map(|_| &[][..]);
        let (Some(username), Some(realm), Some(nonce)) = (username.or(hidden), realm, nonce) else {
            return Err(ErrorReason::BadRequest);
        };
        Ok(AuthAttributes {
            username,
            realm,
            nonce,
            scheme: Scheme::of(nonce, list, chosen, integrity)?,
        })
    }

    /// Checks the username and the integrity. The owner of an allocation must use its key.
    fn verify(
        &self,
        config: &Config,
        held: Option<&Allocation>,
        message: &Message<'_>,
    ) -> Result<Authenticated<'a>, ErrorReason> {
        if self.realm != config.realm.as_bytes() {
            return Err(ErrorReason::UnknownRealm);
        }
        let username = std::str::from_utf8(self.username).map_err(|_| ErrorReason::UnknownUser)?;
        let name = Username::parse(username).ok_or(ErrorReason::UnknownUser)?;
        let own = held.filter(|held| self.matches_allocation(held));
        let key = if let Some(allocation) = own {
            let key = allocation.key.verifies(message).then_some(&allocation.key);
            key.cloned()
        } else {
            let passwords = config.settings.credentials.passwords(username);
            let mut keys =
                passwords.map(|password| Key::new(self.scheme, username, &config.realm, &password));
            keys.find(|key| key.verifies(message))
        };
        Ok(Authenticated {
            username,
            name,
            key: key.ok_or(ErrorReason::BadCredential)?,
        })
    }

    /// Returns whether the username is that of the allocation's owner, with the algorithm that
    /// created the allocation. No downgrade: a weaker algorithm is not accepted later.
    fn matches_allocation(&self, allocation: &Allocation) -> bool {
        allocation.username.as_bytes() == self.username && allocation.key.scheme == self.scheme
    }
}
