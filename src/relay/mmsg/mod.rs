//! Datagrams in batches, in and out. The only unsafe code of the house is in this directory.
//!
//! Nothing is allocated after start. A batch is received into slots with room around each
//! datagram, so that headers can be written in place and the same bytes sent on.
//!
//! Linux takes a batch in one call (`recvmmsg`, `sendmmsg`), and equal datagrams for one
//! destination as one message that it cuts up itself (`UDP_SEGMENT`). Everywhere else `plain` is
//! behind the same seam.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod address;
#[cfg(target_os = "linux")]
mod control;
#[cfg(any(test, not(target_os = "linux")))]
mod plain;
#[cfg(target_os = "linux")]
mod runs;
#[cfg(target_os = "linux")]
mod sender;
#[cfg(target_os = "linux")]
mod slots;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use crate::turn::{HEADROOM, TAILROOM};

#[cfg(not(target_os = "linux"))]
pub use plain::{Sender, Slots};
#[cfg(target_os = "linux")]
pub use sender::Sender;
#[cfg(target_os = "linux")]
pub use slots::Slots;

/// Datagrams in a batch.
pub const BATCH: usize = 64;

/// The largest payload of UDP.
const DATAGRAM: usize = 65_535;

/// From slot to slot. One cache line more than a power of two, or all slots would compete for the
/// same sets of the cache.
const STRIDE: usize = (HEADROOM + DATAGRAM + TAILROOM).next_multiple_of(64) + 64;

/// Where a received datagram came from, and which address it was sent to.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    pub from: SocketAddr,
    /// Known on sockets with `IP_PKTINFO`, where the system can tell.
    pub to: Option<IpAddr>,
    /// Bytes of the datagram.
    pub len: usize,
}

/// A datagram to send.
#[derive(Clone, Copy)]
pub struct Outgoing<'a> {
    pub bytes: &'a [u8],
    pub to: SocketAddr,
    /// The source address to use, on sockets bound to a wildcard.
    pub from: Option<IpAddr>,
}

/// The bytes of all slots.
struct Room(Box<[u8]>);

impl Room {
    fn new() -> Room {
        Room(vec![0; STRIDE * BATCH].into_boxed_slice())
    }

    fn slot(&self, index: usize) -> &[u8] {
        &self.0[index * STRIDE..][..STRIDE]
    }

    fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        &mut self.0[index * STRIDE..][..STRIDE]
    }
}

#[cfg(target_os = "linux")]
fn zeroed_slice<T>() -> Box<[T]> {
    // SAFETY: used for plain C structs of the socket API alone, for which all zeroes is valid.
    (0..BATCH).map(|_| unsafe { std::mem::zeroed() }).collect()
}
