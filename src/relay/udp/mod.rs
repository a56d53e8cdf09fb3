//! Batched UDP I/O. All unsafe code of the project is in this directory.
//!
//! Nothing is allocated after start. A batch is received into slots that have free bytes around each
//! datagram, so that headers are written in place and the same bytes are sent on.
//!
//! Linux receives and sends a batch with one system call (`recvmmsg`, `sendmmsg`). Equally long
//! datagrams for one destination are sent as one message that the kernel splits (GSO,
//! `UDP_SEGMENT`), and equally long datagrams of one sender may arrive in one slot (GRO,
//! `UDP_GRO`). On other systems, `fallback` offers the same interface.
#![allow(unsafe_code)]

#[cfg(target_os = "linux")]
mod address;
#[cfg(target_os = "linux")]
mod batch;
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
mod gso_support;
#[cfg(target_os = "linux")]
mod recv;
mod scm_rights;
#[cfg(target_os = "linux")]
mod send;
#[cfg(test)]
mod tests;
mod types;
#[cfg(target_os = "linux")]
mod zeroed;

#[cfg(target_os = "linux")]
pub(super) use dont_fragment::allow_fragmentation;
#[cfg(target_os = "linux")]
pub(super) use drops::receive_drops;
#[cfg(target_os = "linux")]
pub(super) use errqueue::ErrorQueue;
#[cfg(not(target_os = "linux"))]
pub use fallback::{ErrorQueue, Receiver, Sender, receive_drops};
#[cfg(target_os = "linux")]
pub(super) use recv::Receiver;
#[cfg(target_os = "linux")]
pub(super) use send::Sender;

pub(super) use buffer::Buffer;
pub use scm_rights::{
    DescriptorQueue, MAX_DESCRIPTORS_PER_MESSAGE, receive_descriptors, send_descriptors,
};
pub(super) use types::{
    BATCH, MAX_ERRORS_PER_READ, RecvMeta, SUPPORTS_DONT_FRAGMENT, Tos, Transmit,
};
