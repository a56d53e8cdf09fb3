//! A frame that waits for its connection.

use std::num::NonZeroU64;

use bytes::Bytes;

use crate::room::{OutgoingFrame, SeqPrefix};

/// FIN and opcode (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
pub(super) const CLOSE: u8 = 0x88;
pub(super) const PING: u8 = 0x89;

/// A frame that waits. Its head is rendered when it is written.
pub(super) struct QueuedFrame {
    /// FIN and opcode; `None` where tungstenite rendered the frame: its head is in `payload`.
    opcode: Option<u8>,
    pub source: FrameSource,
    /// The number of a numbered frame, which stands before the payload.
    seq: Option<NonZeroU64>,
    pub payload: Bytes,
}

/// The bytes before the payload of a frame: its head (RFC 6455 section 5.2), and [`SeqPrefix`].
pub(super) struct Head {
    bytes: [u8; Head::MAX_BYTES],
    len: u8,
}

/// The source of a frame, for the accounting of its bytes.
#[derive(Clone, Copy)]
pub(super) enum FrameSource {
    Outbox,
    /// tungstenite's answer to a ping or a close.
    Reply,
    /// A ping or a close of ours: too small and rare to count.
    Server,
}

impl QueuedFrame {
    /// A text message that came out of the outbox.
    pub(super) fn text(frame: OutgoingFrame) -> QueuedFrame {
        let (seq, payload) = match frame {
            OutgoingFrame::Plain(payload) => (None, payload),
            OutgoingFrame::Numbered { seq, rest } => (NonZeroU64::new(seq), rest),
        };
        QueuedFrame {
            opcode: Some(TEXT),
            source: FrameSource::Outbox,
            seq,
            payload,
        }
    }

    /// A frame that tungstenite rendered.
    pub(super) fn reply(frame: &[u8]) -> QueuedFrame {
        QueuedFrame {
            opcode: None,
            source: FrameSource::Reply,
            seq: None,
            payload: Bytes::copy_from_slice(frame),
        }
    }

    /// A ping or a close of the server.
    pub(super) fn control(opcode: u8, payload: Bytes) -> QueuedFrame {
        QueuedFrame {
            opcode: Some(opcode),
            source: FrameSource::Server,
            seq: None,
            payload,
        }
    }

    pub(super) fn head(&self) -> Head {
        let mut head = Head::EMPTY;
        let prefix = self.seq.map(|seq| SeqPrefix::new(seq.get()));
        let prefix = prefix.as_ref().map_or(&[][..], SeqPrefix::as_bytes);
        if let Some(opcode) = self.opcode {
            head.push_lengths(opcode, prefix.len() + self.payload.len());
            head.push(prefix);
        }
        head
    }

    pub(super) fn len(&self) -> usize {
        self.head().as_bytes().len() + self.payload.len()
    }
}

impl Head {
    const MAX_BYTES: usize = 10 + SeqPrefix::MAX_BYTES;
    pub(super) const EMPTY: Head = Head {
        bytes: [0; Head::MAX_BYTES],
        len: 0,
    };

    /// Server frames are not masked (RFC 6455 section 5.1).
    fn push_lengths(&mut self, opcode: u8, length: usize) {
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => self.push(&[opcode, short]),
            (_, Ok(medium)) => {
                self.push(&[opcode, 126]);
                self.push(&medium.to_be_bytes());
            }
            _ => {
                self.push(&[opcode, 127]);
                self.push(&(length as u64).to_be_bytes());
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
