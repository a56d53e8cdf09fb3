//! The token by which a client resumes its session: the number of the connection, a secret, and with several nodes the
//! node that has the session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};

use crate::room::{ConnectionId, ResumeSecret};

/// A token that resumes a session of one room.
pub(super) struct ResumeToken {
    pub connection: ConnectionId,
    pub secret: ResumeSecret,
    /// [`node_tag`] of the node, if there are several.
    pub node: Option<u64>,
}

impl ResumeToken {
    pub(super) fn parse(text: &str) -> Option<ResumeToken> {
        let mut parts = text.split('.');
        let (number, secret, node) = (parts.next()?, parts.next()?, parts.next());
        if parts.next().is_some() {
            return None;
        }
        let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
        let node = match node {
            Some(tag) => Some(u64::from_str_radix(tag, 16).ok()?),
            None => None,
        };
        Some(ResumeToken {
            connection: ConnectionId::new(number.parse().ok()?)?,
            secret: secret.try_into().ok()?,
            node,
        })
    }

    pub(super) fn to_text(&self) -> String {
        let secret = URL_SAFE_NO_PAD.encode(self.secret);
        let node = self.node.map_or(String::new(), |tag| format!(".{tag:x}"));
        format!("{}.{secret}{node}", self.connection.number())
    }
}

/// A number that stands for the name of a node: the beginning of its SHA-1, which the scripts in Redis can compute, too.
/// A client does not learn the name, which often is that of a host.
pub(super) fn node_tag(name: &str) -> u64 {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes());
    let first = hash.as_ref().first_chunk::<8>();
    first.map_or(0, |bytes| u64::from_be_bytes(*bytes))
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
        for node in [None, Some(node_tag("one"))] {
            let token = ResumeToken {
                connection,
                secret,
                node,
            };
            let text = token.to_text();
            let parsed = ResumeToken::parse(&text).expect("a token");
            assert_eq!((parsed.connection, parsed.secret), (connection, secret));
            assert_eq!(parsed.node, node);
            let longer = format!("{text}.x");
            assert!(ResumeToken::parse(&longer).is_none(), "{longer}");
        }
        assert_ne!(random_secret(), secret);
        // As `printf one | sha1sum` shows.
        assert_eq!(node_tag("one"), 0xfe05bcdcdc492801);
        let short = "7.AAAAAAAAAAAAAAAAAAAA";
        for other in ["", ".", "7", "0.AAAAAAAAAAAAAAAAAAAAAA", "x.AAAA", short] {
            assert!(ResumeToken::parse(other).is_none(), "{other}");
        }
    }
}
