//! Limits frames without a request on HTTP/2 connections.
//!
//! SETTINGS, PING, PRIORITY, WINDOW_UPDATE and empty DATA cost a client nine bytes and request
//! nothing; hyper accepts any number of them. So this layer below hyper counts frame headers (RFC 9113
//! section 4.1): each request adds an allowance, and further frames are rate-limited.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::clock::{self, Mono};
use crate::rate::{Gcra, Limit};

/// The client connection preface (RFC 9113 section 3.4).
const PREFACE_BYTES: u64 = 24;
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;

/// Frames besides HEADERS per request: DATA of its body, WINDOW_UPDATE for its response.
const FRAMES_PER_REQUEST: u32 = 16;
const MAX_ALLOWANCE: u32 = 1024;

/// Further frames: per second, and burst.
const FRAMES_PER_SECOND: u64 = 100;
const FRAME_BURST: u64 = 1_000;

/// The position in a client's stream of frames, and the remaining budget.
#[derive(Debug)]
struct Budget {
    head: [u8; HEAD_BYTES],
    /// Received bytes of the frame header.
    have: usize,
    /// Outstanding bytes before the next frame header.
    rest: u64,
    allowed: u32,
    spent: Gcra,
}

impl Budget {
    fn new() -> Budget {
        Budget {
            head: [0; HEAD_BYTES],
            have: 0,
            rest: PREFACE_BYTES,
            allowed: 0,
            spent: Gcra::default(),
        }
    }

    /// Counts the frames in the received bytes; returns false if there are too many.
    fn follow(&mut self, mut bytes: &[u8], now: impl Fn() -> Mono) -> bool {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len() as u64);
            self.rest -= skipped;
            bytes = &bytes[skipped as usize..];
            let wanted = bytes.len().min(HEAD_BYTES - self.have);
            let (head, tail) = bytes.split_at(wanted);
            self.head[self.have..self.have + wanted].copy_from_slice(head);
            self.have += wanted;
            bytes = tail;
            if self.have == HEAD_BYTES {
                let [a, b, c, kind, ..] = self.head;
                self.rest = u64::from(u32::from_be_bytes([0, a, b, c]));
                self.have = 0;
                if !self.take(kind, &now) {
                    return false;
                }
            }
        }
        true
    }

    fn take(&mut self, kind: u8, now: impl Fn() -> Mono) -> bool {
        if kind == HEADERS {
            self.allowed = (self.allowed + FRAMES_PER_REQUEST).min(MAX_ALLOWANCE);
            return true;
        }
        if let Some(left) = self.allowed.checked_sub(1) {
            self.allowed = left;
            return true;
        }
        let limit = Limit::per_second(FRAMES_PER_SECOND, FRAME_BURST);
        self.spent.take(limit, now(), 1)
    }
}

/// A stream that fails when its client sends too many frames.
pub(super) struct FrameBudget<S> {
    stream: S,
    budget: Budget,
}

impl<S> FrameBudget<S> {
    pub(super) fn new(stream: S) -> FrameBudget<S> {
        FrameBudget {
            stream,
            budget: Budget::new(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameBudget<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        if self.budget.follow(read, || clock::now().mono) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::other("too many frames without a request")))
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FrameBudget<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Mono = Mono(1_000_000_000);
    const KINDS: [(&str, u8, usize); 5] = [
        ("DATA", 0, 0),
        ("PRIORITY", 2, 5),
        ("SETTINGS", 4, 0),
        ("PING", 6, 8),
        ("WINDOW_UPDATE", 8, 4),
    ];

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = (payload as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, 0, 0, 0, 0, 0]);
        frame.extend(vec![HEADERS; payload]);
        frame
    }

    /// How many of these frames a connection accepts at once, for any split of the bytes.
    fn taken(frame: &[u8], cut: usize) -> u64 {
        let mut budget = Budget::new();
        assert!(budget.follow(&[b'P'; PREFACE_BYTES as usize], || NOW));
        let mut whole = || frame.chunks(cut).all(|part| budget.follow(part, || NOW));
        (0..100_000).take_while(|_| whole()).count() as u64
    }

    #[test]
    fn frames_that_ask_for_nothing_have_a_rate() {
        for (name, kind, payload) in KINDS {
            for cut in [1, 4, 100] {
                let taken = taken(&frame(kind, payload), cut);
                assert_eq!(taken, FRAME_BURST, "{name}");
            }
        }
    }

    #[test]
    fn requests_bring_an_allowance() {
        let mut request = frame(HEADERS, 40);
        for _ in 0..8 {
            request.extend(frame(0, 16_384));
            request.extend(frame(8, 4));
        }
        assert_eq!(taken(&request, 1000), 100_000);
    }
}
