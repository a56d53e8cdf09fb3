//! The credentials of the clients: a user per client if the secret is known, else the same user for all.

use crate::clock;
use crate::credential::{Credentials, Minted};
use crate::secret::Secret;

/// Validity of a credential: longer than any run.
const CREDENTIAL_TTL_SECONDS: u64 = 3600;

#[derive(Clone)]
pub enum Login {
    /// Credentials from the server's `turn.secret` (coturn's `static-auth-secret`).
    Secret {
        credentials: Credentials,
        until: u64,
    },
    /// One name and password, known to the server.
    Fixed { username: String, password: Secret },
}

impl Login {
    pub fn minted_by(secret: &Secret) -> Login {
        Login::Secret {
            credentials: Credentials::new(secret, &[]),
            until: clock::now().unix + CREDENTIAL_TTL_SECONDS,
        }
    }

    /// Returns the credential of a client. With a secret, no two clients share a quota.
    pub fn of(&self, client: usize) -> Minted {
        match self {
            Login::Secret { credentials, until } => {
                credentials.mint(&format!("bench-{client}"), None, *until)
            }
            Login::Fixed { username, password } => Minted {
                username: username.clone(),
                credential: password.expose().to_owned(),
            },
        }
    }
}
