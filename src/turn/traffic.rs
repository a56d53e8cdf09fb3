//! `turn.traffic`: which application data the relay carries.
//!
//! The check stops software that was made for something else. It does not stop a tunnel that was made to
//! look like a call.

use crate::stun::COOKIE;

const STUN_HEADER: usize = 20;
const DTLS_HEADER: usize = 13;
/// A unified header with an 8-bit sequence number, and the shortest encrypted record (RFC 9147 section 4.2.3).
const SHORTEST_UNIFIED_RECORD: usize = 2 + 16;
const RTP_HEADER: usize = 12;
const RTCP_HEADER: usize = 8;

/// The major version of DTLS in a record (RFC 9147 section 5.3).
const DTLS_MAJOR_VERSION: u8 = 0xfe;

/// The application data that allocations carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    Any,
    /// Only what WebRTC sends.
    Webrtc,
    /// Only what WebRTC sends, for allocations whose credential is bound to a room.
    Rooms,
}

impl Traffic {
    /// Returns whether an allocation carries only what WebRTC sends.
    pub(super) fn is_restricted(self, room: Option<&str>) -> bool {
        match self {
            Traffic::Any => false,
            Traffic::Webrtc => true,
            Traffic::Rooms => room.is_some(),
        }
    }
}

/// Returns whether WebRTC sends application data like this: STUN, DTLS, RTP or RTCP by the first byte
/// (RFC 7983 and RFC 9443), with the form of their headers, or nothing at all.
#[inline]
pub(super) fn is_webrtc(data: &[u8]) -> bool {
    match data {
        [128..=191, 192..=223, ..] => data.len() >= RTCP_HEADER,
        [128..=191, ..] => data.len() >= RTP_HEADER,
        _ => is_control(data),
    }
}

/// Returns whether this is STUN, DTLS or nothing.
#[inline(never)]
fn is_control(data: &[u8]) -> bool {
    match data {
        [] => true,
        [0..=3, _, high, low, cookie @ ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            cookie.starts_with(&COOKIE) && data.len() == STUN_HEADER + length
        }
        // The unified header of DTLS 1.3 has no version.
        [32..=63, ..] => data.len() >= SHORTEST_UNIFIED_RECORD,
        [20..=31, DTLS_MAJOR_VERSION, ..] => data.len() >= DTLS_HEADER,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rule in other words: the range of the first byte, then a condition for each range.
    fn expected(data: &[u8]) -> bool {
        let Some(first) = data.first() else {
            return true;
        };
        let at = |index: usize| data.get(index).copied();
        if *first < 4 {
            let length = at(2)
                .zip(at(3))
                .map(|(high, low)| 256 * usize::from(high) + usize::from(low));
            let has_cookie = [4, 5, 6, 7].map(at) == [0x21, 0x12, 0xa4, 0x42].map(Some);
            has_cookie && length.is_some_and(|length| length + 20 == data.len())
        } else if (20..32).contains(first) {
            at(1) == Some(254) && data.len() > 12
        } else if (32..64).contains(first) {
            data.len() > 17
        } else if (128..192).contains(first) {
            let is_rtcp = at(1).is_some_and(|kind| (192..224).contains(&kind));
            data.len() > if is_rtcp { 7 } else { 11 }
        } else {
            false
        }
    }

    fn data() -> impl Strategy<Value = Vec<u8>> {
        let like_stun = (
            0..4_u8,
            prop::collection::vec(any::<u8>(), 0..30),
            0..3_usize,
        )
            .prop_map(|(first, body, off)| {
                let length = (body.len() + off) as u16;
                let head = [&[first, 1][..], &length.to_be_bytes(), &COOKIE, &[7; 12]].concat();
                [head, body].concat()
            });
        let like_dtls = (
            18..40_u8,
            250..=255_u8,
            prop::collection::vec(any::<u8>(), 0..20),
        )
            .prop_map(|(kind, version, body)| [&[kind, version, 253][..], &body].concat());
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            like_stun,
            like_dtls,
        ]
    }

    proptest! {
        #[test]
        fn data_passes_as_the_rule_says(data in data()) {
            prop_assert_eq!(is_webrtc(&data), expected(&data), "{:02x?}", data);
        }
    }

    #[test]
    fn quic_and_text_do_not_pass() {
        let quic = [&[0xc3, 0, 0, 0, 1, 8][..], &[7; 1200]].concat();
        let short = [&[0x45][..], &[7; 40]].concat();
        for data in [&quic[..], &short, b"GET / HTTP/1.1\r\n", b"\x05\x01\x00"] {
            assert!(!is_webrtc(data), "{data:02x?}");
        }
    }

    #[test]
    fn every_version_of_dtls_passes() {
        let record = |head: &[u8]| [head, &[0; 30]].concat();
        // ClientHello of DTLS 1.0 and 1.2 (1.3 has that of 1.2), application data, and unified headers.
        for head in [
            &[22, 254, 255][..],
            &[22, 254, 253],
            &[23, 254, 253],
            &[0x2c],
            &[0x3f],
        ] {
            assert!(is_webrtc(&record(head)), "{head:02x?}");
        }
    }

    #[test]
    fn rooms_restricts_credentials_of_rooms() {
        for (traffic, unbound, bound) in [
            (Traffic::Any, false, false),
            (Traffic::Webrtc, true, true),
            (Traffic::Rooms, false, true),
        ] {
            assert_eq!(traffic.is_restricted(None), unbound);
            assert_eq!(traffic.is_restricted(Some("lobby")), bound);
        }
    }
}
