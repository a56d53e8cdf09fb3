//! Reasons why a token is rejected.

use super::ids::USER_ID_RULE;

/// The reason why a token is rejected, as a sentence for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token is longer than 8 KiB, and was not read")]
    TooLong,
    #[error("the token is not a JWT")]
    Malformed,
    #[error("the token is encrypted (JWE): parlor takes signed ones (JWS) alone")]
    Encrypted,
    #[error(
        "the token's claims are not what they must be: `exp` and `nbf` are numbers, `rooms` is a \
         list of texts, and each claim stands there once"
    )]
    BadClaims,
    #[error("the token is signed with another algorithm than `auth.algorithm`")]
    WrongAlgorithm,
    #[error("the token's signature fits none of the configured keys")]
    BadSignature,
    #[error("the token names a key (`kid`) that its issuer does not publish at `auth.jwks_url`")]
    UnknownKey,
    #[error("the token demands extensions (`crit`) that parlor does not know")]
    UnknownExtension,
    #[error("the token has no expiry (`exp`)")]
    NoExpiry,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet (`nbf`)")]
    NotYetValid,
    #[error("the token's issuer (`iss`) is not `auth.issuer`")]
    WrongIssuer,
    #[error("the token's audience (`aud`) does not include `auth.audience`")]
    WrongAudience,
    #[error("the token's subject (`sub`) is not a user id: {USER_ID_RULE}")]
    BadSubject,
}

impl TokenError {
    /// Returns the code for metrics and logs.
    pub fn code(self) -> &'static str {
        match self {
            TokenError::TooLong => "too-long",
            TokenError::Malformed => "malformed",
            TokenError::Encrypted => "encrypted",
            TokenError::BadClaims => "bad-claims",
            TokenError::WrongAlgorithm => "wrong-algorithm",
            TokenError::BadSignature => "bad-signature",
            TokenError::UnknownKey => "unknown-key",
            TokenError::UnknownExtension => "unknown-extension",
            TokenError::NoExpiry => "no-expiry",
            TokenError::Expired => "expired",
            TokenError::NotYetValid => "not-yet-valid",
            TokenError::WrongIssuer => "wrong-issuer",
            TokenError::WrongAudience => "wrong-audience",
            TokenError::BadSubject => "bad-subject",
        }
    }
}
