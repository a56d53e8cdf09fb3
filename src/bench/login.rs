//! Who the clients are: each a user of its own where a secret mints them, or all the same one.

use crate::clock;
use crate::credential::{Credentials, Minted};
use crate::secret::Secret;

/// How long a minted credential is good for: longer than any run, in seconds.
const CREDENTIAL_TTL_SECONDS: u64 = 3600;

#[derive(Clone)]
pub enum Login {
    /// The server's `turn.secret` (coturn's `static-auth-secret`).
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

    /// Of the client with this number. With a secret nobody shares a quota with another client.
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
