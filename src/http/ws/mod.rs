//! The WebSocket edge: opens, serves and closes connections.
//!
//! The upgrade is always completed, and a rejection is a close frame after it, because a browser shows
//! its page no other response.

mod abandoned;
mod authentication;
mod connection;
#[cfg(test)]
mod flood_tests;
mod frame_validator;
mod framing;
mod graceful_close;
mod greeting;
mod handshake;
mod heartbeat;
mod queued_frame;
mod renewal;
mod requests;
mod resumption;
mod token;
mod tunnel;

use std::sync::Arc;

use hyper::Method;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::Instrument as _;
use tracing::field::Empty;

use self::abandoned::is_abandoned;
use self::authentication::admit;
use self::connection::{CloseCause, Connection, Ending};
use self::framing::FramedStream;
use self::graceful_close::close_gracefully;
use self::greeting::Newcomer;
use self::resumption::{extended_ending, resume, session_outbox};
use super::api;
use super::error::Error;
use super::request::Request;
use super::response::Response;
use super::route::Route;
use super::state::State;
use super::write_timeout::WriteTimeout;
use crate::ingress::ConnectionPermit;
use crate::ingress::Stream;
use crate::room::{CloseCode, Greeting};
use crate::service::{
    Admitted, App, Entrance, LiveState, Outbox, RoomHandle, ShownRoom, check_entered, close_code,
};

pub(in crate::http) use tunnel::accept_tunnels;

pub(super) fn routes() -> Vec<Route> {
    vec![Route::new(Method::GET, "/api/ws/rooms/{room}", |r| {
        Box::pin(open(r))
    })]
}

/// Answers the handshake, and serves the connection in a task of its own.
async fn open(mut request: Request) -> Result<Response, Error> {
    let is_extended = handshake::offers_extended(&request);
    let response = handshake::accept(&request, is_extended)?;
    let host = is_extended.then(|| api::ice_host(&request)).transpose()?;
    let upgrade = request.upgrade().ok_or_else(Error::internal)?;
    let (app, room) = (request.app.clone(), request.param("room").to_owned());
    let permit = request.permit.clone();
    permit.set_websocket();
    // Outlives the request: a child of the connection's span.
    let span = tracing::debug_span!(
        parent: &request.connection_span,
        "websocket",
        user = Empty,
        room
    );
    let epoch = app.hub.epoch();
    // A draining server checks no token: the next server reports permanent errors as well.
    let verdict = if app.hub.is_draining() {
        Err(CloseCode::Restarting)
    } else {
        let admitting = admit(&request, &room, &span);
        admitting.instrument(span.clone()).await
    };
    let (verdict, newcomer) = match verdict {
        Err(code) => (Err(code), None),
        Ok((admitted, access)) => {
            let seq = request.query("seq").and_then(|seq| seq.parse().ok());
            let resume = request.query("session").zip(seq);
            let newcomer = host.map(|host| {
                Box::new(Newcomer {
                    host,
                    access,
                    resume,
                })
            });
            (Ok(admitted), newcomer)
        }
    };
    let session = Session {
        app: app.clone(),
        state: request.state.clone(),
        room,
        resume: request.query("resume").as_deref() == Some("1"),
        accepts_notices: request.query("notices").as_deref() == Some("1"),
        verdict: Some(verdict),
        newcomer,
        epoch,
        permit,
    };
    app.hub.spawn(session.run(upgrade).instrument(span));
    Ok(response)
}

/// The queue of a connection in a room, its place there, and the end of its token.
type Entered = (Arc<Outbox>, RoomHandle, Ending);

/// A connection from its upgrade to its end.
struct Session {
    app: Arc<App>,
    state: Arc<State>,
    room: String,
    /// Whether it resumes a connection from before a restart.
    resume: bool,
    /// Whether the client expects messages that the plain protocol does not have.
    accepts_notices: bool,
    /// Until the connection has entered the room.
    verdict: Option<Result<Admitted, CloseCode>>,
    /// If the client speaks `parlor.v1`, until the connection has entered the room.
    newcomer: Option<Box<Newcomer>>,
    /// The epoch of the hub before the verdict.
    epoch: u64,
    permit: ConnectionPermit,
}

impl Session {
    async fn run(mut self, upgrade: OnUpgrade) {
        let Some((mut stream, mut early)) = socket(upgrade).await else {
            return;
        };
        if is_abandoned(&mut stream, &mut early).await {
            tracing::debug!("WebSocket given up by the client");
            return;
        }
        stream.limit_unsent();
        // The futures that are boxed here do not last as long as the connection: in the task, they would double its
        // memory.
        match Box::pin(self.open_tunnel()).await {
            Ok(None) => {}
            Ok(Some(tunnel)) => {
                tracing::debug!("WebSocket passed on to the node of its session");
                let forwarding = tunnel.forward(stream, early, &self.app, &self.permit);
                return Box::pin(forwarding).await;
            }
            Err(code) => self.verdict = Some(Err(code)),
        }
        let (framed, cause) = match Box::pin(self.handle()).await {
            Ok((outbox, handle, ending)) => {
                let settings = self.app.settings();
                let signaling = &settings.config.signaling;
                let open = Connection::open(stream, early, outbox, handle, ending, signaling);
                let connection = Box::pin(open).await;
                // Not kept for the life of the connection.
                drop(settings);
                tracing::debug!("WebSocket admitted");
                self.run_until_evicted(connection).await
            }
            Err(code) => (FramedStream::new(stream), CloseCause::Server(code)),
        };
        Box::pin(finish(&self.app, framed, cause)).await;
        drop(self.permit);
    }

    /// Serves the connection to its end, and closes it if it is evicted.
    async fn run_until_evicted(
        &self,
        connection: Box<Connection<Stream>>,
    ) -> (FramedStream<Stream>, CloseCause) {
        let outbox = connection.outbox();
        let mut running = std::pin::pin!(connection.run());
        tokio::select! {
            biased;
            ended = running.as_mut() => return ended,
            () = self.permit.evicted() => outbox.close(CloseCode::ConnectionError),
        }
        running.await
    }

    /// Joins the room.
    async fn handle(&mut self) -> Result<Entered, CloseCode> {
        let verdict = self.verdict.take().ok_or(CloseCode::ConnectionError)?;
        let admitted = verdict?;
        let (user, issue) = (admitted.user.clone(), admitted.issue);
        let (outbox, mut handle, ending) = match self.newcomer.take() {
            Some(newcomer) => {
                let host = newcomer.host.clone();
                let claims = newcomer.access.caller.claims.clone();
                let (outbox, handle) = self.enter_extended(admitted, *newcomer).await?;
                let ending = extended_ending(&self.state, &handle, &user, host, claims);
                (outbox, handle, ending)
            }
            None => {
                let max_queue = self.app.settings().config.signaling.max_queue;
                let outbox = Outbox::new(max_queue).with_notices(self.accepts_notices);
                let expires = (!admitted.outlives_token).then_some(admitted.token_end);
                let (outbox, handle) =
                    self.enter(admitted, Arc::new(outbox), None, LiveState::default())?;
                (outbox, handle, Ending::Plain(expires))
            }
        };
        handle.entered().await?;
        self.app.learn_relay(&self.room);
        if self.app.hub.epoch() != self.epoch {
            // Access has changed since the verdict, possibly for this user.
            check_entered(&self.app, &mut handle, &user, issue).await?;
        }
        Ok((outbox, handle, ending))
    }

    fn enter(
        &self,
        admitted: Admitted,
        outbox: Arc<Outbox>,
        greeting: Option<Greeting>,
        live: LiveState,
    ) -> Result<(Arc<Outbox>, RoomHandle), CloseCode> {
        let entrance = Entrance {
            user: &admitted.user,
            issue: admitted.issue,
            profile: Some(admitted.profile),
            resume: self.resume,
            greeting,
            live,
            is_token_admin: admitted.is_token_admin,
        };
        let handle = self.app.hub.join(&self.room, entrance, &outbox)?;
        Ok((outbox, handle))
    }

    /// Resumes a session, or begins one.
    async fn enter_extended(
        &self,
        admitted: Admitted,
        newcomer: Newcomer,
    ) -> Result<(Arc<Outbox>, RoomHandle), CloseCode> {
        let outbox = session_outbox(&self.app, &admitted);
        if let Some((token, _)) = &newcomer.resume
            && (self.app.hub).is_replaced(&self.room, &admitted.user, token)
        {
            return Err(CloseCode::Replaced);
        }
        if let Some((token, seq)) = &newcomer.resume
            && let Some(handle) = resume(&self.app, &self.room, &admitted, token, *seq, &outbox)
        {
            return Ok((outbox, handle));
        }
        let last = self.app.store.last_message(&self.room).await;
        let live = LiveState {
            last_message: Some(last.map_err(|error| close_code(error.into()))?),
            room: newcomer.access.room.as_ref().map(ShownRoom::new),
        };
        let (greeting, renewal) = newcomer.greeting(&self.app).await;
        outbox.renew_ice_at(renewal);
        self.enter(admitted, outbox, Some(greeting), live)
    }
}

/// Closes a connection that has ended.
async fn finish<S: AsyncRead + AsyncWrite + Unpin>(
    app: &App,
    mut framed: FramedStream<S>,
    cause: CloseCause,
) {
    let (code, by) = match cause {
        CloseCause::Server(code) => (Some(code.code()), "server"),
        CloseCause::Client => (None, "client"),
        CloseCause::Network => (None, "network"),
    };
    tracing::debug!(code, by, "WebSocket ended");
    match cause {
        CloseCause::Network => return,
        CloseCause::Client => {}
        CloseCause::Server(code) => {
            app.hub.count_close(code);
            framed.close(code);
        }
    }
    let close_timeout = app.settings().config.signaling.close_timeout;
    close_gracefully(framed, close_timeout).await;
}

/// The stream under an upgrade, and what the client sent early. hyper's own buffers go.
async fn socket(upgrade: OnUpgrade) -> Option<(Stream, Vec<u8>)> {
    let Parts { io, read_buf, .. } = upgrade
        .await
        .ok()?
        .downcast::<TokioIo<WriteTimeout<Stream>>>()
        .ok()?;
    let (stream, unread) = io.into_inner().into_inner();
    Some((stream, [read_buf, unread].concat()))
}
