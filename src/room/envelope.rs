//! A message of a client: the fields that the server reads, and a copy with those that it overwrites.
//!
//! A message is parsed only as far as these fields need it. [`Envelope::rewrite`] then copies the
//! message, and replaces every occurrence of `from`, `roomId` and, in an announcement, `data.userId`.
//! All other bytes stay as they are: numbers of any size, escapes, the order of keys, nesting.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::DropReason;
use super::envelope_fields::{EnvelopeField, EnvelopeFields, Key, KnownKey, string};

/// The kinds of messages that a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Offer,
    Answer,
    IceCandidate,
    UserJoined,
    /// An application's own message, of `parlor.v1` clients to each other.
    Message,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::Offer,
        Kind::Answer,
        Kind::IceCandidate,
        Kind::UserJoined,
        Kind::Message,
    ];

    /// The kinds of the plain protocol.
    const PLAIN: [Kind; 4] = [
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
            Kind::Message => "message",
        }
    }

    fn from_plain_label(word: &str) -> Option<Kind> {
        Kind::PLAIN.into_iter().find(|kind| kind.label() == word)
    }

    pub(super) fn from_label(word: &str) -> Option<Kind> {
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
    /// In order of position.
    spans: Vec<(EnvelopeField, &'a RawValue)>,
}

/// A string as it stands in JSON, quotes included.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'a> Envelope<'a> {
    /// Parses a message of the plain protocol.
    pub(super) fn parse(text: &'a str) -> Result<Envelope<'a>, DropReason> {
        let fields = EnvelopeFields::<false>::parse(text)?;
        let kind = fields.kind.ok_or(DropReason::Missing)?;
        let kind = string(kind).and_then(|word| Kind::from_plain_label(&word));
        let kind = kind.ok_or(DropReason::UnknownType)?;
        let to = fields.target()?;
        Ok(Envelope {
            text,
            kind,
            to,
            spans: fields.spans,
        })
    }

    /// A message whose fields are parsed.
    pub(super) fn new(
        text: &'a str,
        kind: Kind,
        to: Option<Cow<'a, str>>,
        fields: EnvelopeFields<'a, true>,
    ) -> Envelope<'a> {
        Envelope {
            text,
            kind,
            to,
            spans: fields.spans,
        }
    }

    pub(super) fn text(&self) -> &str {
        self.text
    }

    /// Returns the message as its receivers get it; `user` and `room` are quoted.
    pub(super) fn rewrite(&self, user: &str, room: &str) -> Bytes {
        let mut rewriter = Rewriter::new(self.text, user.len() + room.len());
        let announces = self.kind == Kind::UserJoined;
        let mut has_data = false;
        for (field, raw) in &self.spans {
            match field {
                EnvelopeField::From => rewriter.replace(self.span(raw), user),
                EnvelopeField::RoomId => rewriter.replace(self.span(raw), room),
                EnvelopeField::Data if announces => {
                    has_data = true;
                    self.rewrite_data(raw, user, &mut rewriter);
                }
                EnvelopeField::Data => {}
            }
        }
        if announces && !has_data {
            let end = self.text.trim_end().len() - 1; // before the closing brace
            rewriter.replace(end..end, &format!(",\"data\":{{\"userId\":{user}}}"));
        }
        rewriter.finish()
    }

    /// Overwrites `data.userId` of an announcement, or inserts it.
    fn rewrite_data(&self, data: &RawValue, user: &str, rewriter: &mut Rewriter<'_>) {
        let span = self.span(data);
        let Ok(UserIds(ids)) = serde_json::from_str(data.get()) else {
            return rewriter.replace(span, &format!("{{\"userId\":{user}}}"));
        };
        for id in &ids.spans {
            rewriter.replace(self.span(id), user);
        }
        if ids.spans.is_empty() {
            let inside = span.start + 1;
            let comma = if ids.others { "," } else { "" };
            rewriter.replace(inside..inside, &format!("\"userId\":{user}{comma}"));
        }
    }

    /// Where a value that was borrowed from the text stands in it.
    fn span(&self, raw: &RawValue) -> Range<usize> {
        let start = raw.get().as_ptr() as usize - self.text.as_ptr() as usize;
        start..start + raw.get().len()
    }
}

/// Copies a message and replaces byte ranges, in order of position.
struct Rewriter<'a> {
    text: &'a str,
    copied: usize,
    out: Vec<u8>,
}

impl<'a> Rewriter<'a> {
    fn new(text: &'a str, growth: usize) -> Rewriter<'a> {
        Rewriter {
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
                while let Some(Key::<false>(key)) = map.next_key()? {
                    let value = map.next_value()?;
                    match key {
                        KnownKey::UserId => ids.spans.push(value),
                        _ => ids.others = true,
                    }
                }
                Ok(UserIds(ids))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> Result<String, DropReason> {
        let envelope = Envelope::parse(text)?;
        let bytes = envelope.rewrite(&quoted("alice"), &quoted("lobby"));
        Ok(String::from_utf8(bytes.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn all_bytes_outside_of_the_overwritten_fields_are_unchanged() {
        let text = "\t{ \"n\":1234567890123456789012345678901234567890.10E+5,\"type\" : \"offer\",\
            \"from\":{\"deep\":[[[[]]]]} ,\"s\":\"\\u00e9\\/\\ud800\",\"\\ud800\":1,\"data\":{\"userId\":\"x\", \"a\":1,\"a\":2},\
            \"roomId\": null,\"from\":\"x\"}\n ";
        let expected = text
            .replace("{\"deep\":[[[[]]]]}", "\"alice\"")
            .replace("\"roomId\": null", "\"roomId\": \"lobby\"")
            .replace("\"from\":\"x\"", "\"from\":\"alice\"");
        assert_eq!(rewritten(text), Ok(expected));
    }

    #[test]
    fn a_field_whose_key_is_written_with_escapes_is_overwritten() {
        let text =
            r#"{"type":"offer","fr\u006fm":"mallory","from":"x","room\u0049d":"y","roomId":"z"}"#;
        let expected = r#"{"type":"offer","fr\u006fm":"alice","from":"alice","room\u0049d":"lobby","roomId":"lobby"}"#;
        assert_eq!(rewritten(text).as_deref(), Ok(expected));
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
            assert_eq!(
                rewritten(&text),
                Ok(format!("{head}{expected}}} ")),
                "{data}"
            );
        }
    }

    #[test]
    fn data_of_other_messages_is_none_of_our_business() {
        let text = r#"{"type":"offer","from":"alice","roomId":"lobby","data":{"userId":"bob"}}"#;
        assert_eq!(rewritten(text).as_deref(), Ok(text));
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
        assert_eq!(rewritten(&text), Ok(text.clone()));
    }
}
