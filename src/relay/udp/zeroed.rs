//! Zero-initialised structs of the socket API.

use std::mem;

use super::types::BATCH;

/// A type for which a value of all zero bytes is valid.
///
/// # Safety
///
/// Implementors are plain C structs whose fields are integers, raw pointers, or arrays of these.
pub(super) unsafe trait Zeroed: Sized {
    fn zeroed() -> Self {
        // SAFETY: implementors promise that all zero bytes are a valid value.
        unsafe { mem::zeroed() }
    }
}

// SAFETY: a raw pointer and an integer.
unsafe impl Zeroed for libc::iovec {}
// SAFETY: integers and byte arrays.
unsafe impl Zeroed for libc::sockaddr_storage {}
// SAFETY: raw pointers and integers.
unsafe impl Zeroed for libc::msghdr {}
// SAFETY: a `msghdr` and an integer.
unsafe impl Zeroed for libc::mmsghdr {}
// SAFETY: integers.
unsafe impl Zeroed for libc::in_pktinfo {}
// SAFETY: integers and a byte array.
unsafe impl Zeroed for libc::in6_pktinfo {}

/// One zeroed value for each datagram of a batch.
pub(super) fn zeroed_batch<T: Zeroed>() -> Box<[T]> {
    (0..BATCH).map(|_| T::zeroed()).collect()
}
