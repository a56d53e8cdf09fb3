//! The load generator: measures a TURN server, or how many calls this machine can carry.
//!
//! It reaches the server over sockets only, even a server that it started itself. Time and number of all
//! operations are limited, and all allocations are freed at the end.

mod client;
mod connection;
mod latency;
mod local;
mod login;
mod media;
mod progress;
mod relay;
mod report;
mod schedule;
mod search;
mod shared;
mod subprocess;
mod sysinfo;
mod target;
mod worker;
mod worker_pool;

pub use local::{LocalOptions, run as local};
pub use login::Login;
pub use media::MIN_PACKET_BYTES;
pub use relay::{RelayOptions, run as relay};
pub use target::Uri;
