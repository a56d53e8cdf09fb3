//! A frame on its way to a client, with its number if the client has a session.

use bytes::{Buf as _, Bytes};

/// A frame on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutgoingFrame {
    /// A frame without a number.
    Plain(Bytes),
    /// A frame with a number. All sessions of a room share the bytes after its opening brace.
    Numbered {
        /// The number, from 1.
        seq: u64,
        /// The frame without its opening brace.
        rest: Bytes,
    },
}

/// The start of a numbered frame: `{"seq":1,`.
#[derive(Debug, Clone, Copy)]
pub struct SeqPrefix {
    bytes: [u8; SeqPrefix::MAX_BYTES],
    start: u8,
}

impl OutgoingFrame {
    pub(super) fn numbered(frame: &Bytes, seq: u64) -> OutgoingFrame {
        let open = frame.iter().position(|byte| *byte == b'{');
        let mut rest = frame.clone();
        rest.advance(open.map_or(0, |open| open + 1));
        OutgoingFrame::Numbered { seq, rest }
    }

    /// The bytes before [`OutgoingFrame::shared`]; `None` without a number.
    pub fn prefix(&self) -> Option<SeqPrefix> {
        match self {
            OutgoingFrame::Plain(_) => None,
            OutgoingFrame::Numbered { seq, .. } => Some(SeqPrefix::new(*seq)),
        }
    }

    /// The bytes that the frame shares with others: all without those of [`SeqPrefix`].
    pub fn shared(&self) -> &Bytes {
        match self {
            OutgoingFrame::Plain(frame) => frame,
            OutgoingFrame::Numbered { rest, .. } => rest,
        }
    }
}

impl SeqPrefix {
    /// The longest prefix: of 20 digits.
    pub const MAX_BYTES: usize = OPENING.len() + 21;

    pub fn new(seq: u64) -> SeqPrefix {
        let mut bytes = [0; SeqPrefix::MAX_BYTES];
        let (mut start, mut left) = (bytes.len() - 1, seq);
        bytes[start] = b',';
        loop {
            start -= 1;
            bytes[start] = b'0' + (left % 10) as u8;
            left /= 10;
            if left == 0 {
                break;
            }
        }
        start -= OPENING.len();
        bytes[start..start + OPENING.len()].copy_from_slice(OPENING);
        let start = start as u8;
        SeqPrefix { bytes, start }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..]
    }
}

const OPENING: &[u8] = b"{\"seq\":";

/// The text that the client gets.
impl From<OutgoingFrame> for Bytes {
    fn from(frame: OutgoingFrame) -> Bytes {
        match frame {
            OutgoingFrame::Plain(frame) => frame,
            OutgoingFrame::Numbered { seq, rest } => {
                Bytes::from([SeqPrefix::new(seq).as_bytes(), &rest].concat())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_as_many_digits_as_it_needs() {
        for seq in [1, 9, 10, 4_294_967_296, u64::MAX] {
            let prefix = SeqPrefix::new(seq);
            assert_eq!(prefix.as_bytes(), format!("{{\"seq\":{seq},").as_bytes());
        }
        assert_eq!(
            SeqPrefix::new(u64::MAX).as_bytes().len(),
            SeqPrefix::MAX_BYTES
        );
    }
}
