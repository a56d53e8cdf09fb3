//! The load generator: what a TURN server carries, and how many calls this machine does.
//!
//! It speaks to its server over sockets alone, also where that is a parlor of its own. Everything it
//! does is bounded in time and number, and what it allocates is given back.

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
