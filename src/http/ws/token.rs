//! The frame `token`: another token for the rest of the session.

use hyper::StatusCode;

use super::requests::Requester;
use crate::http::api;
use crate::http::error::Error;
use crate::service::{PendingAnswer, TokenRefusal, check_successor, replace_token};

impl Requester {
    /// Replaces the token of the connection. After an error the earlier one stays.
    pub(super) async fn renew_token(
        &self,
        token: &str,
        pending: &PendingAnswer,
    ) -> Result<(), Error> {
        let (app, held) = (&self.state.app, self.claims());
        let access = check_successor(app, &held, token, &self.room).await;
        let access = access.map_err(|refusal| match refusal {
            TokenRefusal::OtherUser => other_user(),
            TokenRefusal::Auth(error) => self.rejected(error),
        })?;
        // For the error that fits; the application decides.
        api::require_participant(&access, &self.room)?;
        let replaced = replace_token(app, &access, &self.room, pending).await;
        replaced.map_err(|_| api::not_a_participant())?;
        self.set_claims(access.caller.claims);
        Ok(())
    }
}

fn other_user() -> Error {
    Error::new(
        StatusCode::FORBIDDEN,
        "other-user",
        "The token is of another user than the session",
    )
}
