//! Requests of a `parlor.v1` connection that concern the store: they have the checks, limits and errors of the HTTP
//! API.

use std::sync::Arc;

use tracing::Instrument as _;

use crate::http::State;
use crate::http::api;
use crate::http::error::Error;
use crate::room::{ClientRequest, Rejection};
use crate::service::{PendingAnswer, RoomAccess, RoomHandle, room_access_of};
use crate::token::Claims;

/// Carries out the requests of a connection, one at a time.
pub(super) struct Requests {
    requester: Requester,
    /// Whether the connection waits for an answer, and reads no further frames.
    is_waiting: bool,
}

/// The caller of requests.
#[derive(Clone)]
struct Requester {
    state: Arc<State>,
    room: Arc<str>,
    claims: Arc<Claims>,
}

impl Requests {
    /// Requests of the bearer of a token with these claims.
    pub(super) fn new(state: &Arc<State>, room: &Arc<str>, claims: Claims) -> Requests {
        Requests {
            requester: Requester {
                state: state.clone(),
                room: room.clone(),
                claims: Arc::new(claims),
            },
            // An earlier connection of the session may have a request without an answer.
            is_waiting: true,
        }
    }

    /// Whether the connection has to wait for an answer before it reads on. It is woken then.
    pub(super) fn is_waiting(&mut self, handle: &RoomHandle) -> bool {
        self.is_waiting = self.is_waiting && handle.awaits_answer();
        self.is_waiting
    }

    /// Carries out the request of the last frame in a task of its own, which ends what it has begun even if the
    /// connection is lost.
    pub(super) fn start(&mut self, handle: &RoomHandle) {
        let Some((request, pending)) = handle.take_request() else {
            return;
        };
        self.is_waiting = true;
        let requester = self.requester.clone();
        let hub = requester.state.app.hub.clone();
        let work = async move { requester.answer(request, pending).await };
        hub.spawn(work.in_current_span());
    }
}

impl Requester {
    async fn answer(&self, request: ClientRequest, pending: PendingAnswer) {
        match self.carry_out(request).await {
            Ok(()) => pending.answer(Ok(())),
            Err(Error { code, detail, .. }) => pending.answer(Err(Rejection {
                code,
                message: &detail,
            })),
        }
    }

    async fn carry_out(&self, request: ClientRequest) -> Result<(), Error> {
        let access = self.access().await?;
        let (state, room) = (&self.state, &*self.room);
        match request {
            ClientRequest::Chat { content } => {
                api::post_message(state, access, room, content).await?;
            }
            ClientRequest::DeleteChat { id } => {
                api::delete_message(state, access, room, id).await?;
            }
            ClientRequest::Moderate(request) => {
                api::moderate(state, &access, room, request).await?;
            }
        }
        Ok(())
    }

    /// The caller's relation to the room now.
    async fn access(&self) -> Result<RoomAccess, Error> {
        let claims = Claims::clone(&self.claims);
        let access = room_access_of(&self.state.app, claims, &self.room).await;
        access.map_err(|error| {
            let auth = &self.state.app.metrics.auth;
            auth.rejected("websocket", error.code());
            error.into()
        })
    }
}
