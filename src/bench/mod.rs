//! The load generator: what a TURN server carries, and how many calls this machine does.
//!
//! It speaks to its server over sockets alone, also where that is a parlor of its own. Everything it
//! does is bounded in time and number, and what it allocates is given back.

mod child;
mod client;
mod crew;
mod latency;
mod local;
mod login;
mod machine;
mod media;
mod progress;
mod relay;
mod schedule;
mod search;
mod target;
mod verdict;
mod wire;
mod worker;

pub use local::{Wish, run as local};
pub use login::Login;
pub use media::SMALLEST;
pub use relay::{Load, run as relay};
pub use target::Uri;
