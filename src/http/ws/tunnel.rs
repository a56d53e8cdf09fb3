//! Connections of clients whose session is on another node: this node passes the bytes on to that one, which serves the
//! connection as if it were its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::connection::Connection;
use super::resumption::{self, extended_ending, session_outbox};
use super::{Entered, Session, finish};
use crate::config::Signaling;
use crate::http::State;
use crate::ingress::{ConnectionPermit, Stream};
use crate::room::{CloseCode, NodeId};
use crate::service::{
    self, App, IncomingTunnel, TunnelRequest, TunnelStream, check_entered, room_access_of,
};
use crate::token::Claims;
use crate::url::Host;

/// Bytes that are copied at a time in each direction.
const COPY_BUFFER_BYTES: usize = 16 * 1024;

/// Added to the longest silence of the node with the session.
const SILENCE_MARGIN: Duration = Duration::from_secs(5);

/// A tunnel to the node that has the session of a client.
pub(super) struct Tunnel {
    node: NodeId,
    stream: TunnelStream,
}

impl Session {
    /// Opens a tunnel if the client resumes a session of another node. `None`: this node serves the client.
    ///
    /// # Errors
    /// The code of that node, or [`CloseCode::ConnectionError`] if it does not answer: the client may come again.
    pub(super) async fn open_tunnel(&self) -> Result<Option<Tunnel>, CloseCode> {
        let (Some(Ok(_)), Some(newcomer)) = (&self.verdict, &self.newcomer) else {
            return Ok(None);
        };
        let Some((session, seq)) = &newcomer.resume else {
            return Ok(None);
        };
        let Some(node) = self.app.hub.node_of_session(session).await else {
            return Ok(None);
        };
        let claims = newcomer.access.caller.claims.clone();
        let request = |tunnel| TunnelRequest {
            tunnel,
            room: self.room.clone(),
            is_own_token: claims.own,
            claims,
            host: newcomer.host.to_string(),
            session: session.clone(),
            seq: *seq,
        };
        let stream = self.app.open_tunnel(&node, request).await?;
        Ok(stream.map(|stream| Tunnel { node, stream }))
    }
}

impl Tunnel {
    /// Passes bytes on in both directions until one side has ended.
    pub(super) async fn forward(
        self,
        mut stream: Stream,
        early: Vec<u8>,
        app: &App,
        permit: &ConnectionPermit,
    ) {
        let Tunnel {
            node,
            stream: mut tunnel,
        } = self;
        let control = tunnel.control();
        let settings = app.settings();
        let signaling = &settings.config.signaling;
        let silence = silence_limit(signaling);
        let close_timeout = signaling.close_timeout;
        drop(settings);
        let copying = async {
            tunnel.write_all(&early).await?;
            let size = COPY_BUFFER_BYTES;
            copy_bidirectional_with_sizes(&mut stream, &mut tunnel, size, size).await
        };
        let evicted = async {
            permit.evicted().await;
            control.close(CloseCode::ConnectionError);
            // The other node closes the connection by then.
            sleep(2 * close_timeout).await;
        };
        // Without a close frame the client sees a lost connection, and comes again.
        tokio::select! {
            _ = copying => {}
            () = evicted => {}
            () = control.silent(silence) => {}
            () = app.hub.tunnel_lost(&node) => {}
        }
    }
}

/// The node with the session pings the client: longer silence is a failure.
fn silence_limit(settings: &Signaling) -> Duration {
    settings
        .ping_interval
        .saturating_add(settings.ping_timeout)
        .saturating_add(SILENCE_MARGIN)
}

/// Serves connections that other nodes pass on, until `shutdown`. Ends at once without other nodes.
pub(in crate::http) async fn accept_tunnels(state: Arc<State>, shutdown: CancellationToken) {
    let hub = &state.app.hub;
    if hub.link().is_none() {
        return;
    }
    while let Some(incoming) = shutdown.run_until_cancelled(hub.next_tunnel()).await {
        let span = tracing::debug_span!(
            "tunnel",
            node = &**incoming.node(),
            user = incoming.request.claims.sub,
            room = incoming.request.room,
        );
        hub.spawn(serve(state.clone(), incoming).instrument(span));
    }
}

/// Resumes a session, and serves its connection.
async fn serve(state: Arc<State>, incoming: IncomingTunnel) {
    let app = &state.app;
    let Some(link) = app.hub.link() else { return };
    let (outbox, handle, ending) = match resume(&state, &incoming).await {
        Ok(entered) => entered,
        Err(failure) => {
            tracing::debug!("tunnel refused");
            match failure {
                Failure::Refused => incoming.refuse(),
                Failure::Closed(code) => incoming.close(code),
            }
            return;
        }
    };
    let node = incoming.node().clone();
    let stream = incoming.accept(&app.hub, link);
    let control = stream.control();
    let settings = app.settings();
    let signaling = &settings.config.signaling;
    let open = Connection::open(
        stream,
        Vec::new(),
        outbox.clone(),
        handle,
        ending,
        signaling,
    );
    let connection = open.await;
    drop(settings);
    tracing::debug!("tunnel open");
    let mut running = std::pin::pin!(connection.run());
    let (framed, cause) = tokio::select! {
        biased;
        ended = running.as_mut() => ended,
        code = control.closing() => {
            outbox.close(code);
            running.await
        }
        () = app.hub.tunnel_lost(&node) => {
            control.reset();
            running.await
        }
    };
    finish(app, framed, cause).await;
}

/// The reason why a session is not resumed.
enum Failure {
    /// The other node decides whether the user may join.
    Refused,
    Closed(CloseCode),
}

/// Resumes a session of this node for a client of another one, which has checked the client's token.
async fn resume(state: &Arc<State>, incoming: &IncomingTunnel) -> Result<Entered, Failure> {
    let request = &incoming.request;
    let app = &state.app;
    let claims = Claims {
        own: request.is_own_token,
        ..request.claims.clone()
    };
    let host = Host::parse(&request.host).map_err(|_| Failure::Refused)?;
    let (room, token) = (&request.room, &request.session);
    let epoch = app.hub.epoch();
    let access = room_access_of(app, claims.clone(), room).await;
    // That the store fails ends no session.
    let access = access.map_err(|error| match service::close_code(error) {
        CloseCode::ConnectionError => Failure::Closed(CloseCode::ConnectionError),
        _ => Failure::Refused,
    })?;
    let admitted = service::admit(app, &access, room).map_err(|_| Failure::Refused)?;
    if app.hub.is_replaced(room, &admitted.user, token) {
        return Err(Failure::Closed(CloseCode::Replaced));
    }
    // After the store was read: the end of an old request has arrived by then.
    if incoming.is_abandoned(&app.hub) {
        return Err(Failure::Closed(CloseCode::ConnectionError));
    }
    let outbox = session_outbox(app, &admitted);
    let resumed = resumption::resume(app, room, &admitted, token, request.seq, &outbox);
    let mut handle = resumed.ok_or(if app.hub.is_restarting() {
        // The next process has the session.
        Failure::Closed(CloseCode::ConnectionError)
    } else {
        Failure::Refused
    })?;
    if app.hub.epoch() != epoch {
        // Access has changed since the verdict, possibly for this user.
        let checked = check_entered(app, &mut handle, &admitted.user, admitted.issue).await;
        checked.map_err(Failure::Closed)?;
    }
    let ending = extended_ending(state, &handle, &admitted.user, host, claims);
    Ok((outbox, handle, ending))
}
