//! Time-limited TURN credentials: minted and checked in one file, so that the two can't differ.
//!
//! `username = "{unix expiry}:{user id}"`, or `"{unix expiry}:{user id}/{room id}"` where the
//! credential is bound to a room; `password = base64(HMAC-SHA1(secret, username))`. This is what
//! coturn's `use-auth-secret` and every WebRTC client understand
//! (draft-uberti-behave-turn-rest-00). The newest secret mints, all check.

use std::collections::HashSet;
use std::sync::RwLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use ring::{digest, hmac};

use crate::secret::Secret;

/// Bytes of a username that are read at most; RFC 8489 section 14.3 allows 508.
const MAX_USERNAME: usize = 508;

/// The secrets that mint and check.
#[derive(Clone)]
pub struct Credentials {
    /// Newest first.
    secrets: Vec<hmac::Key>,
}

/// What a client hands to its TURN server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    pub username: String,
    pub credential: String,
}

/// Whom a username names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bearer<'a> {
    /// Unix seconds.
    pub expires: u64,
    pub user: &'a str,
    pub room: Option<&'a str>,
}

impl Credentials {
    pub fn new(newest: &Secret, previous: &[Secret]) -> Credentials {
        let secrets = std::iter::once(newest).chain(previous);
        let key =
            |s: &Secret| hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, s.expose().as_bytes());
        Credentials {
            secrets: secrets.map(key).collect(),
        }
    }

    /// Mints a credential for `user` that may allocate until `expires` (Unix seconds).
    pub fn mint(&self, user: &str, room: Option<&str>, expires: u64) -> Minted {
        let username = match room {
            Some(room) => format!("{expires}:{user}/{room}"),
            None => format!("{expires}:{user}"),
        };
        let credential = password(&self.secrets[0], &username);
        Minted {
            username,
            credential,
        }
    }

    /// The passwords that `username` may prove itself with, one for each secret.
    ///
    /// The caller checks the message's integrity against each; which of them fits says nothing
    /// about a secret.
    pub fn passwords<'a>(&'a self, username: &'a str) -> impl Iterator<Item = String> + 'a {
        let secrets = self.secrets.iter();
        secrets.map(move |secret| password(secret, username))
    }
}

impl<'a> Bearer<'a> {
    /// Reads a username. `None` where it is not of the form that [`Credentials::mint`] gives.
    pub fn parse(username: &'a str) -> Option<Bearer<'a>> {
        if username.len() > MAX_USERNAME {
            return None;
        }
        let (expires, who) = username.split_once(':')?;
        if !expires.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let (user, room) = match who.split_once('/') {
            Some((user, room)) => (user, Some(room)),
            None => (who, None),
        };
        if user.is_empty() || room.is_some_and(str::is_empty) {
            return None;
        }
        Some(Bearer {
            expires: expires.parse().ok()?,
            user,
            room,
        })
    }
}

/// `MD5(username ":" realm ":" password)`, RFC 8489 section 9.2.2.
pub fn long_term_key(username: &str, realm: &str, password: &str) -> [u8; 16] {
    let mut hash = Md5::new();
    for part in [username, ":", realm, ":", password] {
        hash.update(part.as_bytes());
    }
    hash.finalize().into()
}

/// `SHA-256(username ":" realm ":" password)`, RFC 8489 section 18.5.1.2.
pub fn long_term_key_sha256(username: &str, realm: &str, password: &str) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    for part in [username, ":", realm, ":", password] {
        hash.update(part.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(hash.finish().as_ref());
    key
}

fn password(secret: &hmac::Key, username: &str) -> String {
    STANDARD.encode(hmac::sign(secret, username.as_bytes()))
}

/// Who may not allocate although a credential of theirs still checks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refused {
    /// Disabled or deleted.
    pub users: HashSet<Box<str>>,
    /// (user, room): who has left a room, for credentials bound to it.
    pub memberships: HashSet<(Box<str>, Box<str>)>,
    /// Closed rooms, for credentials bound to them.
    pub rooms: HashSet<Box<str>>,
}

/// What is [`Refused`] now. Shared by all shards and read at Allocate and Refresh only.
#[derive(Debug, Default)]
pub struct Refusals {
    inner: RwLock<Refused>,
}

impl Refusals {
    /// Whether the bearer is refused.
    pub fn refuses(&self, bearer: &Bearer<'_>) -> bool {
        let refused = self.inner.read().unwrap_or_else(|e| e.into_inner());
        refused.users.contains(bearer.user)
            || bearer.room.is_some_and(|room| {
                let pair = (Box::from(bearer.user), Box::from(room));
                refused.rooms.contains(room) || refused.memberships.contains(&pair)
            })
    }

    pub fn refuse_user(&self, user: &str) {
        self.write(|refused| refused.users.insert(user.into()));
    }

    pub fn admit_user(&self, user: &str) {
        self.write(|refused| refused.users.remove(user));
    }

    pub fn refuse_membership(&self, user: &str, room: &str) {
        self.write(|refused| refused.memberships.insert((user.into(), room.into())));
    }

    pub fn admit_membership(&self, user: &str, room: &str) {
        self.write(|refused| refused.memberships.remove(&(user.into(), room.into())));
    }

    pub fn refuse_room(&self, room: &str) {
        self.write(|refused| refused.rooms.insert(room.into()));
    }

    /// What is refused at this moment.
    pub fn current(&self) -> Refused {
        self.inner.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Replaces everything (what the store knows is the truth) and gives what was there.
    pub fn replace(&self, refused: Refused) -> Refused {
        self.write(|known| std::mem::replace(known, refused))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Refused) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(|e| e.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials::new(&Secret::new("north"), &[Secret::new("old")])
    }

    #[test]
    fn a_credential_is_what_coturn_mints_for_the_same_secret() {
        // echo -n 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let minted = credentials().mint("alice", None, 1_700_000_000);
        assert_eq!(minted.username, "1700000000:alice");
        assert_eq!(minted.credential, "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
    }

    #[test]
    fn a_credential_may_be_bound_to_a_room() {
        let minted = credentials().mint("alice", Some("lobby"), 5);
        let bearer = Bearer::parse(&minted.username).unwrap();
        assert_eq!(bearer.room, Some("lobby"));
        assert_eq!((bearer.user, bearer.expires), ("alice", 5));
    }

    #[test]
    fn the_newest_secret_mints_and_all_listed_secrets_check() {
        let old = Credentials::new(&Secret::new("old"), &[]).mint("alice", None, 9);
        let credentials = credentials();
        let mut passwords = credentials.passwords(&old.username);
        assert!(passwords.any(|candidate| candidate == old.credential));
    }

    #[test]
    fn a_username_of_another_form_names_nobody() {
        for name in [
            "",
            "alice",
            ":alice",
            "12:",
            "x:alice",
            "+1:a",
            "1:/r",
            "1:a/",
            "99999999999999999999:a",
        ] {
            assert_eq!(Bearer::parse(name), None, "{name}");
        }
        assert_eq!(Bearer::parse(&format!("1:{}", "a".repeat(600))), None);
    }

    #[test]
    fn the_long_term_key_is_that_of_rfc_8489() {
        // RFC 8489 section 9.2.2: user "user", realm "realm", password "pass".
        let key = long_term_key("user", "realm", "pass");
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, "8493fbc53ba582fb4c044c456bdc40eb");
        // echo -n user:realm:pass | sha256sum
        let key = long_term_key_sha256("user", "realm", "pass");
        let hex: String = key.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b"
        );
    }

    #[test]
    fn leaving_refuses_the_room_bound_credential_alone_and_joining_lifts_it() {
        let refusals = Refusals::default();
        refusals.refuse_membership("alice", "lobby");
        let bound = Bearer::parse("1:alice/lobby").unwrap();
        let free = Bearer::parse("1:alice").unwrap();
        assert!(refusals.refuses(&bound) && !refusals.refuses(&free));
        refusals.admit_membership("alice", "lobby");
        assert!(!refusals.refuses(&bound));
        refusals.refuse_room("lobby");
        assert!(refusals.refuses(&bound) && !refusals.refuses(&free));
        refusals.refuse_user("alice");
        assert!(refusals.refuses(&bound) && refusals.refuses(&free));
    }
}
