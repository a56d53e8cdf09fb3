//! One WebSocket: a single task that reads, writes, pings and closes.
//!
//! One poll handles every event without splitting the socket: the outbox, the timers, received frames,
//! and writes. A poll never waits for another connection.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message, error::ProtocolError};

use super::framing::FramedStream;
use super::heartbeat::{Heartbeat, PING_NUMBER_BYTES};
use super::renewal::Extended;
use crate::clock;
use crate::config::Signaling;
use crate::room::{CloseCode, Input, Outcome};
use crate::service::{Outbox, RoomHandle};

/// Kept for each connection: it determines the memory of an idle one. An offer of audio takes one read
/// or two.
const READ_BUFFER_BYTES: usize = 1024;
/// The limit of the write buffer, which holds control frames alone.
const MAX_WRITE_BUFFER_BYTES: usize = 4096;
/// Bytes that are taken out of the outbox at a time. Frames in the outbox can still be dropped because
/// of a flood, and a ping overtakes them.
const WRITE_BATCH_BYTES: usize = 64 * 1024;
/// Messages of one connection before other tasks run.
const MAX_MESSAGES_PER_POLL: usize = 64;
/// The code that stands for a close frame without one, and those by which a client ends its session.
const NO_CODE: u16 = 1005;
const NORMAL_CODE: u16 = 1000;
const GOING_AWAY_CODE: u16 = 1001;
/// The longest timer; no token is valid for longer.
const MAX_TIMER: Duration = Duration::from_secs(365 * 86_400);

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CloseCause {
    /// The server closes it.
    Server(CloseCode),
    /// The client closed it; the answer is queued.
    Client,
    /// The socket is gone.
    Network,
}

/// The times at which a connection ends by itself, or renews what expires.
pub(super) enum Ending {
    /// When the token of a plain client expires, in Unix seconds, if that ends the connection.
    Plain(Option<u64>),
    /// The client speaks `parlor.v1`; its queue has the times.
    Extended(Box<Extended>),
}

/// An open WebSocket with a place in a room.
pub(super) struct Connection<S> {
    socket: WebSocketStream<FramedStream<S>>,
    outbox: Arc<Outbox>,
    handle: RoomHandle,
    heartbeat: Heartbeat,
    /// When the token of a plain client expires, in Unix seconds, if that ends the connection.
    expires: Option<u64>,
    timer: Pin<Box<Sleep>>,
    max_replies: usize,
    /// `None` for a plain client.
    extended: Option<Box<Extended>>,
    /// The code of the client's close frame; 1005 if it has none (RFC 6455 section 7.4.1).
    client_code: u16,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// `early` is what the client sent before it had our answer.
    pub(super) async fn open(
        stream: S,
        mut early: Vec<u8>,
        outbox: Arc<Outbox>,
        handle: RoomHandle,
        ending: Ending,
        settings: &Signaling,
    ) -> Box<Connection<S>> {
        let now = Instant::now();
        let heartbeat = Heartbeat::new(
            settings.ping_interval.min(MAX_TIMER),
            settings.ping_timeout.min(MAX_TIMER),
            now,
        );
        let (expires, extended) = match ending {
            Ending::Plain(expires) => (expires, None),
            // The queue has the times, which may change.
            Ending::Extended(extended) => (None, Some(extended)),
        };
        let next_deadline = next_deadline(&heartbeat, expires);
        let mut framed = FramedStream::new(stream);
        framed.validate_early(&mut early);
        let limits = Some(limits(settings));
        let socket = WebSocketStream::from_partially_read(framed, early, Role::Server, limits);
        Box::new(Connection {
            socket: socket.await,
            outbox,
            handle,
            heartbeat,
            expires,
            timer: Box::pin(tokio::time::sleep_until(next_deadline)),
            max_replies: settings.max_queue,
            extended,
            client_code: NO_CODE,
        })
    }

    /// The queue of frames from others.
    pub(super) fn outbox(&self) -> Arc<Outbox> {
        self.outbox.clone()
    }

    /// Serves the connection to its end, leaves the room, and returns the socket for the close.
    pub(super) async fn run(mut self: Box<Self>) -> (FramedStream<S>, CloseCause) {
        let cause = std::future::poll_fn(|context| self.poll(context)).await;
        if matches!(cause, CloseCause::Client) {
            self.handle.mark_closed_by_client();
        }
        let keeps_session = match cause {
            CloseCause::Server(code) => !code.ends_session(),
            CloseCause::Client => !matches!(self.client_code, NORMAL_CODE | GOING_AWAY_CODE),
            CloseCause::Network => true,
        };
        self.handle.set_keeps_session(keeps_session);
        (self.socket.into_inner(), cause)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<CloseCause> {
        loop {
            let framed = self.socket.get_mut();
            let bytes = if framed.is_idle() {
                WRITE_BATCH_BYTES
            } else {
                0
            };
            let rest = self.outbox.take(context, bytes, |frame| framed.text(frame));
            if let Some(code) = rest.close {
                return Poll::Ready(CloseCause::Server(code));
            }
            if let Some(within) = rest.acknowledge_within {
                self.hasten_ping(within);
            }
            if let (Some(times), Some(extended)) = (rest.renewals, &mut self.extended)
                && extended.schedule.update(times)
            {
                self.set_timer();
            }
            if let Poll::Ready(code) = self.poll_timers(context) {
                return Poll::Ready(CloseCause::Server(code));
            }
            match self.poll_read(context) {
                Poll::Ready(Some(cause)) => return Poll::Ready(cause),
                Poll::Ready(None) => continue, // our outbox says why
                Poll::Pending => {}
            }
            let outbox = &self.outbox;
            let sent = self.socket.get_mut().poll_send(context, |b| outbox.sent(b));
            return match sent {
                Poll::Ready(Err(_)) => Poll::Ready(CloseCause::Network),
                Poll::Ready(Ok(())) if rest.more => continue,
                Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
            };
        }
    }

    /// Reads until there is nothing more, or until other tasks should run. `None`: the room has removed
    /// the connection.
    fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<Option<CloseCause>> {
        if self.is_waiting() {
            return Poll::Pending;
        }
        for _ in 0..MAX_MESSAGES_PER_POLL {
            let message = match Pin::new(&mut self.socket).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Some(CloseCause::Client)),
                Poll::Ready(Some(Err(error))) => {
                    let violation = self.socket.get_ref().violation().map(CloseCause::Server);
                    return Poll::Ready(Some(violation.unwrap_or_else(|| cause(&error))));
                }
                Poll::Ready(Some(Ok(message))) => message,
            };
            let outcome = match &message {
                Message::Text(text) => self.handle.receive(Input::Text(text)),
                Message::Binary(_) => self.handle.receive(Input::Binary),
                Message::Ping(_) => self.handle.receive(Input::Control),
                Message::Pong(payload) if self.on_pong(payload) => continue,
                Message::Pong(_) => self.handle.receive(Input::Control),
                Message::Close(close) => {
                    self.client_code = close.as_ref().map_or(NO_CODE, |one| one.code.into());
                    continue;
                }
                Message::Frame(_) => continue,
            };
            if matches!(outcome, Outcome::Closed(_) | Outcome::Gone) {
                return Poll::Ready(None);
            }
            if let (Outcome::Requested, Some(extended)) = (outcome, &mut self.extended) {
                extended.requests.start(&self.handle);
                return Poll::Pending;
            }
            if self.socket.get_ref().replies() > self.max_replies {
                return Poll::Ready(Some(CloseCause::Server(CloseCode::TooSlow)));
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Whether an answer must come before further frames are read.
    fn is_waiting(&mut self) -> bool {
        let extended = self.extended.as_mut();
        extended.is_some_and(|one| one.requests.is_waiting(&self.handle))
    }

    /// Sends pings, and renews what expires. Ready when a pong or the token is overdue.
    fn poll_timers(&mut self, context: &mut Context<'_>) -> Poll<CloseCode> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            let unix = clock::now().unix;
            if self.token_end().is_some_and(|at| at <= unix) {
                return Poll::Ready(CloseCode::AuthenticationFailed);
            }
            if let Some(extended) = &mut self.extended {
                extended.renew(unix, &self.outbox);
            }
            if self.heartbeat.due <= now && self.heartbeat.waiting && self.is_waiting() {
                // The pong may be among the frames that are not read yet.
                self.heartbeat.extend(now);
            } else if self.heartbeat.due <= now {
                match self.heartbeat.tick(now) {
                    Some(number) => self.ping(number),
                    None => return Poll::Ready(CloseCode::NoPong),
                }
            }
            self.set_timer();
        }
        Poll::Pending
    }

    /// Sends a ping. With a session, its pong acknowledges the frames before it.
    fn ping(&mut self, number: [u8; PING_NUMBER_BYTES]) {
        match (&mut self.extended, self.outbox.last_seq()) {
            (None, _) | (_, None) => self.socket.get_mut().ping(&number),
            (Some(extended), Some(seq)) => {
                extended.pinged_seq = seq;
                let payload = [&number[..], &seq.to_be_bytes()].concat();
                self.socket.get_mut().ping(&payload);
            }
        }
    }

    /// Whether the payload belongs to the outstanding ping.
    fn on_pong(&mut self, payload: &[u8]) -> bool {
        let number = match payload.get(..PING_NUMBER_BYTES) {
            Some(number) if self.extended.is_some() => number,
            _ => payload,
        };
        if !self.heartbeat.on_pong(number) {
            return false;
        }
        self.set_timer();
        if let Some(extended) = &self.extended {
            self.outbox.confirm();
            // The number of the ping and not that of the pong: a client that acknowledges nothing would get one ping
            // after the other.
            let within = self.outbox.acknowledge(extended.pinged_seq);
            if let Some(within) = within {
                self.hasten_ping(within);
            }
        }
        true
    }

    /// Sends the next ping within this time.
    fn hasten_ping(&mut self, within: Duration) {
        if self.heartbeat.hasten(within, Instant::now) {
            self.set_timer();
        }
    }

    fn set_timer(&mut self) {
        let renewal = self.extended.as_ref().and_then(|one| one.schedule.next());
        let next = renewal.into_iter().chain(self.token_end()).min();
        let next = next_deadline(&self.heartbeat, next);
        self.timer.as_mut().reset(next);
    }

    /// When the end of the token ends the connection, in Unix seconds.
    fn token_end(&self) -> Option<u64> {
        match &self.extended {
            Some(extended) => extended.schedule.token_end(),
            None => self.expires,
        }
    }
}

/// The next deadline of a connection; `unix` is one of the wall clock, in seconds. At each ping the connection also
/// checks the wall clock, which may have been set.
fn next_deadline(heartbeat: &Heartbeat, unix: Option<u64>) -> Instant {
    let left = unix.map(|at| Duration::from_secs(at.saturating_sub(clock::now().unix)));
    let end = left.map(|left| Instant::now() + left.min(MAX_TIMER));
    end.map_or(heartbeat.due, |end| end.min(heartbeat.due))
}

/// tungstenite's defaults would keep 134 KB for each connection.
fn limits(settings: &Signaling) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER_BYTES)
        .max_message_size(Some(settings.max_message))
        .max_frame_size(Some(settings.max_message))
}

/// After an error the socket must not be read through tungstenite any more: its limits no longer
/// hold.
fn cause(error: &Error) -> CloseCause {
    match error {
        Error::Capacity(_) => CloseCause::Server(CloseCode::TooLarge),
        Error::Utf8(_) => CloseCause::Server(CloseCode::InvalidText),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => CloseCause::Network,
        Error::Protocol(_) => CloseCause::Server(CloseCode::ProtocolError),
        Error::Io(_) | Error::ConnectionClosed | Error::AlreadyClosed => CloseCause::Network,
        _ => CloseCause::Server(CloseCode::ConnectionError),
    }
}
