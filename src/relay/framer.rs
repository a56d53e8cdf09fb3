//! Finds the messages in a TURN stream (RFC 8656 sections 2.1 and 12.5): STUN messages and padded
//! ChannelData, in segments of any size.

use crate::stun::{CHANNEL_HEADER, HEADER};

/// The longest frame: ChannelData with its padding.
pub const MAX_FRAME: usize = CHANNEL_HEADER + 65_536;

/// A frame at the start of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Bytes of the message.
    pub len: usize,
    /// Bytes in the stream, including padding.
    pub padded: usize,
}

/// The stream is neither STUN nor ChannelData. The start of the next message is unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("neither STUN nor ChannelData")]
pub struct NotTurn;

/// The frame at the start of `bytes`; `None` while it is incomplete.
pub fn next_frame(bytes: &[u8]) -> Result<Option<Frame>, NotTurn> {
    let frame = frame_of_header(bytes)?;
    Ok(frame.filter(|frame| bytes.len() >= frame.padded))
}

/// The frame at the start of `bytes`, even if it is incomplete; `None` while its header is incomplete.
fn frame_of_header(bytes: &[u8]) -> Result<Option<Frame>, NotTurn> {
    let Some(&[first, _, high, low]) = bytes.first_chunk::<4>() else {
        return match bytes.first() {
            Some(0x00..=0x4f) | None => Ok(None),
            Some(_) => Err(NotTurn),
        };
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let (len, padded) = match first {
        0x00..=0x3f if length % 4 == 0 => (HEADER + length, HEADER + length),
        0x40..=0x4f => {
            let len = CHANNEL_HEADER + length;
            (len, len.next_multiple_of(4))
        }
        _ => return Err(NotTurn),
    };
    Ok(Some(Frame { len, padded }))
}

/// The minimum number of bytes that must follow an incomplete frame before it can be parsed further.
pub fn missing(piece: &[u8]) -> Result<usize, NotTurn> {
    Ok(match frame_of_header(piece)? {
        Some(frame) => frame.padded.saturating_sub(piece.len()),
        None => usize::from(!piece.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of bytes in complete frames.
    fn complete(bytes: &[u8]) -> Result<usize, NotTurn> {
        let mut end = 0;
        while let Some(frame) = next_frame(&bytes[end..])? {
            end += frame.padded;
        }
        Ok(end)
    }

    use proptest::prelude::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let (mut bytes, extra) = match kind % 2 {
            0 => (vec![0, 1], 16),
            _ => (vec![0x40, 0], 0),
        };
        let payload = if kind.is_multiple_of(2) {
            payload / 4 * 4
        } else {
            payload
        };
        bytes.extend((payload as u16).to_be_bytes());
        bytes.resize(4 + extra + payload, 7);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn the_padding_of_channel_data_is_not_part_of_the_message() {
        assert_eq!(
            next_frame(&frame(1, 5)),
            Ok(Some(Frame { len: 9, padded: 12 }))
        );
    }

    #[test]
    fn other_protocols_are_rejected_at_their_first_byte() {
        assert_eq!(next_frame(b"POST / HTTP/1.1"), Err(NotTurn));
        assert_eq!(next_frame(b"P"), Err(NotTurn));
    }

    proptest! {
        #[test]
        fn frames_are_found_at_any_split(parts in prop::collection::vec((any::<u8>(), 0usize..300), 1..8), cut in any::<prop::sample::Index>()) {
            let frames: Vec<Vec<u8>> = parts.iter().map(|(kind, size)| frame(*kind, *size)).collect();
            let stream = frames.concat();
            let cut = cut.index(stream.len() + 1);
            let whole = complete(&stream[..cut]).unwrap();
            let rest = &stream[whole..];
            prop_assert!(whole <= cut);
            prop_assert_eq!(complete(rest).unwrap(), rest.len());
            let mut seen = Vec::new();
            let mut at = 0;
            while let Some(frame) = next_frame(&stream[at..]).unwrap() {
                seen.push(stream[at..at + frame.padded].to_vec());
                at += frame.padded;
            }
            prop_assert_eq!(seen, frames);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic_the_framer(noise in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(end) = complete(&noise) {
                prop_assert!(end <= noise.len());
            }
        }
    }
}
