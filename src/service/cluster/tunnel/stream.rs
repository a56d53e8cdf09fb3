//! The streams of a tunnel's ends.

use std::io::{Error, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::flow::{Flow, Read};
use super::message::{Body, End, Message};
use crate::clock::{self, Mono};
use crate::room::CloseCode;

/// Bytes of data in one message.
const MAX_DATA_BYTES: usize = 64 << 10;

/// Sends a message to the other node; false if it was not queued.
pub(super) type Send = Box<dyn Fn(Vec<u8>) -> bool + std::marker::Send + Sync>;

/// One end of a tunnel. Dropping it ends the tunnel.
pub struct TunnelStream {
    shared: Arc<Shared>,
    /// Ends the delivery of messages.
    unregister: Box<dyn Fn() + std::marker::Send + Sync>,
}

/// Closes an end of a tunnel, or waits until that is wanted.
#[derive(Clone)]
pub struct TunnelControl(Arc<Shared>);

/// The state of an end, which messages of the other node change.
pub(super) struct Shared {
    /// This end.
    end: End,
    tunnel: u64,
    send: Send,
    state: Mutex<State>,
    /// A message to close the connection has arrived.
    closing: Notify,
}

struct State {
    flow: Flow,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The time of the last message of the other end.
    heard: Mono,
}

impl Shared {
    pub(super) fn new(end: End, tunnel: u64, send: Send) -> Arc<Shared> {
        Arc::new(Shared {
            end,
            tunnel,
            send,
            state: Mutex::new(State {
                flow: Flow::new(),
                reader: None,
                writer: None,
                heard: clock::now().mono,
            }),
            closing: Notify::new(),
        })
    }

    /// Handles a message of the other end.
    pub(super) fn receive(&self, number: u64, body: Body<'_>) {
        let mut state = self.locked();
        state.heard = clock::now().mono;
        state.flow.receive(number, body);
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        self.closing.notify_waiters();
    }

    /// Sends a message, or ends the tunnel if that is not possible.
    fn transmit(&self, state: &mut State, body: Body<'_>) -> Result<(), Error> {
        let message = Message {
            to: self.end.other(),
            tunnel: self.tunnel,
            number: state.flow.next_number(),
            body,
        };
        if (self.send)(message.to_bytes()) {
            return Ok(());
        }
        state.flow.reset();
        Err(ErrorKind::ConnectionReset.into())
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TunnelStream {
    /// `unregister` ends the delivery of messages.
    pub(super) fn new(
        shared: Arc<Shared>,
        unregister: impl Fn() + std::marker::Send + Sync + 'static,
    ) -> TunnelStream {
        TunnelStream {
            shared,
            unregister: Box::new(unregister),
        }
    }

    pub fn control(&self) -> TunnelControl {
        TunnelControl(self.shared.clone())
    }

    /// Sends as many of these bytes as the window allows.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        let mut state = self.shared.locked();
        if state.flow.is_reset() {
            return Poll::Ready(Err(ErrorKind::ConnectionReset.into()));
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let granted = state.flow.reserve(total.min(MAX_DATA_BYTES));
        if granted == 0 && total > 0 {
            state.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let mut data = Vec::with_capacity(granted);
        for slice in slices {
            let part = slice.len().min(granted - data.len());
            data.extend_from_slice(&slice[..part]);
        }
        let sent = self.shared.transmit(&mut state, Body::Data(&data));
        Poll::Ready(sent.map(|()| granted))
    }
}

impl TunnelControl {
    pub(super) fn of(shared: Arc<Shared>) -> TunnelControl {
        TunnelControl(shared)
    }

    /// Asks the node with the session to close the connection with this code.
    pub fn close(&self, code: CloseCode) {
        let mut state = self.0.locked();
        // If this is not possible, the tunnel has ended.
        let _ = self.0.transmit(&mut state, Body::Close(code.code()));
    }

    /// Ends the tunnel: reads and writes fail from now on.
    pub fn reset(&self) {
        let mut state = self.0.locked();
        let _ = self.0.transmit(&mut state, Body::Reset);
        state.flow.reset();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
    }

    /// Waits until the other end has sent nothing for this long.
    pub async fn silent(&self, limit: Duration) {
        loop {
            let silence = clock::now().mono.since(self.0.locked().heard);
            match limit.checked_sub(silence) {
                None | Some(Duration::ZERO) => return,
                Some(left) => tokio::time::sleep(left).await,
            }
        }
    }

    /// Waits until the other node wants the connection to be closed.
    pub async fn closing(&self) -> CloseCode {
        loop {
            let mut notified = std::pin::pin!(self.0.closing.notified());
            notified.as_mut().enable();
            let close = self.0.locked().flow.close();
            if let Some(code) = close {
                return code;
            }
            notified.await;
        }
    }
}

impl AsyncRead for TunnelStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut state = self.shared.locked();
        match state.flow.read(buffer.initialize_unfilled()) {
            Read::Bytes { count, credit } => {
                buffer.advance(count);
                if let Some(credit) = credit {
                    // The bytes are read in any case; the next read reports the end.
                    let _ = self.shared.transmit(&mut state, Body::Credit(credit));
                }
                Poll::Ready(Ok(()))
            }
            Read::End => Poll::Ready(Ok(())),
            Read::Reset => Poll::Ready(Err(ErrorKind::ConnectionReset.into())),
            Read::Empty => {
                state.reader = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for TunnelStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize, Error>> {
        self.poll_send(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Error>> {
        self.poll_send(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let mut state = self.shared.locked();
        if state.flow.is_reset() {
            return Poll::Ready(Ok(()));
        }
        Poll::Ready(self.shared.transmit(&mut state, Body::Finish))
    }
}

impl Drop for TunnelStream {
    fn drop(&mut self) {
        let mut state = self.shared.locked();
        if !state.flow.is_reset() {
            let _ = self.shared.transmit(&mut state, Body::Reset);
            state.flow.reset();
        }
        drop(state);
        (self.unregister)();
    }
}

#[cfg(test)]
mod tests;
