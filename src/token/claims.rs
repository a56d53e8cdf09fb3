//! The claims of a token: parsed strictly where access depends on them, leniently elsewhere.

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::TokenError;
use super::ids::valid_user_id;

/// 9999-12-31T23:59:59Z. A later `exp` counts as this, so that no arithmetic on it can overflow.
pub const MAX_UNIX_SECONDS: u64 = 253_402_300_799;

/// The claims of a token that has been checked, or of one to be issued.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Claims {
    /// The user's id.
    pub sub: String,
    /// Unix seconds; at this second the token is expired.
    pub exp: u64,
    /// Unix seconds of issue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aud: Option<String>,
    /// Display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The only rooms that the bearer may enter; `None`: no restriction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<String>>,
    /// Informs frontends; parlor itself reads the role from the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The user's token generation at the time of issue; only in parlor's own tokens.
    #[serde(rename = "gen", skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Whether parlor issued the token: its `kid` names one of parlor's signing keys. Others who
    /// share the secret do not name them.
    #[serde(skip)]
    pub own: bool,
}

/// Decides whether a token was issued before its user's tokens were ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Issue {
    /// A token that parlor issued.
    Own { generation: u64 },
    /// In Unix seconds; `None` if the token has no issue time.
    Foreign { at: Option<u64> },
}

impl Claims {
    /// The issue time or the generation of the token. A token without a generation was issued by an older
    /// version.
    pub fn issue(&self) -> Issue {
        if self.own {
            Issue::Own {
                generation: self.generation.unwrap_or(0),
            }
        } else {
            Issue::Foreign { at: self.iat }
        }
    }

    /// Whether the token lets its bearer try this room at all.
    pub fn allows_room(&self, room: &str) -> bool {
        self.rooms.is_none() || self.lists_room(room)
    }

    /// Whether the token names this room, which opens a private one.
    pub fn lists_room(&self, room: &str) -> bool {
        self.rooms
            .as_ref()
            .is_some_and(|rooms| rooms.iter().any(|named| named == room))
    }
}

/// Claims before they are checked.
#[derive(Deserialize)]
pub(super) struct RawClaims {
    #[serde(default)]
    sub: Value,
    #[serde(default, deserialize_with = "numeric_date")]
    exp: Option<f64>,
    #[serde(default, deserialize_with = "numeric_date")]
    nbf: Option<f64>,
    #[serde(default)]
    iat: Value,
    #[serde(default)]
    iss: Value,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    name: Value,
    rooms: Option<Vec<String>>,
    #[serde(default)]
    role: Value,
    #[serde(default, rename = "gen")]
    generation: Value,
}

impl RawClaims {
    /// Moves the times of validity apart by `seconds`: the clock of the issuer may differ so much
    /// (RFC 7519 §4.1.4 and §4.1.5).
    pub(super) fn extend(&mut self, seconds: f64) {
        self.exp = self.exp.map(|exp| exp + seconds);
        self.nbf = self.nbf.map(|nbf| nbf - seconds);
    }

    /// RFC 7519 §4.1.4 and §4.1.5.
    pub(super) fn check_time(&self, unix: u64) -> Result<(), TokenError> {
        let now = unix as f64;
        let exp = self.exp.ok_or(TokenError::NoExpiry)?;
        if now >= exp {
            return Err(TokenError::Expired);
        }
        if self.nbf.is_some_and(|nbf| now < nbf) {
            return Err(TokenError::NotYetValid);
        }
        Ok(())
    }

    pub(super) fn is_issued_by(&self, issuer: &str) -> bool {
        self.iss.as_str() == Some(issuer)
    }

    /// RFC 7519 §4.1.3: one audience or a list of them.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Value::String(one) => one == audience,
            Value::Array(several) => several.iter().any(|one| one.as_str() == Some(audience)),
            _ => false,
        }
    }

    pub(super) fn into_claims(self, own: bool) -> Result<Claims, TokenError> {
        let sub = text(self.sub).ok_or(TokenError::BadSubject)?;
        if !valid_user_id(&sub) {
            return Err(TokenError::BadSubject);
        }
        Ok(Claims {
            sub,
            exp: (self.exp.unwrap_or(0.0) as u64).min(MAX_UNIX_SECONDS),
            iat: date(&self.iat),
            generation: self.generation.as_u64().filter(|_| own),
            iss: text(self.iss),
            aud: text(self.aud),
            name: text(self.name),
            rooms: self.rooms,
            role: text(self.role),
            own,
        })
    }
}

/// Whole seconds of a date that may have a fraction. An invalid date counts as absent.
fn date(value: &Value) -> Option<u64> {
    let date = value.as_f64().filter(|date| *date >= 0.0)?;
    Some((date as u64).min(MAX_UNIX_SECONDS))
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// RFC 7519 §2: a JSON number, with or without a fraction.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    match Option::<serde_json::Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(number) => match number.as_f64() {
            Some(date) if date.is_finite() => Ok(Some(date)),
            _ => Err(D::Error::custom("a date out of range")),
        },
    }
}
