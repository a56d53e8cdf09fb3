//! A frame that waits for its connection.

use bytes::Bytes;

use crate::room::{OutgoingFrame, SeqPrefix};

/// FIN and opcode (RFC 6455 section 5.2).
const TEXT: u8 = 0x81;
pub(super) const CLOSE: u8 = 0x88;
pub(super) const PING: u8 = 0x89;

/// A frame that waits. Its head is rendered when it is written.
pub(super) struct QueuedFrame {
    /// FIN and opcode; `None` where tungstenite rendered the frame: its head is in the payload.
    opcode: Option<u8>,
    pub source: FrameSource,
    /// The length of the head.
    head_len: u8,
    frame: OutgoingFrame,
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
        QueuedFrame::new(Some(TEXT), FrameSource::Outbox, frame)
    }

    /// A frame that tungstenite rendered.
    pub(super) fn reply(frame: &[u8]) -> QueuedFrame {
        let frame = OutgoingFrame::Plain(Bytes::copy_from_slice(frame));
        QueuedFrame::new(None, FrameSource::Reply, frame)
    }

    /// A ping or a close of the server.
    pub(super) fn control(opcode: u8, payload: Bytes) -> QueuedFrame {
        let frame = OutgoingFrame::Plain(payload);
        QueuedFrame::new(Some(opcode), FrameSource::Server, frame)
    }

    fn new(opcode: Option<u8>, source: FrameSource, frame: OutgoingFrame) -> QueuedFrame {
        let mut queued = QueuedFrame {
            opcode,
            source,
            head_len: 0,
            frame,
        };
        queued.head_len = queued.head().len;
        queued
    }

    /// The bytes after the head.
    pub(super) fn payload(&self) -> &Bytes {
        self.frame.shared()
    }

    pub(super) fn head(&self) -> Head {
        let mut head = Head::EMPTY;
        let prefix = self.frame.prefix();
        let prefix = prefix.as_ref().map_or(&[][..], SeqPrefix::as_bytes);
        if let Some(opcode) = self.opcode {
            head.push_lengths(opcode, prefix.len() + self.payload().len());
            head.push(prefix);
        }
        head
    }

    pub(super) fn len(&self) -> usize {
        usize::from(self.head_len) + self.payload().len()
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
