//! Parses a certificate's validity period (RFC 5280 §4.1.2.5), version and names, and no other field.

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::der::{self, GENERALIZED_TIME, INTEGER, SEQUENCE, UTC_TIME};

/// The tag of the version, which version 1 omits.
const VERSION: u8 = 0xa0;

/// A period in Unix seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    pub from: i64,
    pub until: i64,
}

impl Validity {
    /// Whether the period has ended at `now` in Unix seconds.
    pub fn is_expired(&self, now: u64) -> bool {
        self.until < signed(now)
    }

    /// Whether the period begins after `now` in Unix seconds.
    pub fn is_not_yet_valid(&self, now: u64) -> bool {
        self.from > signed(now)
    }
}

/// The X.509 version of a certificate in DER: 1, 2 or 3 (RFC 5280 §4.1.2.1).
pub(super) fn version(certificate: &[u8]) -> Option<u8> {
    let (certificate, _) = der::element(certificate, SEQUENCE)?;
    let (signed, _) = der::element(certificate, SEQUENCE)?;
    let Some((version, _)) = der::element(signed, VERSION) else {
        return Some(1);
    };
    match der::element(version, INTEGER)? {
        ([number], _) => number.checked_add(1),
        _ => None,
    }
}

fn signed(unix: u64) -> i64 {
    i64::try_from(unix).unwrap_or(i64::MAX)
}

/// The issuer and the subject of a certificate: distinguished names in DER (RFC 5280 §4.1.2.4).
#[derive(Debug, Clone, Copy)]
pub(super) struct DistinguishedNames<'a> {
    pub issuer: &'a [u8],
    pub subject: &'a [u8],
}

/// The validity of a certificate in DER.
pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
    let (validity, _) = der::element(behind_issuer(certificate)?.1, SEQUENCE)?;
    let (from, validity) = time(validity)?;
    let (until, _) = time(validity)?;
    Some(Validity { from, until })
}

/// The issuer and the subject of a certificate in DER.
pub(super) fn names(certificate: &[u8]) -> Option<DistinguishedNames<'_>> {
    let (issuer, rest) = behind_issuer(certificate)?;
    let (_validity, rest) = der::element(rest, SEQUENCE)?;
    let (subject, _) = der::element(rest, SEQUENCE)?;
    Some(DistinguishedNames { issuer, subject })
}

/// The issuer of a certificate, and the remaining fields.
fn behind_issuer(certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let (certificate, _) = der::element(certificate, SEQUENCE)?;
    let (signed, _) = der::element(certificate, SEQUENCE)?;
    let rest = match der::element(signed, VERSION) {
        Some((_, rest)) => rest,
        None => signed,
    };
    let (_serial, rest) = der::element(rest, INTEGER)?;
    let (_algorithm, rest) = der::element(rest, SEQUENCE)?;
    der::element(rest, SEQUENCE)
}

/// Parses a time as Unix seconds; also returns the rest. Both forms are in UTC with seconds.
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let (tag, text, rest) = der::first(der)?;
    let digits = text.strip_suffix(b"Z")?;
    let (year, digits) = match tag {
        UTC_TIME => {
            let (year, digits) = number(digits, 2)?;
            (if year < 50 { 2000 + year } else { 1900 + year }, digits)
        }
        GENERALIZED_TIME => number(digits, 4)?,
        _ => return None,
    };
    let (month, digits) = number(digits, 2)?;
    let (day, digits) = number(digits, 2)?;
    let (hour, digits) = number(digits, 2)?;
    let (minute, digits) = number(digits, 2)?;
    let (second, digits) = number(digits, 2)?;
    let small = |number: u16| u8::try_from(number).ok();
    let month = Month::try_from(small(month)?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, small(day)?).ok()?;
    let time = Time::from_hms(small(hour)?, small(minute)?, small(second)?).ok()?;
    let moment = PrimitiveDateTime::new(date, time).assume_utc();
    digits.is_empty().then_some((moment.unix_timestamp(), rest))
}

/// Parses a number of this many digits; also returns the rest.
fn number(text: &[u8], digits: usize) -> Option<(u16, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    let all_digits = number.iter().all(u8::is_ascii_digit);
    let number = number
        .iter()
        .fold(0, |sum, digit| sum * 10 + u16::from(digit & 0xf));
    all_digits.then_some((number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(tag: u8, text: &[u8]) -> Option<i64> {
        let der = [&[tag, text.len() as u8], text].concat();
        time(&der).map(|(seconds, _)| seconds)
    }

    #[test]
    fn both_time_formats_are_parsed() {
        assert_eq!(seconds(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(seconds(UTC_TIME, b"490101000000Z"), Some(2_493_072_000));
        assert_eq!(
            seconds(GENERALIZED_TIME, b"20500101000001Z"),
            Some(2_524_608_001)
        );
        for odd in [
            &b"700101000000"[..],
            b"7001010000Z",
            b"701301000000Z",
            b"700230000000Z",
            b"7001010000000Z",
            b"+00101000000Z",
        ] {
            assert_eq!(seconds(UTC_TIME, odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(["talk.example.org".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 2);
        params.not_after = rcgen::date_time_ymd(2051, 3, 4);
        let certificate = params.self_signed(&key).unwrap();
        let validity = of(certificate.der()).unwrap();
        assert_eq!(validity.from, params.not_before.unix_timestamp());
        assert_eq!(validity.until, params.not_after.unix_timestamp());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(der: Vec<u8>) {
            of(&der);
            names(&der);
            version(&der);
            time(&der);
        }
    }
}
