//! The ingress of every TCP listener: accept, PROXY header, TLS, protocol detection, limits.
//!
//! [`run`] takes each connection through these steps and delivers an [`Accepted`] to its [`Service`]:
//!
//! 1. accept(2), with a pause while the process has no free descriptor ([`listener`])
//! 2. a permit by the service's [`ConnectionAdmission`]: [`ConnectionLimit`] for HTTP, [`AdmissionLimits`] for TURN
//! 3. the PROXY header of a trusted proxy, which names the client ([`proxy_protocol`])
//! 4. the limit of the client's source
//! 5. the first byte, the TLS handshake and ALPN, which decide the protocol ([`mux`])
//!
//! [`limits`] has every limit and timeout in one table. A connection that fails a step is closed, counted
//! by its [`RejectReason`] and logged once. The ingress knows neither HTTP nor TURN beyond their first
//! byte, and opens no listener itself: sockets come from the configuration, a service manager or the
//! previous process.

mod accepted;
pub mod connection_limit;
pub mod limits;
pub mod listener;
pub mod mux;
mod pending;
mod permits;
pub mod proxy_protocol;
mod reject;
mod stream;
mod stream_limit;
mod tls;

pub use accepted::{Accepted, Protocol};
pub use connection_limit::{ConnectionLimit, ConnectionPermit};
pub use limits::{Limits, LiveLimits};
pub use listener::{Service, reject, run};
pub use mux::ListenerMode;
pub use permits::ConnectionAdmission;
pub use reject::{AcceptError, RejectCounters, RejectReason};
pub use stream::Stream;
pub use stream_limit::{AdmissionLimits, StreamPermit};
