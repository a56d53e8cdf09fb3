//! One message: its claims about itself, and the same bytes with the claims corrected.
//!
//! A message is parsed just far enough to know where its claims stand. [`Envelope::stamp`] then
//! copies it with `from`, `roomId` and, in an announcement, `data.userId` replaced in place, each
//! of their occurrences. Everything else is untouched to the byte: numbers of any size, escapes,
//! the order of keys, nesting.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::DropReason;

/// The kinds of messages that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Offer,
    Answer,
    IceCandidate,
    UserJoined,
}

impl Kind {
    pub const ALL: [Kind; 4] = [
        Kind::Offer,
        Kind::Answer,
        Kind::IceCandidate,
        Kind::UserJoined,
    ];

    /// The value of `type`.
    pub fn label(self) -> &'static str {
        match self {
            Kind::Offer => "offer",
            Kind::Answer => "answer",
            Kind::IceCandidate => "ice-candidate",
            Kind::UserJoined => "user-joined",
        }
    }

    fn from_label(word: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.label() == word)
    }
}

/// A message that may travel.
#[derive(Debug)]
pub(super) struct Envelope<'a> {
    text: &'a str,
    pub kind: Kind,
    /// `None`: everybody else.
    pub to: Option<Cow<'a, str>>,
    claims: Claims<'a>,
}

/// A string as it stands in JSON, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'a> Envelope<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Envelope<'a>, DropReason> {
        let claims: Claims<'a> = serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => DropReason::NotAnObject,
            _ => DropReason::NotJson,
        })?;
        if claims.ambiguous {
            return Err(DropReason::NotJson);
        }
        let kind = claims.kind.ok_or(DropReason::Missing)?;
        let kind = string(kind).and_then(|word| Kind::from_label(&word));
        let kind = kind.ok_or(DropReason::UnknownType)?;
        let has = |claim| claims.spans.iter().any(|(known, _)| *known == claim);
        if !has(Claim::From) || !has(Claim::RoomId) {
            return Err(DropReason::Missing);
        }
        let to = match claims.to {
            None => None,
            Some(raw) if raw.get() == "null" => None,
            Some(raw) => Some(string(raw).ok_or(DropReason::BadTarget)?),
        };
        Ok(Envelope {
            text,
            kind,
            to: to.filter(|to| !to.is_empty()),
            claims,
        })
    }

    /// The message as its receivers get it; `user` and `room` are quoted.
    pub(super) fn stamp(&self, user: &str, room: &str) -> Bytes {
        let mut stamped = Stamped::new(self.text, user.len() + room.len());
        let announces = self.kind == Kind::UserJoined;
        let mut has_data = false;
        for (claim, raw) in &self.claims.spans {
            match claim {
                Claim::From => stamped.replace(self.span(raw), user),
                Claim::RoomId => stamped.replace(self.span(raw), room),
                Claim::Data if announces => {
                    has_data = true;
                    self.stamp_data(raw, user, &mut stamped);
                }
                Claim::Data => {}
            }
        }
        if announces && !has_data {
            let end = self.text.trim_end().len() - 1; // before the closing brace
            stamped.replace(end..end, &format!(",\"data\":{{\"userId\":{user}}}"));
        }
        stamped.finish()
    }

    /// `data.userId` of an announcement: overwritten, or put in.
    fn stamp_data(&self, data: &RawValue, user: &str, stamped: &mut Stamped<'_>) {
        let span = self.span(data);
        let Ok(UserIds(ids)) = serde_json::from_str(data.get()) else {
            return stamped.replace(span, &format!("{{\"userId\":{user}}}"));
        };
        for id in &ids.spans {
            stamped.replace(self.span(id), user);
        }
        if ids.spans.is_empty() {
            let inside = span.start + 1;
            let comma = if ids.others { "," } else { "" };
            stamped.replace(inside..inside, &format!("\"userId\":{user}{comma}"));
        }
    }

    /// Where a value that was borrowed from the text stands in it.
    fn span(&self, raw: &RawValue) -> Range<usize> {
        let start = raw.get().as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + raw.get().len()
    }
}

/// A copy in the making: edits must come in the order of the text.
struct Stamped<'a> {
    text: &'a str,
    copied: usize,
    out: Vec<u8>,
}

impl<'a> Stamped<'a> {
    fn new(text: &'a str, growth: usize) -> Stamped<'a> {
        Stamped {
            text,
            copied: 0,
            out: Vec::with_capacity(text.len() + growth),
        }
    }

    fn replace(&mut self, span: Range<usize>, with: &str) {
        self.out
            .extend_from_slice(&self.text.as_bytes()[self.copied..span.start]);
        self.out.extend_from_slice(with.as_bytes());
        self.copied = span.end;
    }

    fn finish(mut self) -> Bytes {
        self.out
            .extend_from_slice(&self.text.as_bytes()[self.copied..]);
        Bytes::from(self.out)
    }
}

/// The string that a value is, or `None` where it is none (or has lone surrogates).
fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    From,
    RoomId,
    Data,
}

/// The keys that mean something, in the order they stand.
#[derive(Debug, Default)]
struct Claims<'a> {
    kind: Option<&'a RawValue>,
    to: Option<&'a RawValue>,
    spans: Vec<(Claim, &'a RawValue)>,
    /// `type` or `to` stands twice: receivers might not agree with us on which one counts.
    ambiguous: bool,
}

impl<'de: 'a, 'a> Deserialize<'de> for Claims<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Claims<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims<'de>, A::Error> {
                let mut claims = Claims {
                    spans: Vec::with_capacity(3),
                    ..Claims::default()
                };
                while let Some(Key(field)) = map.next_key()? {
                    let claim = match field {
                        Field::Type => {
                            let before = claims.kind.replace(map.next_value()?);
                            claims.ambiguous |= before.is_some();
                            continue;
                        }
                        Field::To => {
                            let before = claims.to.replace(map.next_value()?);
                            claims.ambiguous |= before.is_some();
                            continue;
                        }
                        Field::From => Claim::From,
                        Field::RoomId => Claim::RoomId,
                        Field::Data => Claim::Data,
                        Field::UserId | Field::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    claims.spans.push((claim, map.next_value()?));
                }
                Ok(claims)
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// Where `userId` stands in an announcement's `data`.
#[derive(Default)]
struct Ids<'a> {
    spans: Vec<&'a RawValue>,
    others: bool,
}

struct UserIds<'a>(Ids<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for UserIds<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = UserIds<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UserIds<'de>, A::Error> {
                let mut ids = Ids::default();
                while let Some(Key(field)) = map.next_key()? {
                    let value = map.next_value()?;
                    match field {
                        Field::UserId => ids.spans.push(value),
                        _ => ids.others = true,
                    }
                }
                Ok(UserIds(ids))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

enum Field {
    Type,
    From,
    RoomId,
    To,
    Data,
    UserId,
    Other,
}

/// A key, its escapes undone: `"fr\u006fm"` is `from` to every receiver, so it is to us.
struct Key(Field);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key, E> {
                self.visit_bytes(name.as_bytes())
            }

            fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<Key, E> {
                Ok(Key(match name {
                    b"type" => Field::Type,
                    b"from" => Field::From,
                    b"roomId" => Field::RoomId,
                    b"to" => Field::To,
                    b"data" => Field::Data,
                    b"userId" => Field::UserId,
                    _ => Field::Other,
                }))
            }
        }
        // As bytes, because a key with a lone surrogate is no `str` but travels all the same.
        deserializer.deserialize_bytes(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(text: &str) -> Result<String, DropReason> {
        let envelope = Envelope::parse(text)?;
        let bytes = envelope.stamp(&quoted("alice"), &quoted("lobby"));
        Ok(String::from_utf8(bytes.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn everything_but_the_claims_is_untouched_to_the_byte() {
        let text = "\t{ \"n\":1234567890123456789012345678901234567890.10E+5,\"type\" : \"offer\",\
            \"from\":{\"deep\":[[[[]]]]} ,\"s\":\"\\u00e9\\/\\ud800\",\"\\ud800\":1,\"data\":{\"userId\":\"x\", \"a\":1,\"a\":2},\
            \"roomId\": null,\"from\":\"x\"}\n ";
        let expected = text
            .replace("{\"deep\":[[[[]]]]}", "\"alice\"")
            .replace("\"roomId\": null", "\"roomId\": \"lobby\"")
            .replace("\"from\":\"x\"", "\"from\":\"alice\"");
        assert_eq!(stamped(text), Ok(expected));
    }

    #[test]
    fn a_claim_whose_key_is_written_with_escapes_is_overwritten() {
        let text =
            r#"{"type":"offer","fr\u006fm":"mallory","from":"x","room\u0049d":"y","roomId":"z"}"#;
        let expected = r#"{"type":"offer","fr\u006fm":"alice","from":"alice","room\u0049d":"lobby","roomId":"lobby"}"#;
        assert_eq!(stamped(text).as_deref(), Ok(expected));
    }

    #[test]
    fn an_announcement_names_its_sender() {
        for (data, expected) in [
            (
                r#","data":{"userId":"bob","n":"A"}"#,
                r#","data":{"userId":"alice","n":"A"}"#,
            ),
            (
                r#","data":{"n":{"userId":1}}"#,
                r#","data":{"userId":"alice","n":{"userId":1}}"#,
            ),
            (r#","data":{ }"#, r#","data":{"userId":"alice" }"#),
            (r#","data":null"#, r#","data":{"userId":"alice"}"#),
            (
                r#","data":{"user\u0049d":1,"userId":2}"#,
                r#","data":{"user\u0049d":"alice","userId":"alice"}"#,
            ),
            (
                r#","data":{},"data":7"#,
                r#","data":{"userId":"alice"},"data":{"userId":"alice"}"#,
            ),
            ("", r#","data":{"userId":"alice"}"#),
        ] {
            let head = r#"{"from":"alice","roomId":"lobby","type":"user-joined""#;
            let text = format!("{head}{data}}} ");
            assert_eq!(stamped(&text), Ok(format!("{head}{expected}}} ")), "{data}");
        }
    }

    #[test]
    fn data_of_other_messages_is_none_of_our_business() {
        let text = r#"{"type":"offer","from":"alice","roomId":"lobby","data":{"userId":"bob"}}"#;
        assert_eq!(stamped(text).as_deref(), Ok(text));
    }

    #[test]
    fn a_target_is_a_string_or_nobody_in_particular() {
        let to = |to: &str| {
            let text = format!(r#"{{"type":"answer","from":1,"roomId":1,"to":{to}}}"#);
            Envelope::parse(&text).map(|e| e.to.map(Cow::into_owned))
        };
        assert_eq!(to("null"), Ok(None));
        assert_eq!(to("\"\""), Ok(None));
        assert_eq!(to("\"bob\""), Ok(Some("bob".to_owned())));
        assert_eq!(to(r#""b\u006fb""#), Ok(Some("bob".to_owned())));
        for bad in ["1", "true", "[]", "{\"a\":1}", r#""\ud800""#] {
            assert_eq!(to(bad), Err(DropReason::BadTarget), "{bad}");
        }
    }

    #[test]
    fn every_defect_has_its_reason() {
        for (text, reason) in [
            ("", DropReason::NotJson),
            ("{", DropReason::NotJson),
            ("{\"type\":\"offer\"}x", DropReason::NotJson),
            ("[]", DropReason::NotAnObject),
            ("\"offer\"", DropReason::NotAnObject),
            ("{}", DropReason::Missing),
            (r#"{"type":"offer","from":1}"#, DropReason::Missing),
            (r#"{"type":"offer","roomId":1}"#, DropReason::Missing),
            (r#"{"from":1,"roomId":1}"#, DropReason::Missing),
            (
                r#"{"type":"user-left","from":1,"roomId":1}"#,
                DropReason::UnknownType,
            ),
            (r#"{"type":1,"from":1,"roomId":1}"#, DropReason::UnknownType),
            (
                r#"{"type":"offer","type":"offer","from":1,"roomId":1}"#,
                DropReason::NotJson,
            ),
            (
                r#"{"type":"offer","t\u006f":"a","from":1,"roomId":1,"to":"b"}"#,
                DropReason::NotJson,
            ),
        ] {
            assert_eq!(Envelope::parse(text).err(), Some(reason), "{text}");
        }
    }

    #[test]
    fn nesting_of_any_depth_passes() {
        let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
        let text = format!(r#"{{"type":"offer","from":"alice","roomId":"lobby","data":{deep}}}"#);
        assert_eq!(stamped(&text), Ok(text.clone()));
    }
}
