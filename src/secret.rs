//! Text that is never printed, and that is erased from memory when it is dropped.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny};
use serde::ser::{Serialize, Serializer};
use zeroize::Zeroizing;

/// The text that output shows in place of a secret.
pub const REDACTED: &str = "***";

/// A secret. `Debug`, `Display` and serialisation show `***`; only [`Secret::expose`] returns the text.
/// Dropping it zeroizes its memory.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Copies the text into memory of its own, and zeroizes an owned argument with its whole capacity.
    pub fn new(text: impl Into<String>) -> Secret {
        let text = Zeroizing::new(text.into());
        Secret(SecretString::from(text.as_str()))
    }

    /// Returns the text itself: for keys and comparisons, never for output.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Compares configured secrets, for a reload. Not in constant time: no client supplies either side.
impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

/// Rejects values that are not text without repeating them, which serde's own message would do.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Value {
            Text(String),
            Other(IgnoredAny),
        }
        match Value::deserialize(deserializer)? {
            Value::Text(text) => Ok(Secret::new(text)),
            Value::Other(_) => Err(D::Error::custom("a secret must be text in quotes")),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::SecretBox;
    use zeroize::ZeroizeOnDrop;

    use super::*;

    #[test]
    fn a_secret_prints_as_three_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_is_zeroized_when_it_is_dropped() {
        /// Compiles only for a type that zeroizes its memory when it is dropped.
        fn assert_zeroizes<T: ZeroizeOnDrop + ?Sized>(_: &T) {}
        let Secret(text): Secret = Secret::new("hunter2");
        let text: SecretBox<str> = text;
        assert_zeroizes(&text);
    }

    #[test]
    fn an_owned_argument_is_copied_so_that_it_can_be_zeroized() {
        let mut text = String::with_capacity(100);
        text.push_str("hunter2");
        let address = text.as_ptr();
        let secret = Secret::new(text);
        assert_ne!(secret.expose().as_ptr(), address);
    }
}
