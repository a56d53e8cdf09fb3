//! The relay's network I/O: sockets around the sans-IO server in [`crate::turn`].
//!
//! Each shard is a thread with sockets and a server of its own, and relays all its packets, over UDP and
//! over TCP. Tokio tasks only accept streams and follow this host's addresses. Which client may do what
//! is decided in `turn`.

mod acceptor;
mod address_list;
mod address_watch;
mod coalesce;
mod counters;
mod current_addresses;
pub mod descriptor_limit;
mod error;
mod external_ip;
#[cfg(test)]
mod fake_shard;
pub mod framer;
#[cfg(not(target_os = "linux"))]
mod getifaddrs;
mod handle;
mod handover;
mod inherited;
mod inter_shard;
mod lifecycle;
mod listeners;
pub mod local_addresses;
mod log_limits;
mod mailbox;
mod nat_discovery;
#[cfg(target_os = "linux")]
mod netlink;
mod options;
mod public_address;
mod relay_sockets;
mod send_queue;
mod settings;
mod shard;
pub mod sockets;
mod stream;
mod stream_table;
mod threads;
mod tls;
mod totals;
mod udp;
mod udp_listeners;

pub use crate::turn::Session;
pub use counters::RelayCollector;
pub use current_addresses::CurrentAddresses;
pub use error::RelayError;
pub use external_ip::{ExternalError, ExternalIps, Resolve};
pub use handle::{FreedCount, Handle};
pub use handover::{RelayHandover, State, inode};
pub use inherited::Inherited;
pub use lifecycle::Relay;
pub use listeners::{BoundListeners, bind};
pub use options::{Options, shard_count};
pub use threads::Ended;
pub use totals::RelayTotals;
pub use udp::{
    DescriptorQueue, MAX_DESCRIPTORS_PER_MESSAGE, receive_descriptors, send_descriptors,
};
