//! Where datagrams stand, each with room around it.

use std::ops::Range;

use super::{BATCH, DATAGRAM};
use crate::turn::{HEADROOM, TAILROOM};

/// From slot to slot. One cache line more than a power of two, or all slots would compete for the
/// same sets of the cache.
pub const STRIDE: usize = (HEADROOM + DATAGRAM + TAILROOM).next_multiple_of(64) + 64;

/// Pieces at once, and their bytes: at least what the largest slot is cut into.
const PIECES: usize = 2 * BATCH;
const PIECES_BYTES: usize = 2 * STRIDE;

/// The bytes of all slots; behind them *pieces*, which are datagrams that came several in one slot.
/// Slots are numbered from 0, pieces from [`BATCH`].
pub struct Room {
    bytes: Box<[u8]>,
    pieces: [Range<usize>; PIECES],
    count: usize,
}

impl Room {
    pub fn new() -> Room {
        Room {
            bytes: vec![0; STRIDE * BATCH + PIECES_BYTES].into_boxed_slice(),
            pieces: [const { 0..0 }; PIECES],
            count: 0,
        }
    }

    /// The bytes of a slot or a piece. Its datagram's place in them is at [`HEADROOM`].
    pub fn at(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    pub fn at_mut(&mut self, index: usize) -> &mut [u8] {
        let range = self.range(index);
        &mut self.bytes[range]
    }

    /// The start of the first slot; the others follow, [`STRIDE`] bytes from one to the next.
    #[cfg(target_os = "linux")]
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// Whether there is room for a piece of `len` bytes. Without any pieces there is.
    pub fn fits(&self, len: usize) -> bool {
        self.count < PIECES && self.next_piece(len).end <= self.bytes.len()
    }

    /// Copies the bytes in `range` of a slot into a piece, for which there is room, and gives its
    /// number.
    pub fn cut(&mut self, slot: usize, range: Range<usize>) -> usize {
        let piece = self.next_piece(range.len());
        let start = slot * STRIDE;
        let bytes = start + range.start..start + range.end;
        self.bytes.copy_within(bytes, piece.start + HEADROOM);
        self.pieces[self.count] = piece;
        self.count += 1;
        BATCH + self.count - 1
    }

    pub fn forget_pieces(&mut self) {
        self.count = 0;
    }

    fn next_piece(&self, len: usize) -> Range<usize> {
        let last = self.count.checked_sub(1).map(|last| self.pieces[last].end);
        let start = last.map_or(STRIDE * BATCH, |end| end.next_multiple_of(64));
        start..start + HEADROOM + len + TAILROOM
    }

    fn range(&self, index: usize) -> Range<usize> {
        match index.checked_sub(BATCH) {
            Some(piece) => self.pieces[piece].clone(),
            None => index * STRIDE..(index + 1) * STRIDE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pieces_are_what_the_slot_had_whatever_is_written_around_them(
            sizes in prop::collection::vec((1..2000_usize, 1..150_usize, 1..2000_usize), 1..6)
        ) {
            let mut room = Room::new();
            let mut cut = Vec::new();
            for (slot, (size, count, last)) in sizes.into_iter().enumerate() {
                let len = (size * (count - 1) + last.min(size)).min(DATAGRAM);
                let sent: Vec<u8> = (0..len).map(|byte| (byte * 31 / 8) as u8).collect();
                room.at_mut(slot)[HEADROOM..][..len].copy_from_slice(&sent);
                for (number, bytes) in sent.chunks(size).enumerate() {
                    if !room.fits(bytes.len()) {
                        check(&room, &cut);
                        cut.clear();
                        room.forget_pieces();
                        prop_assert!(room.fits(bytes.len()));
                    }
                    let start = HEADROOM + number * size;
                    let piece = room.cut(slot, start..start + bytes.len());
                    room.at_mut(piece)[..HEADROOM].fill(0xaa);
                    let behind = HEADROOM + bytes.len();
                    room.at_mut(piece)[behind..][..TAILROOM].fill(0xbb);
                    cut.push((piece, bytes.to_vec()));
                }
                prop_assert_eq!(&room.at(slot)[HEADROOM..][..len], &sent);
            }
            check(&room, &cut);
        }
    }

    fn check(room: &Room, cut: &[(usize, Vec<u8>)]) {
        for (piece, bytes) in cut {
            assert_eq!(&room.at(*piece)[HEADROOM..][..bytes.len()], bytes);
        }
    }

    #[test]
    fn the_largest_datagram_fits_where_there_is_none() {
        let mut room = Room::new();
        assert!(room.fits(DATAGRAM));
        let piece = room.cut(BATCH - 1, HEADROOM..HEADROOM + DATAGRAM);
        assert_eq!(room.at(piece).len(), HEADROOM + DATAGRAM + TAILROOM);
        assert!((0..PIECES).any(|_| !room.fits(DATAGRAM) || room.cut(0, 0..DATAGRAM) == 0));
    }
}
