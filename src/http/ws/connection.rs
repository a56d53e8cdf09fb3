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
use super::requests::Requests;
use crate::clock;
use crate::config::Signaling;
use crate::room::{CloseCode, Input, Outcome};
use crate::service::{Outbox, RoomHandle};

/// Kept for each connection: it determines the memory of an idle one. An offer of audio takes one read
/// or two.
const READ_BUFFER_BYTES: usize = 2048;
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
/// Bytes of a ping: its number, then that of the last frame of a session.
const PING_NUMBER_BYTES: usize = 4;
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

/// An open WebSocket with a place in a room.
pub(super) struct Connection<S> {
    socket: WebSocketStream<FramedStream<S>>,
    outbox: Arc<Outbox>,
    handle: RoomHandle,
    heartbeat: Heartbeat,
    /// When the token expires, in Unix seconds, if that ends the connection.
    expires: Option<u64>,
    timer: Pin<Box<Sleep>>,
    max_replies: usize,
    /// Whether the client speaks `parlor.v1`.
    is_extended: bool,
    /// The number of the last frame before the last ping.
    pinged_seq: u64,
    /// If the client speaks `parlor.v1`.
    requests: Option<Box<Requests>>,
    /// The code of the client's close frame; 1005 if it has none (RFC 6455 section 7.4.1).
    client_code: u16,
}

/// Pings, and the wait for their pongs.
struct Heartbeat {
    interval: Duration,
    timeout: Duration,
    number: u32,
    /// The next ping, or the end of the wait for a pong.
    due: Instant,
    waiting: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// `early` is what the client sent before it had our answer.
    pub(super) async fn open(
        stream: S,
        mut early: Vec<u8>,
        outbox: Arc<Outbox>,
        handle: RoomHandle,
        expires: Option<u64>,
        settings: &Signaling,
    ) -> Connection<S> {
        let now = Instant::now();
        let heartbeat = Heartbeat {
            interval: settings.ping_interval.min(MAX_TIMER),
            timeout: settings.ping_timeout.min(MAX_TIMER),
            number: 0,
            due: now + settings.ping_interval.min(MAX_TIMER),
            waiting: false,
        };
        let next_deadline = next_deadline(&heartbeat, expires);
        let mut framed = FramedStream::new(stream);
        framed.validate_early(&mut early);
        let is_extended = outbox.last_seq().is_some();
        Connection {
            socket: WebSocketStream::from_partially_read(
                framed,
                early,
                Role::Server,
                Some(limits(settings)),
            )
            .await,
            outbox,
            handle,
            heartbeat,
            expires,
            timer: Box::pin(tokio::time::sleep_until(next_deadline)),
            max_replies: settings.max_queue,
            is_extended,
            pinged_seq: 0,
            requests: None,
            client_code: NO_CODE,
        }
    }

    /// Takes requests of a client that speaks `parlor.v1`.
    pub(super) fn with_requests(self, requests: Option<Box<Requests>>) -> Connection<S> {
        Connection { requests, ..self }
    }

    /// The queue of frames from others.
    pub(super) fn outbox(&self) -> Arc<Outbox> {
        self.outbox.clone()
    }

    /// Serves the connection to its end, leaves the room, and returns the socket for the close.
    pub(super) async fn run(mut self) -> (FramedStream<S>, CloseCause) {
        let cause = std::future::poll_fn(|context| self.poll(context)).await;
        if matches!(cause, CloseCause::Client) {
            self.handle.mark_closed_by_client();
        }
        let keeps_session = match cause {
            CloseCause::Server(code) => !code.ends_session(),
            CloseCause::Client => !matches!(self.client_code, NORMAL_CODE | GOING_AWAY_CODE),
            CloseCause::Network => true,
        };
        if keeps_session {
            self.handle.keep_session();
        }
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
            if let (Outcome::Requested, Some(requests)) = (outcome, &mut self.requests) {
                requests.start(&self.handle);
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
        let requests = self.requests.as_mut();
        requests.is_some_and(|requests| requests.is_waiting(&self.handle))
    }

    /// Sends pings. Ready when a pong or the token is overdue.
    fn poll_timers(&mut self, context: &mut Context<'_>) -> Poll<CloseCode> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            if self.expires.is_some_and(|at| at <= clock::now().unix) {
                return Poll::Ready(CloseCode::AuthenticationFailed);
            }
            if self.heartbeat.due <= now && self.heartbeat.waiting && self.is_waiting() {
                // The pong may be among the frames that are not read yet.
                self.heartbeat.due = now + self.heartbeat.timeout;
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
        match self.outbox.last_seq() {
            None => self.socket.get_mut().ping(&number),
            Some(seq) => {
                self.pinged_seq = seq;
                let payload = [&number[..], &seq.to_be_bytes()].concat();
                self.socket.get_mut().ping(&payload);
            }
        }
    }

    /// Whether the payload belongs to the outstanding ping.
    fn on_pong(&mut self, payload: &[u8]) -> bool {
        let number = match payload.get(..PING_NUMBER_BYTES) {
            Some(number) if self.is_extended => number,
            _ => payload,
        };
        if !self.heartbeat.on_pong(number) {
            return false;
        }
        self.set_timer();
        if self.is_extended {
            self.outbox.confirm();
            // The number of the ping and not that of the pong: a client that acknowledges nothing would get one ping
            // after the other.
            let within = self.outbox.acknowledge(self.pinged_seq);
            if let Some(within) = within {
                self.hasten_ping(within);
            }
        }
        true
    }

    /// Sends the next ping within this time.
    fn hasten_ping(&mut self, within: Duration) {
        if !self.heartbeat.waiting && within < self.heartbeat.interval {
            let due = Instant::now() + within;
            if due < self.heartbeat.due {
                self.heartbeat.due = due;
                self.set_timer();
            }
        }
    }

    fn set_timer(&mut self) {
        let next = next_deadline(&self.heartbeat, self.expires);
        self.timer.as_mut().reset(next);
    }
}

/// The timers of a connection. At each ping it also checks the wall clock, which may have been set.
fn next_deadline(heartbeat: &Heartbeat, expires: Option<u64>) -> Instant {
    let left = expires.map(|at| Duration::from_secs(at.saturating_sub(clock::now().unix)));
    let end = left.map(|left| Instant::now() + left.min(MAX_TIMER));
    end.map_or(heartbeat.due, |end| end.min(heartbeat.due))
}

impl Heartbeat {
    /// Sends the next ping, with the returned payload; `None` if the pong is overdue.
    fn tick(&mut self, now: Instant) -> Option<[u8; 4]> {
        if self.waiting {
            return None;
        }
        self.waiting = true;
        self.number = self.number.wrapping_add(1);
        self.due = now + self.timeout;
        Some(self.number.to_be_bytes())
    }

    /// Whether the payload belongs to the outstanding ping.
    fn on_pong(&mut self, payload: &[u8]) -> bool {
        let matches = self.waiting && payload == self.number.to_be_bytes();
        if matches {
            self.waiting = false;
            self.due = self.due - self.timeout + self.interval;
        }
        matches
    }
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
