//! Requests of a `parlor.v1` connection that concern the store or the relay: those of the store have the checks, limits and errors of the HTTP
//! API.

use std::sync::{Arc, Mutex, PoisonError};

use tracing::Instrument as _;

use crate::http::State;
use crate::http::api;
use crate::http::error::Error;
use crate::room::{ClientRequest, Rejection};
use crate::service::{AuthError, PendingAnswer, RoomAccess, RoomHandle, room_access_of};
use crate::token::Claims;

/// Carries out the requests of a connection, one at a time.
pub(super) struct Requests {
    requester: Requester,
    /// Whether the connection waits for an answer, and reads no further frames.
    is_waiting: bool,
}

/// The caller of requests.
#[derive(Clone)]
pub(super) struct Requester {
    pub state: Arc<State>,
    pub room: Arc<str>,
    /// Of the current token.
    claims: Arc<Mutex<Claims>>,
}

impl Requests {
    /// Requests of the bearer of a token with these claims.
    pub(super) fn new(state: &Arc<State>, room: &Arc<str>, claims: Claims) -> Requests {
        Requests {
            requester: Requester {
                state: state.clone(),
                room: room.clone(),
                claims: Arc::new(Mutex::new(claims)),
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
        match self.carry_out(request, &pending).await {
            Ok(()) => pending.answer(Ok(())),
            Err(Error { code, detail, .. }) => pending.answer(Err(Rejection {
                code,
                message: &detail,
            })),
        }
    }

    async fn carry_out(
        &self,
        request: ClientRequest,
        pending: &PendingAnswer,
    ) -> Result<(), Error> {
        let (state, room) = (&self.state, &*self.room);
        match request {
            ClientRequest::Token { token } => self.renew_token(token.expose(), pending).await?,
            ClientRequest::Stats(streams) => {
                let user = self.claims().sub;
                state.app.record_reception(room, &user, &streams);
            }
            ClientRequest::Chat { content } => {
                let access = self.access().await?;
                api::post_message(state, access, room, content).await?;
            }
            ClientRequest::DeleteChat { id } => {
                let access = self.access().await?;
                api::delete_message(state, access, room, id).await?;
            }
            ClientRequest::Moderate(request) => {
                let access = self.access().await?;
                api::moderate(state, &access, room, request).await?;
            }
        }
        Ok(())
    }

    /// The caller's relation to the room now.
    async fn access(&self) -> Result<RoomAccess, Error> {
        let access = room_access_of(&self.state.app, self.claims(), &self.room).await;
        access.map_err(|error| self.rejected(error))
    }

    /// Counts a rejected token.
    pub(super) fn rejected(&self, error: AuthError) -> Error {
        let auth = &self.state.app.metrics.auth;
        auth.rejected("websocket", error.code());
        error.into()
    }

    pub(super) fn claims(&self) -> Claims {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.clone()
    }

    /// Later requests are made with these claims.
    pub(super) fn set_claims(&self, claims: Claims) {
        *self.claims.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }
}
