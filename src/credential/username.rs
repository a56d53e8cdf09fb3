//! Usernames of credentials: parsing, and the user and room that they name.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

/// The maximum length of a username (RFC 8489 section 14.3).
const MAX_USERNAME_BYTES: usize = 508;

/// 2100-12-31T23:59:59Z. A larger number is not an expiry: it may be milliseconds or a telephone
/// number.
const MAX_EXPIRY: u64 = 4_133_980_799;

/// A username, parsed without knowledge of rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Username<'a> {
    /// Unix seconds.
    pub expires: u64,
    /// The text without the expiry; may be empty.
    pub(super) subject: &'a str,
}

/// The user and the room that a username names: see
/// [`Revocations::resolve`](super::Revocations::resolve).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CredentialSubject<'a> {
    /// Unix seconds.
    pub expires: u64,
    /// `None` if the username is only an expiry.
    pub user: Option<&'a str>,
    pub room: Option<&'a str>,
    /// The generation of the membership in `room`; 0 if the name has none.
    pub generation: u64,
}

impl<'a> Username<'a> {
    /// Parses a username of one of these forms. Returns `None` for other text, and for an expiry
    /// after the year 2100.
    ///
    /// - `{expiry}:{subject}`, if the text before the first `:` is a number
    /// - `{expiry}` and `{expiry}:`, which name no user
    /// - `{subject}:{expiry}` otherwise
    ///
    /// A subject is a user, a user and a room (`{user}/{room}`) or a user, a room and the
    /// generation of the membership (`{user}/{room}/{generation}`).
    pub fn parse(username: &'a str) -> Option<Username<'a>> {
        if username.len() > MAX_USERNAME_BYTES {
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
        (expires <= MAX_EXPIRY).then_some(Username { expires, subject })
    }

    /// Splits the subject. Text after a `/` is a room only if `is_room` returns true. Otherwise it
    /// is part of the user name of another service (XMPP resources, Matrix ids).
    pub(super) fn resolve_with(self, is_room: impl Fn(&str) -> bool) -> CredentialSubject<'a> {
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
        CredentialSubject {
            expires: self.expires,
            user: Some(user).filter(|user| !user.is_empty()),
            room,
            generation,
        }
    }
}

impl<'a> CredentialSubject<'a> {
    /// Returns the account for quotas, bandwidth and reservations: the user or, without a user, a
    /// `/` and the client's address (IPv6: the /64). No user's name begins with `/`.
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

/// Returns the client's address of an account without a user; `None` for a user's account.
pub fn anonymous_address(account: &str) -> Option<&str> {
    account.strip_prefix('/')
}

/// Returns whether `account` is `user`, or begins with the user and a `/`: the devices of an XMPP
/// user are disabled with the user.
pub fn belongs_to(account: &str, user: &str) -> bool {
    let rest = account.strip_prefix(user);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::{Credentials, Revocations};
    use crate::secret::Secret;

    use proptest::prelude::*;

    fn credentials() -> Credentials {
        Credentials::new(&Secret::new("north"), &[Secret::new("old")])
    }

    /// Resolves a name with the known rooms `lobby` and `5`.
    fn subject(name: &str) -> Option<CredentialSubject<'_>> {
        let is_room = |room: &str| ["lobby", "5"].contains(&room);
        Some(Username::parse(name)?.resolve_with(is_room))
    }

    fn parts(name: &str) -> (u64, Option<&str>, Option<&str>, u64) {
        let one = subject(name).unwrap_or_else(|| panic!("{name} resolves"));
        (one.expires, one.user, one.room, one.generation)
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
            assert_eq!(subject(name), None, "{name}");
        }
        assert_eq!(subject(&format!("1:{}", "a".repeat(600))), None);
    }

    proptest! {
        #[test]
        fn minted_usernames_resolve_to_their_user_and_room(
            expires in 0..=MAX_EXPIRY,
            user in "[A-Za-z0-9._~@|:+=-]{1,255}",
            room in proptest::option::of("[A-Za-z0-9._~-]{1,128}"),
            generation in proptest::option::of(any::<u64>()),
        ) {
            let minted = credentials().mint(&user, room.as_deref(), expires);
            let is_room = |known: &str| room.as_deref() == Some(known);
            let name = Username::parse(&minted.username).expect("a name");
            let expected = CredentialSubject {
                expires,
                user: Some(&user),
                room: room.as_deref(),
                generation: 0,
            };
            prop_assert_eq!(name.resolve_with(is_room), expected);
            if let (Some(_), Some(generation)) = (&room, generation) {
                let longer = format!("{}/{generation}", minted.username);
                let name = Username::parse(&longer).expect("a name");
                prop_assert_eq!(name.resolve_with(is_room), CredentialSubject { generation, ..expected });
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
            let subject = parsed.resolve_with(|room| rooms.contains(room));
            prop_assert!(subject.expires <= MAX_EXPIRY);
            prop_assert!(subject.room.is_none_or(|room| rooms.contains(room)));
            let expiry = name.trim_end_matches(':');
            match subject.user {
                Some(user) => {
                    prop_assert!(name.contains(user) && !user.starts_with('/') && !user.is_empty());
                    let revocations = Revocations::default();
                    revocations.add_rooms(rooms.iter().map(String::as_str));
                    prop_assert_eq!(revocations.resolve(parsed), subject);
                    let first = user.split('/').next().unwrap_or(user);
                    revocations.revoke_user(first);
                    prop_assert!(revocations.is_revoked(&subject) && belongs_to(user, first));
                }
                None => prop_assert!(is_number(expiry) && subject.room.is_none()),
            }
        }
    }

    #[test]
    fn an_account_without_a_user_is_the_client_address() {
        let nobody = subject("12").unwrap();
        let account = |ip: &str| nobody.account(ip.parse().unwrap()).into_owned();
        assert_eq!(account("192.0.2.7"), "/192.0.2.7");
        assert_eq!(account("::ffff:192.0.2.7"), "/192.0.2.7");
        assert_eq!(account("2001:db8:0:7::1"), "/2001:db8:0:7::/64");
        assert_eq!(account("2001:db8:0:7:ffff::2"), account("2001:db8:0:7::1"));
        assert_eq!(anonymous_address(&account("192.0.2.7")), Some("192.0.2.7"));
        let alice = subject("12:alice").unwrap();
        assert_eq!(alice.account("192.0.2.7".parse().unwrap()), "alice");
        assert_eq!(anonymous_address("alice"), None);
    }
}
