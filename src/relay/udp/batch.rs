//! A batch of datagrams as the message headers of `sendmmsg`.
//!
//! The headers hold raw pointers to the datagrams' bytes. [`Batch`] borrows these bytes, and the
//! buffers with the headers, for as long as it lives. [`Messages`] is the only access to the headers
//! and borrows the batch. So the compiler rejects every use of a header after its datagram is gone.

use std::io;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use super::address;
use super::cmsg::CmsgBuffer;
use super::gso::GsoGroups;
use super::types::{BATCH, Tos, Transmit};
use super::zeroed::zeroed_batch;

/// The memory of batches, allocated once. Between two batches its pointers dangle, and nothing reads
/// them: every batch starts without messages.
pub(super) struct BatchBuffers {
    groups: GsoGroups,
    /// The contents of the datagrams, in the order in which they were added.
    contents: Box<[libc::iovec]>,
    /// The same, ordered by group: the contents of one message must be adjacent.
    grouped: Box<[libc::iovec]>,
    // One element of each of the following for a group.
    addresses: Box<[libc::sockaddr_storage]>,
    controls: Box<[CmsgBuffer]>,
    /// Used bytes of `controls`, without the segment size.
    control_lens: [u8; BATCH],
    src_ips: [Option<IpAddr>; BATCH],
    tos_values: [Tos; BATCH],
    headers: Box<[libc::mmsghdr]>,
    /// The datagrams of a group whose message was refused.
    singles: Box<[libc::mmsghdr]>,
}

// SAFETY: the pointers inside are used by a `Batch` only, which borrows the buffers exclusively, and
// writes each pointer before it is used.
unsafe impl Send for BatchBuffers {}

/// A batch that is ready to be submitted. It borrows the contents of its datagrams for `'a`.
pub(super) struct Batch<'a> {
    buffers: &'a mut BatchBuffers,
    contents: PhantomData<&'a [u8]>,
}

/// Message headers. Every pointer in them is valid for reads during `'m`, with its length.
pub(super) struct Messages<'m>(&'m mut [libc::mmsghdr]);

impl BatchBuffers {
    pub(super) fn new() -> BatchBuffers {
        BatchBuffers {
            groups: GsoGroups::new(),
            contents: zeroed_batch(),
            grouped: zeroed_batch(),
            addresses: zeroed_batch(),
            controls: vec![CmsgBuffer::EMPTY; BATCH].into_boxed_slice(),
            control_lens: [0; BATCH],
            src_ips: [None; BATCH],
            tos_values: [0; BATCH],
            headers: zeroed_batch(),
            singles: zeroed_batch(),
        }
    }

    /// Makes a batch of up to [`BATCH`] datagrams. `use_gso` combines those that allow it.
    pub(super) fn fill<'b, 'a: 'b>(
        &'b mut self,
        datagrams: impl Iterator<Item = Transmit<'a>>,
        use_gso: bool,
    ) -> Batch<'b> {
        self.groups.clear();
        let mut batch = Batch {
            buffers: self,
            contents: PhantomData,
        };
        for (index, datagram) in datagrams.take(BATCH).enumerate() {
            batch.add(index, &datagram, use_gso);
        }
        if !batch.buffers.groups.all_single() {
            batch.combine_groups();
        }
        batch
    }
}

impl<'a> Batch<'a> {
    /// The messages that the datagrams are sent as.
    pub(super) fn groups(&self) -> &GsoGroups {
        &self.buffers.groups
    }

    /// The messages of some groups.
    pub(super) fn messages(&mut self, groups: Range<usize>) -> Messages<'_> {
        // Headers past the groups of this batch hold pointers of an earlier one.
        assert!(groups.end <= self.buffers.groups.len());
        Messages(&mut self.buffers.headers[groups])
    }

    /// A message for each datagram of a group.
    pub(super) fn single_messages(&mut self, group: usize) -> Messages<'_> {
        let buffers = &mut *self.buffers;
        let groups = &buffers.groups;
        // Only groups of a batch with combined datagrams have their contents in `grouped`.
        assert!(group < groups.len() && !groups.all_single());
        let start: usize = (0..group).map(|group| groups.datagrams_in(group)).sum();
        let count = groups.datagrams_in(group);
        let contents = &mut buffers.grouped[start..][..count];
        for (single, contents) in buffers.singles.iter_mut().zip(contents) {
            *single = buffers.headers[group];
            single.msg_hdr.msg_iov = contents;
            single.msg_hdr.msg_iovlen = 1;
            // The segment size is the last control message: this length leaves it out.
            single.msg_hdr.msg_controllen = buffers.control_lens[group] as _;
        }
        Messages(&mut buffers.singles[..count])
    }

    fn add(&mut self, index: usize, datagram: &Transmit<'a>, use_gso: bool) {
        let buffers = &mut *self.buffers;
        buffers.contents[index] = libc::iovec {
            iov_base: datagram.contents.as_ptr().cast_mut().cast(),
            iov_len: datagram.contents.len(),
        };
        let len = datagram.contents.len();
        let (to, src_ip, tos) = (datagram.destination, datagram.src_ip, datagram.tos);
        let (addresses, src_ips) = (&buffers.addresses, &buffers.src_ips);
        let tos_values = &buffers.tos_values;
        let is_same = |group: usize| {
            address::is(&addresses[group], to)
                && src_ips[group] == src_ip
                && tos_values[group] == tos
        };
        let group = if use_gso {
            buffers.groups.add(to, len, is_same)
        } else {
            Some(buffers.groups.add_single(len))
        };
        if let Some(group) = group {
            buffers.write_header(group, index, datagram);
        }
    }

    /// Sorts the contents by group, and adds the segment size to groups of several datagrams.
    fn combine_groups(&mut self) {
        let buffers = &mut *self.buffers;
        let groups = &buffers.groups;
        let mut ends = [0; BATCH];
        let mut end = 0;
        for (group, start) in ends[..groups.len()].iter_mut().enumerate() {
            *start = end;
            end += groups.datagrams_in(group);
        }
        for (contents, group) in buffers.contents.iter().zip(groups.group_of_each()) {
            let end = &mut ends[usize::from(*group)];
            buffers.grouped[*end] = *contents;
            *end += 1;
        }
        for (group, end) in ends[..groups.len()].iter().enumerate() {
            let datagrams = groups.datagrams_in(group);
            if datagrams > 1 {
                let used = usize::from(buffers.control_lens[group]);
                let control = &mut buffers.controls[group];
                let used = control.add_segment_size(used, groups.segment_size(group));
                let header = &mut buffers.headers[group].msg_hdr;
                header.msg_iov = buffers.grouped[end - datagrams..].as_mut_ptr();
                header.msg_iovlen = datagrams as _;
                header.msg_control = control.as_mut_ptr();
                header.msg_controllen = used as _;
            }
        }
    }
}

impl BatchBuffers {
    /// Writes the header of a group whose first datagram has its contents at `index`.
    fn write_header(&mut self, group: usize, index: usize, datagram: &Transmit<'_>) {
        let (to, src_ip, tos) = (datagram.destination, datagram.src_ip, datagram.tos);
        let name_len = address::write(to, &mut self.addresses[group]);
        let control = &mut self.controls[group];
        let mut control_len = src_ip.map_or(0, |src_ip| control.add_source(0, src_ip));
        if tos != 0 {
            control_len = control.add_tos(control_len, to.is_ipv4(), tos);
        }
        self.control_lens[group] = control_len as u8;
        self.src_ips[group] = src_ip;
        self.tos_values[group] = tos;
        let header = &mut self.headers[group].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.addresses[group]).cast();
        header.msg_namelen = name_len;
        header.msg_iov = &mut self.contents[index];
        header.msg_iovlen = 1;
        header.msg_control = match control_len {
            0 => ptr::null_mut(),
            _ => control.as_mut_ptr(),
        };
        header.msg_controllen = control_len as _;
        header.msg_flags = 0;
    }
}

impl Messages<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The messages after the first `count`.
    pub(super) fn after(&mut self, count: usize) -> Messages<'_> {
        Messages(&mut self.0[count..])
    }

    /// Sends the messages without blocking, and returns how many the kernel took.
    ///
    /// # Errors
    ///
    /// Why the kernel refused the first message. If it refuses a later one, it reports nothing.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        // SAFETY: all pointers in the headers are valid for reads while `self` is borrowed. Apart from
        // `msg_len` of each header, the kernel writes nothing.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.0.as_mut_ptr(),
                self.0.len() as libc::c_uint,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    #[cfg(test)]
    pub(super) fn headers(&self) -> &[libc::mmsghdr] {
        self.0
    }
}
