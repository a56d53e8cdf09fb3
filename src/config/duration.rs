//! Durations in settings: `"20s"`, `"1h 30m"`, or a bare number of seconds.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

/// The longest duration. It covers ten years with leap days; sums of times cannot overflow.
pub const MAX_DURATION: Duration = Duration::from_secs(3660 * 24 * 3600);

/// The text of [`MAX_DURATION`].
pub const MAX_DURATION_TEXT: &str = "3,660 days";

/// Reads `"20s"`, `"1h 30m"`, `"20"` or `"0.5"` (seconds).
///
/// # Errors
/// A sentence that names the text, if it is not a duration.
pub fn parse(text: &str) -> Result<Duration, String> {
    let trimmed = text.trim();
    if let Ok(seconds) = trimmed.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    if let Some(span) = trimmed.parse().ok().and_then(fraction) {
        return Ok(span);
    }
    humantime::parse_duration(trimmed)
        .map_err(|_| format!("`{text}` is not a duration such as 20s, 15m or 12h"))
}

/// Formats a duration for [`parse`]: `20s`, `1h 30m`.
pub fn format(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

pub fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*span))
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_any(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a duration such as \"20s\", or a number of seconds")
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
        Ok(Duration::from_secs(seconds))
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
        u64::try_from(seconds)
            .map(Duration::from_secs)
            .map_err(|_| E::custom(format!("`{seconds}` is negative")))
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
        fraction(seconds)
            .ok_or_else(|| E::custom(format!("`{seconds}` is not a number of seconds")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).map_err(E::custom)
    }
}

fn fraction(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_bare_number_is_seconds() {
        assert_eq!(parse("20"), Ok(Duration::from_secs(20)));
        assert_eq!(parse("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(parse(" 1h 30m "), Ok(Duration::from_secs(5400)));
    }

    #[test]
    fn a_wrong_duration_is_quoted_in_the_error() {
        for text in ["", "soon", "-1", "NaN", "inf", "1e300"] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }

        #[test]
        fn a_written_duration_parses_to_the_same_value(millis in 0u64..10_000_000_000) {
            let span = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(span)), Ok(span));
        }
    }
}
