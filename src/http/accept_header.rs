//! Selects the representation that a client prefers, by its `Accept` header (RFC 9110 §12.5.1).

use hyper::header::{self, HeaderMap};

/// An available media type and its version.
#[derive(Debug, Clone, Copy)]
struct Offer {
    main: &'static str,
    sub: &'static str,
    version: &'static str,
}

const OPENMETRICS: Offer = Offer {
    main: "application",
    sub: "openmetrics-text",
    version: "1.0.0",
};

const CLASSIC: Offer = Offer {
    main: "text",
    sub: "plain",
    version: "0.0.4",
};

/// How specifically a media range matches an offer. The most specific range decides the quality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Exactness {
    Anything,
    MainType,
    Type,
    Version,
}

/// A client's preference for an offer.
#[derive(Debug, Clone, Copy)]
struct Preference {
    exactness: Exactness,
    /// From 0 (not acceptable) to 1000.
    quality: u16,
}

/// Whether a client accepts OpenMetrics 1.0.0 and does not prefer the classic text format. A client that
/// accepts anything gets the classic format, which every scraper reads.
pub(super) fn prefers_openmetrics(headers: &HeaderMap) -> bool {
    let Some(wanted) = preference(headers, OPENMETRICS).filter(|one| one.quality > 0) else {
        return false;
    };
    let classic = preference(headers, CLASSIC).map_or(0, |one| one.quality);
    let is_named = wanted.exactness >= Exactness::Type;
    wanted.quality > classic || wanted.quality == classic && is_named
}

/// Returns the most specific matching range of the header; of equally specific ones the best quality.
fn preference(headers: &HeaderMap, offer: Offer) -> Option<Preference> {
    let fields = headers.get_all(header::ACCEPT).iter();
    let ranges = fields
        .filter_map(|field| field.to_str().ok())
        .flat_map(|field| split(field, ','))
        .filter_map(|range| matched(range, offer));
    ranges.max_by_key(|one| (one.exactness, one.quality))
}

/// `None` if a range does not match the offer, or its quality is invalid. Parameters other than the
/// version (a charset, an escaping scheme) exclude nothing: every name here is plain ASCII.
fn matched(range: &str, offer: Offer) -> Option<Preference> {
    let mut parts = split(range, ';').into_iter().map(str::trim);
    let (main, sub) = parts.next()?.split_once('/')?;
    let is = |text: &str, known: &str| text.trim().eq_ignore_ascii_case(known);
    let mut exactness = match (main.trim(), sub.trim()) {
        ("*", "*") => Exactness::Anything,
        (main, "*") if is(main, offer.main) => Exactness::MainType,
        (main, sub) if is(main, offer.main) && is(sub, offer.sub) => Exactness::Type,
        _ => return None,
    };
    let mut quality = 1000;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        if is(name, "q") {
            quality = thousandths(value)?;
        } else if is(name, "version") && exactness >= Exactness::Type {
            if value != offer.version {
                return None;
            }
            exactness = Exactness::Version;
        }
    }
    Some(Preference { exactness, quality })
}

/// Parses a quality value (RFC 9110 §12.4.2): 0 to 1 with at most three decimal places.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{digits:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// Splits at separators outside quotes.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|c: char| {
        let is_escaped = escaped;
        escaped = quoted && !is_escaped && c == '\\';
        quoted ^= c == '"' && !is_escaped;
        c == separator && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn openmetrics(fields: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::ACCEPT, field.parse().unwrap());
        }
        prefers_openmetrics(&headers)
    }

    #[test]
    fn openmetrics_is_sent_only_to_a_client_that_asks_for_it() {
        // Prometheus 2.x and 3.x, then equivalent headers.
        for asks in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
             q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;\
             escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"; charset=utf-8",
            "text/plain, application/openmetrics-text",
            "application/*",
            "text/plain;q=0, */*",
        ] {
            assert!(openmetrics(&[asks]), "{asks}");
        }
        for asks_not in [
            "",
            "*/*",
            "text/plain",
            "text/plain;version=0.0.4",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1",
            "application/openmetrics-text;version=0.0.1,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.000, */*",
            "application/openmetrics-text;q=0.3,text/plain;q=0.301",
            "application/openmetrics-text;q=1.5",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json",
            "x=\"application/openmetrics-text,\"",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;\
             encoding=delimited;q=0.7,text/plain;version=0.0.4;q=0.3",
        ] {
            assert!(!openmetrics(&[asks_not]), "{asks_not}");
        }
        assert!(!openmetrics(&[]));
        let two = ["text/plain;q=0.5", "application/openmetrics-text;q=0.6"];
        assert!(openmetrics(&two));
    }

    #[test]
    fn a_quality_has_three_digits_at_most() {
        for (text, read) in [
            ("0", Some(0)),
            ("0.", Some(0)),
            ("0.5", Some(500)),
            ("0.123", Some(123)),
            ("1", Some(1000)),
            ("1.000", Some(1000)),
            ("1.001", None),
            ("0.1234", None),
            ("-1", None),
            ("2", None),
            ("", None),
            ("0.+1", None),
        ] {
            assert_eq!(thousandths(text), read, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "[ -~]{0,60}") {
            openmetrics(&[&text]);
        }
    }
}
