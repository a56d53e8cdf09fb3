//! Time-limited TURN credentials: minted and checked in one file, so that the two can't differ.
//!
//! `username = "{unix expiry}:{user id}"`, or `"{unix expiry}:{user id}/{room id}"` where the
//! credential is bound to a room; `password = base64(HMAC-SHA1(secret, username))`. This is what
//! coturn's `use-auth-secret` and every WebRTC client understand
//! (draft-uberti-behave-turn-rest-00). The newest secret mints, all secrets verify. Other services
//! mint further forms of names with the same secret; [`Username::parse`] lists them.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::RwLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use ring::{digest, hmac};

use crate::secret::Secret;

/// Bytes of a username that are read at most; RFC 8489 section 14.3 allows 508.
const MAX_USERNAME: usize = 508;

/// 2100-12-31T23:59:59Z. A later number is not an expiry: milliseconds, or a telephone number.
const LAST_EXPIRY: u64 = 4_133_980_799;

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

/// A username, parsed by its text alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Username<'a> {
    /// Unix seconds.
    pub expires: u64,
    /// The text besides the expiry; may be empty.
    subject: &'a str,
}

/// The user and room that a username names, resolved against the known rooms: [`Revocations::identity`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Unix seconds.
    pub expires: u64,
    /// `None` if the name is only an expiry.
    pub user: Option<&'a str>,
    pub room: Option<&'a str>,
    /// The generation of the membership in `room`; 0 if the name has none.
    pub generation: u64,
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

impl<'a> Username<'a> {
    /// Reads a username of one of these forms; `None` for any other text, and for an expiry after
    /// the year 2100:
    ///
    /// - `{expiry}:{subject}`, if the text before the first `:` is digits
    /// - `{expiry}` and `{expiry}:`, which name no user
    /// - `{subject}:{expiry}` otherwise
    ///
    /// A subject is a user, a user and a room (`{user}/{room}`) or a user, a room and the generation
    /// of the membership (`{user}/{room}/{generation}`).
    pub fn parse(username: &'a str) -> Option<Username<'a>> {
        if username.len() > MAX_USERNAME {
            return None;
        }
        let (expires, subject) = match username.split_once(':') {
            Some((first, rest)) if is_number(first) => (first, rest),
            Some(_) => {
                let (subject, last) = username.rsplit_once(':')?;
                (last, Some(subject).filter(|subject| !subject.is_empty())?)
            }
            None => (username, ""),
        };
        if !is_number(expires) || subject.starts_with('/') {
            return None;
        }
        let expires = expires.parse().ok()?;
        (expires <= LAST_EXPIRY).then_some(Username { expires, subject })
    }

    /// Splits the subject. What follows a `/` is a room only if `is_room` knows it; otherwise it is
    /// part of a user name of another service (XMPP resources, Matrix ids).
    fn resolve_with(self, is_room: impl Fn(&str) -> bool) -> Identity<'a> {
        let (user, room, generation) = match self.subject.rsplit_once('/') {
            Some((front, last)) => match front.rsplit_once('/') {
                Some((user, room)) if is_number(last) && is_room(room) => {
                    // A generation that is too large counts as the newest.
                    (user, Some(room), last.parse().unwrap_or(u64::MAX))
                }
                _ if is_room(last) => (front, Some(last), 0),
                _ => (self.subject, None, 0),
            },
            None => (self.subject, None, 0),
        };
        Identity {
            expires: self.expires,
            user: Some(user).filter(|user| !user.is_empty()),
            room,
            generation,
        }
    }
}

impl<'a> Identity<'a> {
    /// The account key for quotas, bandwidth and reservations: the user or, without a user, a `/` and
    /// the client's address (IPv6: the /64). No user's name begins with `/`.
    pub fn account(&self, client: IpAddr) -> Cow<'a, str> {
        match (self.user, client.to_canonical()) {
            (Some(user), _) => Cow::Borrowed(user),
            (None, IpAddr::V4(ip)) => Cow::Owned(format!("/{ip}")),
            (None, IpAddr::V6(ip)) => {
                let prefix = u128::from(ip) & !u128::from(u64::MAX);
                Cow::Owned(format!("/{}/64", Ipv6Addr::from(prefix)))
            }
        }
    }
}

/// The client's address in an account without a user; `None` for a user's account.
pub fn unnamed_address(account: &str) -> Option<&str> {
    account.strip_prefix('/')
}

/// Whether `account` belongs to `user`, or to a name that begins with the user and a `/`: the
/// devices of an XMPP user are disabled with the user.
pub fn belongs_to(account: &str, user: &str) -> bool {
    let rest = account.strip_prefix(user);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
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
pub struct RevokedSet {
    /// Disabled or deleted.
    pub users: HashSet<Box<str>>,
    /// (user, room): who has left a room, for credentials bound to it.
    pub memberships: HashSet<(Box<str>, Box<str>)>,
    /// Closed rooms, for credentials bound to them.
    pub rooms: HashSet<Box<str>>,
    /// The token generations of users whose tokens were ended. Credentials stay valid; the map lets
    /// the daemon notice a sign-out by another process.
    pub generations: HashMap<Box<str>, u64>,
}

/// The current [`RevokedSet`] and the known rooms. Shared by all shards; read at Allocate and Refresh
/// only.
#[derive(Debug, Default)]
pub struct Revocations {
    inner: RwLock<RevokedSet>,
    /// Every room, open or closed. No room is ever removed, so that a name keeps its meaning.
    rooms: RwLock<HashSet<Box<str>>>,
}

impl Revocations {
    /// Resolves a username to a user and a room.
    pub fn resolve<'a>(&self, username: Username<'a>) -> Identity<'a> {
        if !username.subject.contains('/') {
            return username.resolve_with(|_| false);
        }
        let rooms = self.rooms.read().unwrap_or_else(|e| e.into_inner());
        username.resolve_with(|room| rooms.contains(room))
    }

    /// Adds these ids as rooms.
    pub fn add_rooms<'a>(&self, rooms: impl IntoIterator<Item = &'a str>) {
        let mut known = self.rooms.write().unwrap_or_else(|e| e.into_inner());
        for room in rooms {
            if !known.contains(room) {
                known.insert(room.into());
            }
        }
    }

    /// Whether the identity is revoked.
    pub fn is_revoked(&self, identity: &Identity<'_>) -> bool {
        let revoked = self.inner.read().unwrap_or_else(|e| e.into_inner());
        if identity
            .room
            .is_some_and(|room| revoked.rooms.contains(room))
        {
            return true;
        }
        // See `belongs_to`.
        let whole = identity.user;
        let base = whole
            .and_then(|user| user.split_once('/'))
            .map(|(base, _)| base);
        whole.into_iter().chain(base).any(|user| {
            revoked.users.contains(user)
                || identity.room.is_some_and(|room| {
                    let pair = (Box::from(user), Box::from(room));
                    revoked.memberships.contains(&pair)
                })
        })
    }

    pub fn revoke_user(&self, user: &str) {
        self.write(|revoked| revoked.users.insert(user.into()));
    }

    pub fn restore_user(&self, user: &str) {
        self.write(|revoked| revoked.users.remove(user));
    }

    /// Ends the tokens of `user` that are older than this generation.
    pub fn end_tokens(&self, user: &str, generation: u64) {
        self.write(|revoked| revoked.generations.insert(user.into(), generation));
    }

    pub fn revoke_membership(&self, user: &str, room: &str) {
        self.write(|revoked| revoked.memberships.insert((user.into(), room.into())));
    }

    pub fn restore_membership(&self, user: &str, room: &str) {
        self.write(|revoked| revoked.memberships.remove(&(user.into(), room.into())));
    }

    pub fn revoke_room(&self, room: &str) {
        self.write(|revoked| revoked.rooms.insert(room.into()));
    }

    /// What is revoked at this moment.
    pub fn snapshot(&self) -> RevokedSet {
        self.inner.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Replaces everything (what the store knows is the truth) and gives what was there.
    pub fn replace(&self, revoked: RevokedSet) -> RevokedSet {
        self.write(|known| std::mem::replace(known, revoked))
    }

    fn write<T>(&self, change: impl FnOnce(&mut RevokedSet) -> T) -> T {
        change(&mut self.inner.write().unwrap_or_else(|e| e.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    fn credentials() -> Credentials {
        Credentials::new(&Secret::new("north"), &[Secret::new("old")])
    }

    #[test]
    fn a_credential_equals_the_one_coturn_mints_for_the_same_secret() {
        // echo -n 1700000000:alice | openssl dgst -sha1 -hmac north -binary | base64
        let minted = credentials().mint("alice", None, 1_700_000_000);
        assert_eq!(minted.username, "1700000000:alice");
        assert_eq!(minted.credential, "Cd/49soE35ICqcJF/bCTn8Z4OyE=");
    }

    /// Resolves a name with the known rooms `lobby` and `5`.
    fn identity(name: &str) -> Option<Identity<'_>> {
        let is_room = |room: &str| ["lobby", "5"].contains(&room);
        Some(Username::parse(name)?.resolve_with(is_room))
    }

    fn parts(name: &str) -> (u64, Option<&str>, Option<&str>, u64) {
        let one = identity(name).unwrap_or_else(|| panic!("{name} names somebody"));
        (one.expires, one.user, one.room, one.generation)
    }

    #[test]
    fn the_newest_secret_mints_and_all_listed_secrets_check() {
        let old = Credentials::new(&Secret::new("old"), &[]).mint("alice", None, 9);
        let credentials = credentials();
        let mut passwords = credentials.passwords(&old.username);
        assert!(passwords.any(|candidate| candidate == old.credential));
    }

    #[test]
    fn every_username_form_resolves_to_its_user_and_room() {
        for (name, expected) in [
            ("12:alice", (12, Some("alice"), None, 0)),
            ("12:alice/lobby", (12, Some("alice"), Some("lobby"), 0)),
            ("12:alice/lobby/3", (12, Some("alice"), Some("lobby"), 3)),
            ("12:alice/5", (12, Some("alice"), Some("5"), 0)),
            ("12:alice/5/5", (12, Some("alice"), Some("5"), 5)),
            (
                "12:a@b.example/lobby",
                (12, Some("a@b.example"), Some("lobby"), 0),
            ),
            (
                "12:auth0|7:x=+/lobby/0",
                (12, Some("auth0|7:x=+"), Some("lobby"), 0),
            ),
            // Not a known room: the whole text is a name.
            ("12:alice/attic", (12, Some("alice/attic"), None, 0)),
            ("12:alice/attic/3", (12, Some("alice/attic/3"), None, 0)),
            ("12:alice/", (12, Some("alice/"), None, 0)),
            (
                "12:a@b.example/phone/lobby",
                (12, Some("a@b.example/phone"), Some("lobby"), 0),
            ),
            (
                "12:@alice:matrix.example",
                (12, Some("@alice:matrix.example"), None, 0),
            ),
            // Leading digits are the expiry, never trailing ones.
            (
                "2000000000:1999999999",
                (2_000_000_000, Some("1999999999"), None, 0),
            ),
            ("alice:12", (12, Some("alice"), None, 0)),
            ("alice:b:12", (12, Some("alice:b"), None, 0)),
            ("alice/lobby:12", (12, Some("alice"), Some("lobby"), 0)),
            ("alice/lobby/3:12", (12, Some("alice"), Some("lobby"), 3)),
            ("4133980799", (4_133_980_799, None, None, 0)),
            ("12:", (12, None, None, 0)),
            (
                "12:alice/lobby/99999999999999999999",
                (12, Some("alice"), Some("lobby"), u64::MAX),
            ),
        ] {
            assert_eq!(parts(name), expected, "{name}");
        }
    }

    #[test]
    fn a_username_of_another_form_is_rejected() {
        for name in [
            "",
            "alice",
            ":",
            ":12",
            ":alice",
            "x:alice",
            "+1:a",
            "1:/r",
            "1:/lobby",
            "/lobby:1",
            "-1",
            "1.5:alice",
            "alice:",
            "\u{664}:alice",
            // After 2100: milliseconds, telephone numbers.
            "4133980800:alice",
            "1767225600000:alice",
            "4915112345678:1767225600",
            "99999999999999999999:a",
        ] {
            assert_eq!(identity(name), None, "{name}");
        }
        assert_eq!(identity(&format!("1:{}", "a".repeat(600))), None);
    }

    proptest! {
        #[test]
        fn minted_usernames_resolve_to_their_user_and_room(
            expires in 0..=LAST_EXPIRY,
            user in "[A-Za-z0-9._~@|:+=-]{1,255}",
            room in proptest::option::of("[A-Za-z0-9._~-]{1,128}"),
            generation in proptest::option::of(any::<u64>()),
        ) {
            let minted = credentials().mint(&user, room.as_deref(), expires);
            let is_room = |known: &str| room.as_deref() == Some(known);
            let name = Username::parse(&minted.username).expect("a name");
            let expected = Identity {
                expires,
                user: Some(&user),
                room: room.as_deref(),
                generation: 0,
            };
            prop_assert_eq!(name.resolve_with(is_room), expected);
            if let (Some(_), Some(generation)) = (&room, generation) {
                let longer = format!("{}/{generation}", minted.username);
                let name = Username::parse(&longer).expect("a name");
                prop_assert_eq!(name.resolve_with(is_room), Identity { generation, ..expected });
            }
        }

        /// For any set of rooms: the name keeps all its text, and disabling the user that the name
        /// begins with refuses the name.
        #[test]
        fn every_username_keeps_its_text_and_is_revoked_with_its_user(
            name in "[0-9:/a]{0,24}|[ -~]{0,600}|\\PC{0,40}|[0-9]{1,10}:\\PC{0,40}|\\PC{0,40}:[0-9]{1,10}",
            rooms in proptest::collection::hash_set("[0-9a]{1,2}", 0..4),
        ) {
            let Some(parsed) = Username::parse(&name) else {
                return Ok(());
            };
            let identity = parsed.resolve_with(|room| rooms.contains(room));
            prop_assert!(identity.expires <= LAST_EXPIRY);
            prop_assert!(identity.room.is_none_or(|room| rooms.contains(room)));
            let expiry = name.trim_end_matches(':');
            match identity.user {
                Some(user) => {
                    prop_assert!(name.contains(user) && !user.starts_with('/') && !user.is_empty());
                    let revocations = Revocations::default();
                    revocations.add_rooms(rooms.iter().map(String::as_str));
                    prop_assert_eq!(revocations.resolve(parsed), identity);
                    let first = user.split('/').next().unwrap_or(user);
                    revocations.revoke_user(first);
                    prop_assert!(revocations.is_revoked(&identity) && belongs_to(user, first));
                }
                None => prop_assert!(is_number(expiry) && identity.room.is_none()),
            }
        }
    }

    #[test]
    fn an_account_without_a_user_is_the_client_address() {
        let nobody = identity("12").unwrap();
        let account = |ip: &str| nobody.account(ip.parse().unwrap()).into_owned();
        assert_eq!(account("192.0.2.7"), "/192.0.2.7");
        assert_eq!(account("::ffff:192.0.2.7"), "/192.0.2.7");
        assert_eq!(account("2001:db8:0:7::1"), "/2001:db8:0:7::/64");
        assert_eq!(account("2001:db8:0:7:ffff::2"), account("2001:db8:0:7::1"));
        assert_eq!(unnamed_address(&account("192.0.2.7")), Some("192.0.2.7"));
        let alice = identity("12:alice").unwrap();
        assert_eq!(alice.account("192.0.2.7".parse().unwrap()), "alice");
        assert_eq!(unnamed_address("alice"), None);
    }

    #[test]
    fn the_long_term_key_matches_rfc_8489() {
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
    fn leaving_revokes_only_the_room_bound_credential_until_the_user_rejoins() {
        let revocations = Revocations::default();
        revocations.revoke_membership("alice", "lobby");
        let bound = identity("1:alice/lobby").unwrap();
        let free = identity("1:alice").unwrap();
        assert!(revocations.is_revoked(&bound) && !revocations.is_revoked(&free));
        revocations.restore_membership("alice", "lobby");
        assert!(!revocations.is_revoked(&bound));
        revocations.revoke_room("lobby");
        assert!(revocations.is_revoked(&bound) && !revocations.is_revoked(&free));
        revocations.revoke_user("alice");
        assert!(revocations.is_revoked(&bound) && revocations.is_revoked(&free));
    }
}
