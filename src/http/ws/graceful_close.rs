//! Closes a WebSocket so that the client can read the close frame.
//!
//! A socket that is closed with unread bytes sends a reset, and the browser shows 1006 instead of
//! the code. So after the close frame the server only shuts down its side, and discards received bytes
//! up to a limit.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::framing::FramedStream;

/// Bytes that are discarded before the socket is dropped.
const MAX_DISCARDED_BYTES: usize = 1024 * 1024;

/// Sends the queued frames, shuts down writing and discards received bytes, until the client closes or
/// the time is over.
pub(super) async fn close_gracefully<S: AsyncRead + AsyncWrite + Unpin>(
    mut framed: FramedStream<S>,
    time: Duration,
) {
    let (mut sending, mut discarded) = (true, 0);
    let done = std::future::poll_fn(|context| {
        if sending && poll_finish(&mut framed, context)?.is_ready() {
            sending = false;
        }
        poll_discard(&mut framed, &mut discarded, context)
    });
    // Late, done or broken: the socket is dropped in any case.
    let _ = tokio::time::timeout(time, done).await;
}

fn poll_finish<S: AsyncWrite + Unpin>(
    framed: &mut FramedStream<S>,
    context: &mut Context<'_>,
) -> Poll<std::io::Result<()>> {
    std::task::ready!(framed.poll_send(context, |_| ()))?;
    Pin::new(framed).poll_shutdown(context)
}

fn poll_discard<S: AsyncRead + Unpin>(
    framed: &mut FramedStream<S>,
    discarded: &mut usize,
    context: &mut Context<'_>,
) -> Poll<std::io::Result<()>> {
    let mut bytes = [0; 4096];
    while *discarded < MAX_DISCARDED_BYTES {
        let mut buffer = ReadBuf::new(&mut bytes);
        std::task::ready!(framed.poll_read_raw(context, &mut buffer))?;
        match buffer.filled().len() {
            0 => break,
            some => *discarded += some,
        }
    }
    Poll::Ready(Ok(()))
}
