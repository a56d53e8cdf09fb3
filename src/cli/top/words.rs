//! Values of the live view as texts.

use std::time::Duration;

use crate::admin::LinkState;
use crate::config::duration;

/// The word for the state of a link.
pub(super) fn state(state: LinkState) -> &'static str {
    match state {
        LinkState::PathLost => "path lost",
        LinkState::Bad => "bad",
        LinkState::Weak => "weak",
        LinkState::Good => "good",
        LinkState::Unrated => "?",
        LinkState::Silent => "silent",
        LinkState::NoMedia => "no media",
        LinkState::NotRelayed => "not relayed",
    }
}

pub(super) fn milliseconds(ms: f64) -> String {
    format!("{ms:.0} ms")
}

/// A time without media: tenths of a second at first.
pub(super) fn silence(ms: u64) -> String {
    match ms {
        0..100_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min", ms / 60_000),
    }
}

/// A time since the start, in its two largest units.
pub(super) fn uptime(ms: u64) -> String {
    let seconds = ms / 1000;
    let unit = match seconds {
        0..3600 => 1,
        3600..86_400 => 60,
        _ => 3600,
    };
    duration::format(Duration::from_secs(seconds / unit * unit))
}

/// A number per second, in the largest unit that leaves at least one.
pub(super) fn rate(number: f64, unit: &str) -> String {
    let mut value = number;
    let mut prefix = "";
    for next in ["k", "M", "G", "T"] {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        prefix = next;
    }
    match prefix {
        "" => format!("{value:.0} {unit}/s"),
        _ => format!("{value:.1} {prefix}{unit}/s"),
    }
}

/// Breaks a text into lines of at most `width` characters, between words where that is possible.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        let line = lines.last().map_or(0, |line| line.chars().count());
        let is_new = line == 0;
        if !is_new && line + 1 + rest.len() > width {
            lines.push(String::new());
        } else if !is_new {
            rest.insert(0, ' ');
        }
        while rest.len() > width {
            let part = rest.drain(..width).collect();
            lines.insert(lines.len() - 1, part);
        }
        if let Some(last) = lines.last_mut() {
            last.extend(rest);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_the_unit_that_leaves_at_least_one() {
        assert_eq!(rate(0.4, "B"), "0 B/s");
        assert_eq!(rate(999.0, "B"), "999 B/s");
        assert_eq!(rate(1_200_000.0, "B"), "1.2 MB/s");
        assert_eq!(rate(4e15, "B"), "4000.0 TB/s");
    }

    #[test]
    fn an_uptime_has_no_seconds_after_an_hour_and_no_minutes_after_a_day() {
        assert_eq!(uptime(61_900), "1m 1s");
        assert_eq!(uptime(3_661_000), "1h 1m");
        assert_eq!(uptime(90_061_000), "1day 1h");
    }

    #[test]
    fn a_text_is_wrapped_between_words_and_within_long_ones() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
        assert_eq!(wrap("a", 0), ["a"]);
    }
}
