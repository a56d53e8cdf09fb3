//! Validates a client's frames by their headers.
//!
//! tungstenite returns whole messages: it does not report their fragments, and it accepts a length in any
//! form. This module checks both before tungstenite reads the bytes.

use crate::clock::Mono;
use crate::rate::{Gcra, Limit};
use crate::room::CloseCode;

/// Message fragments per second, and burst: libraries split a message of 256 KiB into about a hundred.
const FRAGMENTS_PER_SECOND: u64 = 1_000;
const FRAGMENTS_BURST: u64 = 4_000;

/// FIN and opcode (RFC 6455 section 5.2).
const FIN: u8 = 0x80;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const MASKED: u8 = 0x80;

const MASKING_KEY_BYTES: u64 = 4;
/// Two bytes, and the longest extended length.
const MAX_HEAD_BYTES: usize = 10;

/// The position in a client's stream of frames.
#[derive(Debug, Default)]
pub(super) struct FrameValidator {
    head: [u8; MAX_HEAD_BYTES],
    /// Received bytes of the frame header.
    have: usize,
    /// Outstanding bytes of masking key and payload.
    rest: u64,
    fragments: Gcra,
}

/// A violation by the client, and the number of valid bytes before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub code: CloseCode,
    pub valid: usize,
}

impl FrameValidator {
    /// Follows the frames in the received bytes. `now` is called only for fragments.
    ///
    /// # Errors
    /// A length that is not in its shortest form (RFC 6455 section 5.2), or too many fragments.
    pub(super) fn validate(
        &mut self,
        bytes: &[u8],
        now: impl Fn() -> Mono,
    ) -> Result<(), Violation> {
        let (mut at, mut begin, mut time) = (0, 0, None);
        while at < bytes.len() {
            if self.rest > 0 {
                let left = (bytes.len() - at) as u64;
                let part = self.rest.min(left);
                self.rest -= part;
                at += part as usize;
                continue;
            }
            if self.have == 0 {
                begin = at;
            }
            self.head[self.have] = bytes[at];
            self.have += 1;
            at += 1;
            let violation = |code| Err(Violation { code, valid: begin });
            if self.have == 2 && self.is_fragment() {
                let now = *time.get_or_insert_with(&now);
                let limit = Limit::per_second(FRAGMENTS_PER_SECOND, FRAGMENTS_BURST);
                if !self.fragments.take(limit, now, 1) {
                    return violation(CloseCode::TooManyMessages);
                }
            }
            match self.payload_len() {
                None => {}
                Some(Err(NonMinimalLength)) => return violation(CloseCode::ProtocolError),
                Some(Ok(length)) => {
                    let masked = self.head[1] & MASKED != 0;
                    self.rest = length.saturating_add(if masked { MASKING_KEY_BYTES } else { 0 });
                    self.have = 0;
                }
            }
        }
        Ok(())
    }

    fn is_fragment(&self) -> bool {
        self.head[0] & FIN == 0 || self.head[0] & OPCODE == CONTINUATION
    }

    /// The length of the payload, once the header is complete.
    fn payload_len(&self) -> Option<Result<u64, NonMinimalLength>> {
        let head = &self.head[..self.have];
        let (length, least) = match head {
            [_, short, ..] if short & !MASKED < 126 => (u64::from(short & !MASKED), 0),
            [_, form, a, b, ..] if form & !MASKED == 126 => {
                (u64::from(u16::from_be_bytes([*a, *b])), 126)
            }
            [_, _, long @ ..] => (u64::from_be_bytes(long.try_into().ok()?), 0x1_0000),
            _ => return None,
        };
        Some(if length < least {
            Err(NonMinimalLength)
        } else {
            Ok(length)
        })
    }
}

/// A length that is not in its shortest form.
struct NonMinimalLength;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const NOW: Mono = Mono(1_000_000_000);

    /// A masked frame whose length has this many bytes beside the first.
    fn frame(first: u8, length: usize, extended: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match extended {
            0 => frame.push(MASKED | length as u8),
            2 => {
                frame.push(MASKED | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            _ => {
                frame.push(MASKED | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        frame.extend([0xff; 4]);
        frame.extend(std::iter::repeat_n(0xff, length));
        frame
    }

    fn validate(bytes: &[u8]) -> Result<(), Violation> {
        FrameValidator::default().validate(bytes, || NOW)
    }

    #[test]
    fn a_length_that_is_not_in_its_shortest_form_is_a_protocol_error() {
        let valid = [
            frame(0x81, 125, 0),
            frame(0x82, 126, 2),
            frame(0x81, 65_536, 8),
        ]
        .concat();
        assert_eq!(validate(&valid), Ok(()));
        for (length, extended) in [(0, 2), (125, 2), (0, 8), (126, 8), (65_535, 8)] {
            let bytes = [valid.clone(), frame(0x81, length, extended)].concat();
            let violation = Violation {
                code: CloseCode::ProtocolError,
                valid: valid.len(),
            };
            assert_eq!(validate(&bytes), Err(violation), "{length} in {extended}");
        }
    }

    #[test]
    fn fragments_are_limited_and_whole_messages_are_not() {
        let mut frames = FrameValidator::default();
        let mut now = NOW;
        let whole = frame(0x81, 10, 0).repeat(10_000);
        assert_eq!(frames.validate(&whole, || now), Ok(()));
        let empty = frame(0x00, 0, 0);
        let burst = empty.repeat(FRAGMENTS_BURST as usize);
        assert_eq!(frames.validate(&burst, || now), Ok(()));
        now = now + Duration::from_secs(1);
        let second = empty.repeat(FRAGMENTS_PER_SECOND as usize);
        assert_eq!(frames.validate(&second, || now), Ok(()));
        let violation = Violation {
            code: CloseCode::TooManyMessages,
            valid: 0,
        };
        assert_eq!(frames.validate(&empty, || now), Err(violation));
    }

    #[test]
    fn a_message_of_256_kib_in_small_fragments_is_fine() {
        let mut message = frame(0x01, 128, 2);
        message.extend(frame(0x00, 128, 2).repeat(2046));
        message.extend(frame(0x80, 128, 2));
        assert_eq!(validate(&message), Ok(()));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// For any split of the received bytes.
        #[test]
        fn it_does_not_matter_where_the_bytes_are_cut(
            frames in prop::collection::vec((any::<u8>(), 0..300usize, 0..3usize), 1..8),
            cut in 1..40usize,
        ) {
            let extended = [0, 2, 8];
            let bytes: Vec<u8> = frames
                .iter()
                .filter(|(_, length, form)| *length < 126 || *form > 0)
                .flat_map(|(first, length, form)| frame(*first, *length, extended[*form]))
                .collect();
            let whole = validate(&bytes).map_err(|violation| violation.code);
            let mut pieces = FrameValidator::default();
            let mut parts = bytes.chunks(cut).map(|part| pieces.validate(part, || NOW));
            let in_pieces = parts.find(Result::is_err).unwrap_or(Ok(()));
            prop_assert_eq!(whole, in_pieces.map_err(|violation| violation.code));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = validate(&bytes);
        }
    }
}
