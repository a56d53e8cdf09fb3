//! Datagrams in batches, in and out. The only unsafe code of the house is in this directory.
//!
//! Nothing is allocated after start. A batch is received into slots with room around each
//! datagram, so that headers can be written in place and the same bytes sent on.
//!
//! Linux takes a batch in one call (`recvmmsg`, `sendmmsg`), and equal datagrams for one
//! destination as one message that it cuts up itself (`UDP_SEGMENT`). Equal ones of one sender may
//! come in one slot, too (`UDP_GRO`): whoever receives cuts them. Everywhere else `fallback` is behind
//! the same seam.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod address;
mod buffer;
#[cfg(target_os = "linux")]
mod cmsg;
#[cfg(target_os = "linux")]
mod dont_fragment;
#[cfg(target_os = "linux")]
mod drops;
#[cfg(target_os = "linux")]
mod errqueue;
#[cfg(any(test, not(target_os = "linux")))]
mod fallback;
#[cfg(target_os = "linux")]
mod gso;
#[cfg(target_os = "linux")]
mod recv;
mod scm_rights;
#[cfg(target_os = "linux")]
mod send;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

#[cfg(target_os = "linux")]
pub use dont_fragment::allow_fragmentation;
#[cfg(target_os = "linux")]
pub use drops::receive_drops;
#[cfg(target_os = "linux")]
pub use errqueue::ErrorQueue;
#[cfg(not(target_os = "linux"))]
pub use fallback::{ErrorQueue, Receiver, Sender, receive_drops};
#[cfg(target_os = "linux")]
pub use recv::Receiver;
#[cfg(target_os = "linux")]
pub use send::Sender;

pub use buffer::Buffer;
pub use scm_rights::{
    DescriptorQueue, MAX_DESCRIPTORS_PER_MESSAGE, receive_descriptors, send_descriptors,
};

/// Datagrams in a batch.
pub const BATCH: usize = 64;

/// Errors of earlier datagrams that are taken from a socket at once.
pub const MAX_ERRORS_PER_READ: usize = 16;

/// The largest payload of UDP.
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Whether a datagram can be kept from being cut into fragments.
pub const SUPPORTS_DONT_FRAGMENT: bool = cfg!(target_os = "linux");

/// Where what is in a slot came from, and which address it was sent to.
#[derive(Debug, Clone, Copy)]
pub struct RecvMeta {
    pub addr: SocketAddr,
    /// Known on sockets with `IP_PKTINFO`, where the system can tell.
    pub dst_ip: Option<IpAddr>,
    /// Bytes in the slot.
    pub len: usize,
    /// Bytes of each datagram there but the last, which has what is left: `len` where there is one.
    pub stride: usize,
    pub tos: Tos,
}

/// DSCP and ECN of a packet, as its header has them: the TOS byte of IPv4, the traffic class of IPv6.
/// 0 where it has none, and where they are not known.
pub type Tos = u8;

/// A datagram to send.
#[derive(Clone, Copy)]
pub struct Transmit<'a> {
    pub contents: &'a [u8],
    pub destination: SocketAddr,
    /// The source address to use, on sockets bound to a wildcard.
    pub src_ip: Option<IpAddr>,
    pub tos: Tos,
}

#[cfg(target_os = "linux")]
fn zeroed_slice<T>() -> Box<[T]> {
    // SAFETY: used for plain C structs of the socket API alone, for which all zeroes is valid.
    (0..BATCH).map(|_| unsafe { std::mem::zeroed() }).collect()
}
