//! The fields of a client's message that the server reads or overwrites.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::DropReason;

/// A field of a message that the server overwrites, or whose content it overwrites.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EnvelopeField {
    From,
    RoomId,
    Data,
}

/// The fields that the server reads or overwrites; `spans` is in order of position. The plain protocol has no `id`.
#[derive(Debug, Default)]
pub(super) struct EnvelopeFields<'a, const EXTENDED: bool> {
    pub kind: Option<&'a RawValue>,
    to: Option<&'a RawValue>,
    /// Only of the extended protocol; the last one counts.
    pub id: Option<&'a RawValue>,
    pub spans: Vec<(EnvelopeField, &'a RawValue)>,
    /// `type` or `to` stands twice: receivers might not agree with us on which one counts.
    ambiguous: bool,
}

impl<'a, const EXTENDED: bool> EnvelopeFields<'a, EXTENDED> {
    pub(super) fn parse(text: &'a str) -> Result<Self, DropReason> {
        let fields: Self = serde_json::from_str(text).map_err(|e| match e.classify() {
            serde_json::error::Category::Data => DropReason::NotAnObject,
            _ => DropReason::NotJson,
        })?;
        if fields.ambiguous {
            return Err(DropReason::NotJson);
        }
        Ok(fields)
    }

    /// Checks that `from` and `roomId` are present, and returns the user of `to`; `None`: everybody else.
    pub(super) fn target(&self) -> Result<Option<Cow<'a, str>>, DropReason> {
        let has = |field| self.spans.iter().any(|(known, _)| *known == field);
        if !has(EnvelopeField::From) || !has(EnvelopeField::RoomId) {
            return Err(DropReason::Missing);
        }
        let to = match self.to {
            None => None,
            Some(raw) if raw.get() == "null" => None,
            Some(raw) => Some(string(raw).ok_or(DropReason::BadTarget)?),
        };
        Ok(to.filter(|to| !to.is_empty()))
    }

    /// Parses the last `data`; the default without one.
    pub(super) fn data_or_default<T: Deserialize<'a> + Default>(&self) -> Result<T, DropReason> {
        match self.last_data() {
            None => Ok(T::default()),
            Some(data) if data.get() == "null" => Ok(T::default()),
            Some(_) => self.data(),
        }
    }

    fn last_data(&self) -> Option<&'a RawValue> {
        let mut data = self.spans.iter().rev();
        let data = data.find(|(field, _)| *field == EnvelopeField::Data);
        data.map(|(_, data)| *data)
    }

    /// Parses the last `data`, an object: serde would accept a list for a struct.
    pub(super) fn data<T: Deserialize<'a>>(&self) -> Result<T, DropReason> {
        let data = self.last_data().ok_or(DropReason::BadData)?;
        if !data.get().starts_with('{') {
            return Err(DropReason::BadData);
        }
        serde_json::from_str(data.get()).map_err(|_| DropReason::BadData)
    }
}

impl<'de: 'a, 'a, const EXTENDED: bool> Deserialize<'de> for EnvelopeFields<'a, EXTENDED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<const EXTENDED: bool>;
        impl<'de, const EXTENDED: bool> Visitor<'de> for Object<EXTENDED> {
            type Value = EnvelopeFields<'de, EXTENDED>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<EnvelopeFields<'de, EXTENDED>, A::Error> {
                let mut fields = EnvelopeFields {
                    spans: Vec::with_capacity(3),
                    ..EnvelopeFields::default()
                };
                while let Some(Key::<EXTENDED>(key)) = map.next_key()? {
                    let field = match key {
                        KnownKey::Type => {
                            let before = fields.kind.replace(map.next_value()?);
                            fields.ambiguous |= before.is_some();
                            continue;
                        }
                        KnownKey::To => {
                            let before = fields.to.replace(map.next_value()?);
                            fields.ambiguous |= before.is_some();
                            continue;
                        }
                        KnownKey::Id => {
                            fields.id = Some(map.next_value()?);
                            continue;
                        }
                        KnownKey::From => EnvelopeField::From,
                        KnownKey::RoomId => EnvelopeField::RoomId,
                        KnownKey::Data => EnvelopeField::Data,
                        KnownKey::UserId | KnownKey::Other => {
                            map.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    fields.spans.push((field, map.next_value()?));
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Object::<EXTENDED>)
    }
}

/// The string that a value is, or `None` where it is none (or has lone surrogates).
pub(super) fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    let inner = raw.get().strip_prefix('"')?.strip_suffix('"')?;
    if inner.contains('\\') {
        return serde_json::from_str(raw.get()).ok().map(Cow::Owned);
    }
    Some(Cow::Borrowed(inner))
}

pub(super) enum KnownKey {
    Id,
    Type,
    From,
    RoomId,
    To,
    Data,
    UserId,
    Other,
}

/// A key, its escapes undone: `"fr\u006fm"` is `from` to every receiver, so it is to us.
pub(super) struct Key<const EXTENDED: bool>(pub KnownKey);

impl<'de, const EXTENDED: bool> Deserialize<'de> for Key<EXTENDED> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name<const EXTENDED: bool>;
        impl<const EXTENDED: bool> Visitor<'_> for Name<EXTENDED> {
            type Value = Key<EXTENDED>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key<EXTENDED>, E> {
                self.visit_bytes(name.as_bytes())
            }

            fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<Key<EXTENDED>, E> {
                Ok(Key(match name {
                    b"type" => KnownKey::Type,
                    b"from" => KnownKey::From,
                    b"roomId" => KnownKey::RoomId,
                    b"to" => KnownKey::To,
                    b"data" => KnownKey::Data,
                    b"id" if EXTENDED => KnownKey::Id,
                    b"userId" => KnownKey::UserId,
                    _ => KnownKey::Other,
                }))
            }
        }
        // As bytes, because a key with a lone surrogate is no `str` but travels all the same.
        deserializer.deserialize_bytes(Name::<EXTENDED>)
    }
}
