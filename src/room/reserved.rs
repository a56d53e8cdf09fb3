//! Keys in a client's message that only the server may set for `parlor.v1` readers.
//!
//! Plain readers get these keys as they are: the plain protocol gives them no meaning.

use std::fmt;

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::envelope::{Envelope, Kind};

/// [`without_reserved_keys`] of a message that another node relayed.
pub(super) fn for_extended(frame: &Bytes) -> Bytes {
    let Ok(text) = std::str::from_utf8(frame) else {
        return frame.clone();
    };
    // No search for the type of the messages that have none of the keys.
    let kind = || Envelope::parse(text).map_or(Kind::UserJoined, |envelope| envelope.kind);
    if is_suspect(text, true) {
        without_reserved_keys(text, frame, kind())
    } else {
        frame.clone()
    }
}

/// Returns the copy for `parlor.v1` readers: without a `seq` beside `type`, and without `data.participant` in an
/// announcement. `text` is the message that `frame` is made from.
pub(super) fn without_reserved_keys(text: &str, frame: &Bytes, kind: Kind) -> Bytes {
    let announces = kind == Kind::UserJoined;
    if !is_suspect(text, announces) {
        return frame.clone();
    }
    let Ok(object) = serde_json::from_slice::<Object<'_>>(frame) else {
        return frame.clone();
    };
    let mut copy = String::with_capacity(frame.len());
    object.write_without("seq", &mut copy, |key, value, copy| {
        if announces
            && is_key(key, "data")
            && let Ok(data) = serde_json::from_str::<Object<'_>>(value.get())
        {
            data.write_without("participant", copy, |_, value, copy| {
                copy.push_str(value.get());
            });
        } else {
            copy.push_str(value.get());
        }
    });
    Bytes::from(copy)
}

/// Whether a message may have the keys, in any spelling. Nearly none has: most are not parsed again.
fn is_suspect(text: &str, announces: bool) -> bool {
    let may_have = |end: &str| text.contains(end) || text.contains("\\u");
    may_have("seq\"") || announces && may_have("participant\"")
}

/// The entries of an object as they stand in the text.
struct Object<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl Object<'_> {
    fn write_without(
        &self,
        name: &str,
        copy: &mut String,
        write: impl Fn(&RawValue, &RawValue, &mut String),
    ) {
        copy.push('{');
        let mut is_first = true;
        for (key, value) in self.0.iter().filter(|(key, _)| !is_key(key, name)) {
            if !std::mem::take(&mut is_first) {
                copy.push(',');
            }
            copy.push_str(key.get());
            copy.push(':');
            write(key, value, copy);
        }
        copy.push('}');
    }
}

/// Whether a key is this name once its escapes are undone.
fn is_key(key: &RawValue, name: &str) -> bool {
    let inner = key.get().trim_matches('"');
    inner == name || serde_json::from_str::<String>(key.get()).is_ok_and(|key| key == name)
}

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(text: &'static str, kind: Kind) -> String {
        let copy = without_reserved_keys(text, &Bytes::from_static(text.as_bytes()), kind);
        String::from_utf8(copy.to_vec()).expect("UTF-8")
    }

    #[test]
    fn a_number_of_the_server_cannot_be_forged() {
        for (text, expected) in [
            (r#"{"seq":1,"type":"offer"}"#, r#"{"type":"offer"}"#),
            (
                r#"{"type":"offer", "s\u0065q" : [1],"data":{"seq":2},"seq":3}"#,
                r#"{"type":"offer","data":{"seq":2}}"#,
            ),
        ] {
            assert_eq!(copy(text, Kind::Offer), expected);
        }
    }

    #[test]
    fn a_participant_in_an_announcement_cannot_be_forged() {
        let text =
            r#"{"type":"user-joined","data":{"a":1.50,"participant":{},"particip\u0061nt":1}}"#;
        let expected = r#"{"type":"user-joined","data":{"a":1.50}}"#;
        assert_eq!(copy(text, Kind::UserJoined), expected);
        assert_eq!(copy(text, Kind::Message), text);
    }

    #[test]
    fn all_other_texts_are_unchanged() {
        for text in [
            r#" { "type" : "offer" , "x":"\ud800","sequence":1 } "#,
            r#"{"type":"offer","data":"v=0\r\n"}"#,
        ] {
            assert_eq!(
                copy(text, Kind::Offer).replace(' ', ""),
                text.replace(' ', "")
            );
        }
    }
}
