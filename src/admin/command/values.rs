//! Values that commands carry, and the parsers of their arguments.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::config::duration;
use crate::storage::utc;
use crate::token::{ROOM_ID_RULE, valid_room_id};

/// The user, validity and room of a token or credential.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// User id or name; `id:…` is always an id
    pub user: String,
    /// Validity
    #[arg(long, default_value = "1h", value_parser = parse_lifetime)]
    pub ttl: Lifetime,
    /// Restrict it to this room (id or name; `id:…` is always an id)
    #[arg(long)]
    pub room: Option<String>,
}

/// The Argon2 hash of a password. It is sent instead of the password, and never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(pub String);

/// A duration in whole seconds: from one second to 3,660 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Lifetime(Duration);

impl Lifetime {
    /// # Errors
    /// The duration is out of range; the message says the limit.
    pub fn new(duration: Duration) -> Result<Lifetime, &'static str> {
        if duration < Duration::from_secs(1) {
            return Err("it must be one second or longer, such as 1h or 7d");
        }
        if duration > duration::MAX_DURATION {
            return Err("it must not be longer than 3,660 days");
        }
        Ok(Lifetime(Duration::from_secs(duration.as_secs())))
    }

    pub fn duration(self) -> Duration {
        self.0
    }

    pub fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl TryFrom<u64> for Lifetime {
    type Error = &'static str;

    fn try_from(seconds: u64) -> Result<Lifetime, &'static str> {
        Lifetime::new(Duration::from_secs(seconds))
    }
}

impl From<Lifetime> for u64 {
    fn from(lifetime: Lifetime) -> u64 {
        lifetime.as_secs()
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(crate::secret::REDACTED)
    }
}

pub(super) fn parse_room_id(text: &str) -> Result<String, String> {
    if valid_room_id(text) {
        Ok(text.to_owned())
    } else {
        Err(format!("a room's id is {ROOM_ID_RULE}"))
    }
}

pub(super) fn parse_uses(text: &str) -> Result<NonZeroU32, &'static str> {
    text.parse()
        .map_err(|_| "it must be a whole number, 1 or more")
}

pub(super) fn parse_participants(text: &str) -> Result<u32, &'static str> {
    let number = text.parse().ok();
    number
        .filter(|number| (1..=1_000_000).contains(number))
        .ok_or("it must be a whole number from 1 to 1000000")
}

/// Parses a duration from now, or a point in time, into Unix seconds.
pub(super) fn parse_until(text: &str) -> Result<u64, String> {
    if let Ok(duration) = duration::parse(text) {
        let lifetime = Lifetime::new(duration)?;
        return Ok(clock::now().unix.saturating_add(lifetime.as_secs()));
    }
    let time = utc::parse(text).or_else(|| utc::parse(&format!("{text}T00:00:00Z")));
    time.ok_or_else(|| {
        "it is neither a duration such as 2h or 7d nor a time such as 2026-12-31 or \
         2026-12-31T18:00:00Z"
            .to_owned()
    })
}

pub(super) fn parse_lifetime(text: &str) -> Result<Lifetime, String> {
    Lifetime::new(duration::parse(text)?).map_err(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lifetime_is_from_one_second_to_ten_years() {
        for seconds in [0, 10 * 366 * 86_400 + 1, u64::MAX] {
            let text = format!(r#"{{"user":"a","ttl":{seconds},"room":null}}"#);
            assert!(serde_json::from_str::<Grant>(&text).is_err(), "{seconds}");
        }
        let ten_years = duration::parse("10y").unwrap();
        assert!(Lifetime::new(ten_years).is_ok());
        let error = Lifetime::new(Duration::from_secs(3661 * 86_400)).unwrap_err();
        assert!(error.contains(duration::MAX_DURATION_TEXT), "{error}");
        assert_eq!(Lifetime::try_from(90).unwrap().as_secs(), 90);
    }
}
