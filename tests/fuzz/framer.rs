//! The stream framer, fed in pieces, compared with a simple reader of the whole stream.

use parlor::relay::framer::{MAX_FRAME, missing, next_frame};
use parlor::stun::{CHANNEL_HEADER, ChannelData, HEADER, Message};

use crate::input::Input;

/// The first half of the input selects how the other half is split.
pub fn run(bytes: &[u8]) {
    let (cuts, stream) = bytes.split_at(bytes.len() / 2);
    let whole = frames(stream);
    let mut pieces = Input(cuts);
    let mut held: Vec<u8> = Vec::new();
    let mut cut: Vec<Vec<u8>> = Vec::new();
    let mut rest = stream;
    let refused = loop {
        let length = pieces.byte().map_or(rest.len(), usize::from);
        let (piece, after) = rest.split_at(length.min(rest.len()));
        held.extend_from_slice(piece);
        rest = after;
        let mut at = 0;
        let refused = loop {
            match next_frame(&held[at..]) {
                Ok(Some(frame)) => {
                    assert!(frame.len <= frame.padded && frame.padded <= MAX_FRAME);
                    assert!(frame.padded - frame.len < 4 && frame.padded % 4 == 0);
                    cut.push(held[at..at + frame.len].to_vec());
                    at += frame.padded;
                }
                Ok(None) => break false,
                Err(_) => break true,
            }
        };
        held.drain(..at);
        match missing(&held) {
            Ok(more) => assert!(!refused && (more > 0) != held.is_empty()),
            Err(_) => assert!(refused),
        }
        assert!(refused || held.len() < MAX_FRAME, "a frame that never ends");
        if refused || rest.is_empty() && pieces.0.is_empty() {
            break refused;
        }
    };
    assert_eq!((cut, refused), whole);
}

/// Returns the frames of a whole stream, read by a simple reader, and whether it ends in bytes that
/// are no frame.
fn frames(stream: &[u8]) -> (Vec<Vec<u8>>, bool) {
    let mut frames = Vec::new();
    let mut at = 0;
    while at < stream.len() {
        let rest = &stream[at..];
        if rest[0] >= 0x50 {
            return (frames, true);
        }
        if rest.len() < 4 {
            return (frames, false);
        }
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        let is_channel = rest[0] >= 0x40;
        if !is_channel && length % 4 != 0 {
            return (frames, true);
        }
        let head = if is_channel { CHANNEL_HEADER } else { HEADER };
        let padding = (4 - (head + length) % 4) % 4;
        let Some(frame) = rest.get(..head + length + padding) else {
            return (frames, false);
        };
        let frame = &frame[..head + length];
        if is_channel {
            assert_eq!(ChannelData::parse(frame).map(|data| data.len), Some(length));
        } else {
            // The parser must accept or reject it without a panic.
            _ = Message::parse(frame);
        }
        frames.push(frame.to_vec());
        at += head + length + padding;
    }
    (frames, false)
}
