//! Times as text: UTC of fixed width, which sorts by time.

use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcDateTime};

use crate::token::MAX_UNIX_SECONDS;

/// Formats Unix seconds as `2026-01-31T23:59:59Z`; times after the year 9999 become its last second.
pub fn format(unix: u64) -> String {
    let seconds = unix.min(MAX_UNIX_SECONDS) as i64;
    let Ok(time) = UtcDateTime::from_unix_timestamp(seconds) else {
        return String::new();
    };
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.as_hms();
    let year = year.unsigned_abs();
    let parts = [
        (year / 100, ""),
        (year % 100, "-"),
        (u32::from(u8::from(month)), "-"),
        (day.into(), "T"),
        (hour.into(), ":"),
        (minute.into(), ":"),
        (second.into(), "Z"),
    ];
    // By hand: each write formats a time, and a format string takes four times as long.
    let mut text = String::with_capacity("2026-01-31T23:59:59Z".len());
    for (number, end) in parts {
        let digits = [number / 10, number % 10].map(|digit| b'0' + digit as u8);
        text.extend(digits.map(char::from));
        text.push_str(end);
    }
    text
}

/// Parses a text of [`format()`] to Unix seconds; `None` for other text.
pub fn parse(text: &str) -> Option<u64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_with_fixed_width_and_read_back() {
        assert_eq!(format(0), "1970-01-01T00:00:00Z");
        assert_eq!(format(1_700_000_000), "2023-11-14T22:13:20Z");
        assert_eq!(format(u64::MAX), "9999-12-31T23:59:59Z");
        for seconds in [0, 1, 951_782_400, 1_700_000_000, MAX_UNIX_SECONDS] {
            assert_eq!(parse(&format(seconds)), Some(seconds));
        }
    }

    #[test]
    fn text_that_is_not_a_time_is_none() {
        for text in [
            "",
            "yesterday",
            "1969-12-31T23:59:59Z",
            "2023-13-01T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
