//! The memory for received datagrams, with free bytes around each.

use std::ops::Range;

use super::types::{BATCH, MAX_DATAGRAM_BYTES};
use crate::turn::{HEADROOM, TAILROOM};

/// Distance between two slots in bytes. One cache line more than a power of two: otherwise all slots
/// would compete for the same cache sets.
const SLOT_STRIDE_BYTES: usize =
    (HEADROOM + MAX_DATAGRAM_BYTES + TAILROOM).next_multiple_of(64) + 64;

/// Maximum number of segments at a time, and the bytes for them: enough for the largest slot.
const MAX_SEGMENTS: usize = 2 * BATCH;
const SEGMENT_AREA_BYTES: usize = 2 * SLOT_STRIDE_BYTES;

/// The bytes of all slots, followed by those of segments.
///
/// A segment is a copy of one datagram from a slot that received several (GRO): headers are written
/// around a datagram, and in the slot its neighbours would be overwritten. Slots are numbered from 0,
/// segments from [`BATCH`].
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    segments: [Range<usize>; MAX_SEGMENTS],
    count: usize,
}

impl Buffer {
    pub(crate) fn new() -> Buffer {
        Buffer {
            bytes: vec![0; SLOT_STRIDE_BYTES * BATCH + SEGMENT_AREA_BYTES].into_boxed_slice(),
            segments: [const { 0..0 }; MAX_SEGMENTS],
            count: 0,
        }
    }

    /// The bytes of a slot or a segment. Its datagram starts at [`HEADROOM`].
    pub(crate) fn slot(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    pub(crate) fn slot_mut(&mut self, index: usize) -> &mut [u8] {
        let range = self.range(index);
        &mut self.bytes[range]
    }

    /// The bytes that each of these slots receives datagrams into.
    #[cfg(target_os = "linux")]
    pub(crate) fn receive_areas(&mut self, slots: Range<usize>) -> impl Iterator<Item = &mut [u8]> {
        let bytes = &mut self.bytes[slots.start * SLOT_STRIDE_BYTES..slots.end * SLOT_STRIDE_BYTES];
        let slots = bytes.chunks_exact_mut(SLOT_STRIDE_BYTES);
        slots.map(|slot| &mut slot[HEADROOM..HEADROOM + MAX_DATAGRAM_BYTES])
    }

    /// Whether a segment of `len` bytes fits. It always does if there are no segments.
    pub(crate) fn has_segment_capacity(&self, len: usize) -> bool {
        self.count < MAX_SEGMENTS && self.next_segment(len).end <= self.bytes.len()
    }

    /// Copies the bytes in `range` of a slot into a segment, which must fit, and returns its number.
    pub(crate) fn copy_segment(&mut self, slot: usize, range: Range<usize>) -> usize {
        let segment = self.next_segment(range.len());
        let start = slot * SLOT_STRIDE_BYTES;
        let bytes = start + range.start..start + range.end;
        self.bytes.copy_within(bytes, segment.start + HEADROOM);
        self.segments[self.count] = segment;
        self.count += 1;
        BATCH + self.count - 1
    }

    pub(crate) fn clear_segments(&mut self) {
        self.count = 0;
    }

    fn next_segment(&self, len: usize) -> Range<usize> {
        let last = self
            .count
            .checked_sub(1)
            .map(|last| self.segments[last].end);
        let start = last.map_or(SLOT_STRIDE_BYTES * BATCH, |end| end.next_multiple_of(64));
        start..start + HEADROOM + len + TAILROOM
    }

    fn range(&self, index: usize) -> Range<usize> {
        match index.checked_sub(BATCH) {
            Some(segment) => self.segments[segment].clone(),
            None => index * SLOT_STRIDE_BYTES..(index + 1) * SLOT_STRIDE_BYTES,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn segments_keep_their_bytes_when_headers_are_written_around_them(
            sizes in prop::collection::vec((1..2000_usize, 1..150_usize, 1..2000_usize), 1..6)
        ) {
            let mut buffer = Buffer::new();
            let mut copied = Vec::new();
            for (slot, (size, count, last)) in sizes.into_iter().enumerate() {
                let len = (size * (count - 1) + last.min(size)).min(MAX_DATAGRAM_BYTES);
                let sent: Vec<u8> = (0..len).map(|byte| (byte * 31 / 8) as u8).collect();
                buffer.slot_mut(slot)[HEADROOM..][..len].copy_from_slice(&sent);
                for (number, bytes) in sent.chunks(size).enumerate() {
                    if !buffer.has_segment_capacity(bytes.len()) {
                        check(&buffer, &copied);
                        copied.clear();
                        buffer.clear_segments();
                        prop_assert!(buffer.has_segment_capacity(bytes.len()));
                    }
                    let start = HEADROOM + number * size;
                    let segment = buffer.copy_segment(slot, start..start + bytes.len());
                    buffer.slot_mut(segment)[..HEADROOM].fill(0xaa);
                    let behind = HEADROOM + bytes.len();
                    buffer.slot_mut(segment)[behind..][..TAILROOM].fill(0xbb);
                    copied.push((segment, bytes.to_vec()));
                }
                prop_assert_eq!(&buffer.slot(slot)[HEADROOM..][..len], &sent);
            }
            check(&buffer, &copied);
        }
    }

    fn check(buffer: &Buffer, copied: &[(usize, Vec<u8>)]) {
        for (segment, bytes) in copied {
            assert_eq!(&buffer.slot(*segment)[HEADROOM..][..bytes.len()], bytes);
        }
    }

    #[test]
    fn the_largest_datagram_fits_if_there_are_no_segments() {
        let mut buffer = Buffer::new();
        assert!(buffer.has_segment_capacity(MAX_DATAGRAM_BYTES));
        let segment = buffer.copy_segment(BATCH - 1, HEADROOM..HEADROOM + MAX_DATAGRAM_BYTES);
        assert_eq!(
            buffer.slot(segment).len(),
            HEADROOM + MAX_DATAGRAM_BYTES + TAILROOM
        );
        assert!(
            (0..MAX_SEGMENTS).any(|_| !buffer.has_segment_capacity(MAX_DATAGRAM_BYTES)
                || buffer.copy_segment(0, 0..MAX_DATAGRAM_BYTES) == 0)
        );
    }
}
