//! Orders of certificates that several processes share.

use std::time::Duration;

/// The response to a challenge of an authority (RFC 8555 §8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeChallenge {
    /// TLS-ALPN-01, or else HTTP-01.
    pub is_tls_alpn: bool,
    /// A domain for TLS-ALPN-01, a token for HTTP-01.
    pub name: String,
    pub key_authorization: String,
}

/// The state of the orders, for every process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AcmeState {
    /// The open challenges of all orders, sorted.
    pub challenges: Vec<AcmeChallenge>,
    /// The version of the stored certificate; `None` without one.
    pub certificate: Option<i64>,
    /// Whether no process orders, and no attempt has to wait.
    pub may_order: bool,
    /// The reason of the last failure, and the time of the next attempt in Unix seconds.
    pub failure: Option<(String, u64)>,
}

/// The result of an order.
#[derive(Debug, Clone, Copy, Default)]
pub struct AcmeResult<'a> {
    /// The encrypted certificate, if one was issued.
    pub certificate: Option<&'a [u8]>,
    /// The time until the next attempt, the failures as JSON, and the reason.
    pub failure: Option<(Duration, &'a str, &'a str)>,
}

/// The kinds of stored values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeValue {
    Account,
    Certificate,
}
