//! The token by which a client resumes its session: the number of the connection, and a secret.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

use crate::room::{ConnectionId, ResumeSecret};

/// A token that resumes a session of one room.
pub(super) struct ResumeToken {
    pub connection: ConnectionId,
    pub secret: ResumeSecret,
}

impl ResumeToken {
    pub(super) fn parse(text: &str) -> Option<ResumeToken> {
        let (number, secret) = text.split_once('.')?;
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        Some(ResumeToken {
            connection: ConnectionId::new(number.parse().ok()?)?,
            secret: secret.try_into().ok()?,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        format!("{}.{secret}", self.connection.number())
    }
}

/// A secret of a new token.
pub(super) fn random_secret() -> ResumeSecret {
    let mut secret = ResumeSecret::default();
    // Linux cannot fail here once it is up; a predictable secret would be worse than none.
    SystemRandom::new()
        .fill(&mut secret)
        .expect("the system gives out random bytes");
    secret
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_parsed_to_its_parts_and_other_texts_to_none() {
        let connection = ConnectionId::new(7).expect("a number");
        let secret = random_secret();
        let text = ResumeToken { connection, secret }.to_text();
        let parsed = ResumeToken::parse(&text).expect("a token");
        assert_eq!((parsed.connection, parsed.secret), (connection, secret));
        assert_ne!(random_secret(), secret);
        let short = &text[..text.len() - 2];
        for other in ["", ".", "7", "0.AAAAAAAAAAAAAAAAAAAAAA", "x.AAAA", short] {
            assert!(ResumeToken::parse(other).is_none(), "{other}");
        }
    }
}
