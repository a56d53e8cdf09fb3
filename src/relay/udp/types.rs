//! Datagrams to send, metadata of received ones, and the sizes of batches.

use std::net::{IpAddr, SocketAddr};

/// Maximum number of datagrams in a batch.
pub(crate) const BATCH: usize = 64;

/// Maximum number of ICMP errors read from a socket in one call.
pub(crate) const MAX_ERRORS_PER_READ: usize = 16;

/// The largest UDP payload in bytes.
pub(super) const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Whether this system can send datagrams that are never fragmented.
pub(crate) const SUPPORTS_DONT_FRAGMENT: bool = cfg!(target_os = "linux");

/// The DSCP and ECN bits of a packet: the TOS byte of IPv4 or the traffic class of IPv6. 0 if unknown.
pub(crate) type Tos = u8;

/// The metadata of a filled slot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecvMeta {
    /// The source of the datagrams.
    pub addr: SocketAddr,
    /// The local address that they were sent to, on sockets with `IP_PKTINFO`.
    pub dst_ip: Option<IpAddr>,
    /// Bytes in the slot.
    pub len: usize,
    /// Bytes of each datagram in the slot; the last may be shorter. Equal to `len` for one datagram.
    pub stride: usize,
    pub tos: Tos,
}

/// A datagram to send.
#[derive(Clone, Copy)]
pub(crate) struct Transmit<'a> {
    pub contents: &'a [u8],
    pub destination: SocketAddr,
    /// The source address, for sockets that are bound to a wildcard.
    pub src_ip: Option<IpAddr>,
    pub tos: Tos,
}
