//! The stream under a WebSocket: reads pass through, and outgoing frames are queued here.
//!
//! tungstenite keeps the largest buffer it ever needed and writes one frame at a time. So it is
//! only let read, and answer pings and closes; the text frames of a room go past it, straight
//! to the kernel, several in one system call: long ones from the shared [`Bytes`], a few short ones copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frame_validator::{FrameValidator, Violation};
use super::queued_frame::{CLOSE, FrameSource, Head, PING, QueuedFrame};
use crate::clock;
use crate::room::{CloseCode, OutgoingFrame};
use crate::service::frame_cost;

/// Frames in one system call; each may take two slices.
const MAX_FRAMES_PER_WRITE: usize = 32;
/// Waiting frames of no more bytes are copied into one buffer: a system call with one buffer is cheaper.
const MAX_COPIED_BYTES: usize = 1024;
/// Frames that an idle queue keeps room for.
const IDLE_CAPACITY_FRAMES: usize = 16;

/// A stream, and the frames that wait for it.
pub(super) struct FramedStream<S> {
    stream: S,
    waiting: VecDeque<QueuedFrame>,
    /// Bytes of the first frame that the kernel has.
    written_of_first: usize,
    /// Bytes that tungstenite wrote and the kernel has not.
    replies: usize,
    frames: FrameValidator,
    violation: Option<CloseCode>,
}

impl<S> FramedStream<S> {
    pub(super) fn new(stream: S) -> FramedStream<S> {
        FramedStream {
            stream,
            waiting: VecDeque::new(),
            written_of_first: 0,
            replies: 0,
            frames: FrameValidator::default(),
            violation: None,
        }
    }

    /// Validates the bytes that the client sent before this stream was created.
    pub(super) fn validate_early(&mut self, bytes: &mut Vec<u8>) {
        let valid = self.validate(bytes);
        bytes.truncate(valid);
    }

    /// Validates the client's frames. Returns the number of valid bytes.
    fn validate(&mut self, bytes: &[u8]) -> usize {
        match self.frames.validate(bytes, || clock::now().mono) {
            Ok(()) => bytes.len(),
            Err(Violation { code, valid }) => {
                self.violation = Some(code);
                valid
            }
        }
    }

    /// The reason why the stream stopped reading frames.
    pub(super) fn violation(&self) -> Option<CloseCode> {
        self.violation
    }

    /// Whether no bytes wait.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Queues a text message that came out of the outbox.
    pub(super) fn text(&mut self, frame: OutgoingFrame) {
        self.waiting.push_back(QueuedFrame::text(frame));
    }

    /// Queues a ping.
    pub(super) fn ping(&mut self, payload: &[u8]) {
        let payload = Bytes::copy_from_slice(payload);
        self.waiting.push_back(QueuedFrame::control(PING, payload));
    }

    /// Queues a close. A reader that was too slow gets it next, instead of what waits.
    pub(super) fn close(&mut self, code: CloseCode) {
        if code == CloseCode::TooSlow {
            self.waiting
                .truncate(usize::from(self.written_of_first > 0));
        }
        let mut payload = code.code().to_be_bytes().to_vec();
        payload.extend_from_slice(code.reason().as_bytes());
        let frame = QueuedFrame::control(CLOSE, Bytes::from(payload));
        self.waiting.push_back(frame);
    }

    /// Bytes of replies (pongs) that wait because the client does not read them.
    pub(super) fn replies(&self) -> usize {
        self.replies
    }

    /// Removes `written` bytes from the queue. Returns the outbox bytes of the frames that are complete.
    fn on_written(&mut self, written: usize) -> usize {
        let (mut written, mut freed) = (self.written_of_first + written, 0);
        while let Some(first) = self.waiting.front() {
            if written < first.len() {
                break;
            }
            written -= first.len();
            match first.source {
                FrameSource::Outbox => freed += frame_cost(first.payload()),
                FrameSource::Reply => self.replies -= first.payload().len(),
                FrameSource::Server => {}
            }
            self.waiting.pop_front();
        }
        self.written_of_first = written;
        freed
    }
}

impl<S: AsyncWrite + Unpin> FramedStream<S> {
    /// Writes the queued frames until the queue is empty or the kernel takes no more. Calls `sent` with
    /// the outbox bytes that each write releases.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        mut sent: impl FnMut(usize),
    ) -> Poll<io::Result<()>> {
        while !self.waiting.is_empty() {
            if let Some(written) = self.poll_send_copy(context) {
                sent(self.on_written(ready!(written)?));
                continue;
            }
            let mut heads = [Head::EMPTY; MAX_FRAMES_PER_WRITE];
            for (head, frame) in heads.iter_mut().zip(&self.waiting) {
                *head = frame.head();
            }
            let mut slices = [IoSlice::new(&[]); 2 * MAX_FRAMES_PER_WRITE];
            let frames = heads.iter().zip(&self.waiting);
            let filled = fill_slices(frames, self.written_of_first, &mut slices);
            let stream = Pin::new(&mut self.stream);
            let written = ready!(stream.poll_write_vectored(context, &slices[..filled]))?;
            sent(self.on_written(not_zero(written)?));
        }
        if self.waiting.capacity() > IDLE_CAPACITY_FRAMES {
            self.waiting.shrink_to(IDLE_CAPACITY_FRAMES);
        }
        // Of TLS, something may still be on its way.
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Writes a copy of all queued frames. `None` if they are too long.
    fn poll_send_copy(&mut self, context: &mut Context<'_>) -> Option<Poll<io::Result<usize>>> {
        let mut copy = [0; MAX_COPIED_BYTES];
        let mut filled = 0;
        for frame in &self.waiting {
            for part in [frame.head().as_bytes(), frame.payload()] {
                copy.get_mut(filled..filled + part.len())?
                    .copy_from_slice(part);
                filled += part.len();
            }
        }
        let rest = &copy[self.written_of_first..filled];
        let stream = Pin::new(&mut self.stream);
        let written = stream.poll_write(context, rest);
        Some(written.map(|written| written.and_then(not_zero)))
    }
}

/// Zero bytes of a write mean that no more can be written.
fn not_zero(written: usize) -> io::Result<usize> {
    match written {
        0 => Err(io::ErrorKind::WriteZero.into()),
        _ => Ok(written),
    }
}

/// The slices of the first frames, without the bytes that the kernel has.
fn fill_slices<'a>(
    frames: impl Iterator<Item = (&'a Head, &'a QueuedFrame)>,
    written_of_first: usize,
    slices: &mut [IoSlice<'a>; 2 * MAX_FRAMES_PER_WRITE],
) -> usize {
    let (mut filled, mut skip) = (0, written_of_first);
    for (head, frame) in frames {
        for part in [head.as_bytes(), &frame.payload()[..]] {
            let skipped = skip.min(part.len());
            skip -= skipped;
            if skipped < part.len() {
                slices[filled] = IoSlice::new(&part[skipped..]);
                filled += 1;
            }
        }
    }
    filled
}

impl<S: AsyncRead + Unpin> FramedStream<S> {
    /// Reads and discards bytes after a violation.
    pub(super) fn poll_read_raw(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FramedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if self.violation.is_none() {
            ready!(self.poll_read_raw(context, buffer))?;
            let valid = self.validate(&buffer.filled()[before..]);
            buffer.set_filled(before + valid);
        }
        // Return the valid bytes first; zero bytes would mean the end of the stream.
        if self.violation.is_some() && buffer.filled().len() == before {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        Poll::Ready(Ok(()))
    }
}

/// tungstenite writes whole frames, because a write is never pending.
impl<S: AsyncWrite + Unpin> AsyncWrite for FramedStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        frame: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.replies += frame.len();
        self.waiting.push_back(QueuedFrame::reply(frame));
        Poll::Ready(Ok(frame.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::AsyncReadExt as _;
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_tungstenite::tungstenite::{Message, WebSocket};

    use super::*;
    use crate::room::Session;

    /// A stream that takes a few bytes at a time, and refuses every other write.
    #[derive(Default)]
    struct Narrow {
        taken: Vec<u8>,
        refuse: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.refuse = !self.refuse;
            if self.refuse {
                return Poll::Pending;
            }
            let some = bytes.len().min(7);
            self.taken.extend_from_slice(&bytes[..some]);
            Poll::Ready(Ok(some))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn drain(framed: &mut FramedStream<Narrow>) -> usize {
        let (mut freed, mut context) = (0, Context::from_waker(Waker::noop()));
        while framed
            .poll_send(&mut context, |bytes| freed += bytes)
            .is_pending()
        {}
        freed
    }

    fn read(bytes: Vec<u8>) -> Vec<Message> {
        let stream = std::io::Cursor::new(bytes);
        let mut client = WebSocket::from_raw_socket(stream, Role::Client, None);
        std::iter::from_fn(|| client.read().ok()).collect()
    }

    #[test]
    fn frames_of_every_size_arrive_whole_through_a_narrow_stream() {
        let mut framed = FramedStream::new(Narrow::default());
        let sizes = [0, 1, 125, 126, 65_535, 65_536];
        let texts = sizes.map(|size| "x".repeat(size));
        let mut cost_of_all = 0;
        for text in &texts {
            let frame = Bytes::from(text.clone());
            cost_of_all += frame_cost(&frame);
            framed.text(OutgoingFrame::Plain(frame));
        }
        framed.ping(&[1, 2, 3, 4]);
        assert_eq!(drain(&mut framed), cost_of_all);
        let mut expected = texts.map(Message::text).to_vec();
        expected.push(Message::Ping(Bytes::from_static(&[1, 2, 3, 4])));
        assert_eq!(read(framed.stream.taken), expected);
    }

    #[test]
    fn numbered_frames_of_every_size_arrive_with_their_numbers() {
        let mut framed = FramedStream::new(Narrow::default());
        let (mut session, mut cost_of_all, mut expected) = (Session::new([1; 16]), 0, vec![]);
        // With their numbers, of 125, 126, 65,535 and 65,536 bytes.
        for size in [109, 110, 65_519, 65_520] {
            let text = "x".repeat(size);
            let frame = session.number(Bytes::from(format!("{{\"data\":{text}")));
            cost_of_all += frame_cost(frame.shared());
            framed.text(frame);
            let seq = expected.len() + 1;
            expected.push(Message::text(format!("{{\"seq\":{seq},\"data\":{text}")));
        }
        let lengths: Vec<usize> = expected.iter().map(Message::len).collect();
        assert_eq!(lengths, [125, 126, 65_535, 65_536]);
        assert_eq!(drain(&mut framed), cost_of_all);
        assert_eq!(read(framed.stream.taken), expected);
    }

    #[test]
    fn a_slow_reader_gets_the_close_after_the_current_frame() {
        let mut framed = FramedStream::new(Narrow::default());
        framed.text(OutgoingFrame::Plain(Bytes::from_static(
            b"first and longer than seven",
        )));
        framed.text(OutgoingFrame::Plain(Bytes::from_static(b"second")));
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..2 {
            assert!(framed.poll_send(&mut context, |_| ()).is_pending());
        }
        framed.close(CloseCode::TooSlow);
        drain(&mut framed);
        let messages = read(framed.stream.taken);
        assert_eq!(messages[0], Message::text("first and longer than seven"));
        let Message::Close(Some(close)) = &messages[1] else {
            panic!("{messages:?}")
        };
        assert_eq!(u16::from(close.code), 4010);
    }

    #[tokio::test]
    async fn valid_bytes_are_read_before_a_violation() {
        let (valid, wrong) = (
            [0x81, 0x80, 0, 0, 0, 0],
            [0x81, 0xfe, 0, 1, 0, 0, 0, 0, b'x'],
        );
        let bytes = [&valid[..], &wrong].concat();
        let mut framed = FramedStream::new(std::io::Cursor::new(bytes.clone()));
        let mut read = [0; 64];
        assert_eq!(framed.read(&mut read).await.unwrap(), valid.len());
        assert!(framed.read(&mut read).await.is_err());
        assert_eq!(framed.violation(), Some(CloseCode::ProtocolError));
        let mut early = bytes;
        FramedStream::new(std::io::empty()).validate_early(&mut early);
        assert_eq!(early, valid);
    }

    #[test]
    fn replies_that_nobody_reads_are_counted() {
        let mut framed = FramedStream::new(Narrow::default());
        let mut context = Context::from_waker(Waker::noop());
        let pong = [0x8a, 2, b'h', b'i'];
        let written = Pin::new(&mut framed).poll_write(&mut context, &pong);
        assert!(matches!(written, Poll::Ready(Ok(4))));
        assert_eq!(framed.replies(), 4);
        drain(&mut framed);
        assert_eq!(framed.replies(), 0);
        assert_eq!(framed.stream.taken, pong);
    }
}
