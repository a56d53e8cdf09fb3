//! Groups the datagrams of a batch into messages for GSO.
//!
//! A group has one destination, source address and size, in the order of its datagrams; a shorter datagram
//! ends its group. So datagrams for one destination stay in order, and those for several may be
//! reordered.

use std::net::{IpAddr, SocketAddr};

use super::types::BATCH;

/// The kernel splits a message into at most 64 datagrams (`UDP_MAX_SEGMENTS` of older kernels).
const _: () = assert!(BATCH <= 64);

/// Size of the hash index. A group that another one displaces gets no more datagrams, which is harmless.
const INDEX_SLOTS: usize = 2 * BATCH;

const NO_GROUP: u8 = u8::MAX;

/// The groups of one batch. Kept small: the system call between two batches evicts the cache.
pub(super) struct GsoGroups {
    used: usize,
    /// Bytes of each datagram of a group; the last may be shorter.
    sizes: [u16; BATCH],
    counts: [u8; BATCH],
    /// A bit for each group whose last datagram is shorter.
    ended: u64,
    /// The group of each datagram.
    group_of: [u8; BATCH],
    datagrams: usize,
    /// The newest group for each hash of a destination.
    index: [u8; INDEX_SLOTS],
}

impl GsoGroups {
    pub(super) fn new() -> GsoGroups {
        GsoGroups {
            used: 0,
            sizes: [0; BATCH],
            counts: [0; BATCH],
            ended: 0,
            group_of: [0; BATCH],
            datagrams: 0,
            index: [NO_GROUP; INDEX_SLOTS],
        }
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.ended = 0;
        self.datagrams = 0;
        self.index = [NO_GROUP; INDEX_SLOTS];
    }

    /// Adds the next datagram. Returns the number of its group if the group is new. `is_same` returns
    /// whether a group has the same destination, source address and TOS.
    pub(super) fn add(
        &mut self,
        to: SocketAddr,
        len: usize,
        is_same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let slot = index_slot(to);
        let group = usize::from(self.index[slot]);
        if group < self.used && self.accepts(group, to, len) && is_same(group) {
            self.counts[group] += 1;
            if len < usize::from(self.sizes[group]) {
                self.ended |= 1 << group;
            }
            self.group_of[self.datagrams] = group as u8;
            self.datagrams += 1;
            return None;
        }
        self.index[slot] = self.used as u8;
        Some(self.add_single(len))
    }

    /// Adds the next datagram as a group of its own.
    pub(super) fn add_single(&mut self, len: usize) -> usize {
        let group = self.used;
        self.sizes[group] = len as u16;
        self.counts[group] = 1;
        self.group_of[self.datagrams] = group as u8;
        self.used += 1;
        self.datagrams += 1;
        group
    }

    fn accepts(&self, group: usize, to: SocketAddr, len: usize) -> bool {
        // The largest payload of an IP packet.
        let most = if to.is_ipv4() { 65_507 } else { 65_487 };
        let size = usize::from(self.sizes[group]);
        let open = self.ended & (1 << group) == 0;
        open && len > 0 && len <= size && size * self.datagrams_in(group) + len <= most
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    /// Whether every group has one datagram.
    pub(super) fn all_single(&self) -> bool {
        self.used == self.datagrams
    }

    pub(super) fn datagrams_in(&self, group: usize) -> usize {
        usize::from(self.counts[group])
    }

    pub(super) fn segment_size(&self, group: usize) -> u16 {
        self.sizes[group]
    }

    /// The group of each datagram, in the order of the batch.
    pub(super) fn group_of_each(&self) -> &[u8] {
        &self.group_of[..self.datagrams]
    }
}

fn index_slot(to: SocketAddr) -> usize {
    let ip = match to.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    let mixed = (ip ^ u64::from(to.port()) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The highest bits of a product depend on all bits of the factors.
    ((mixed >> 48) as usize * INDEX_SLOTS) >> 16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Datagram = (SocketAddr, Option<IpAddr>, usize);

    fn any_datagram() -> impl Strategy<Value = Datagram> {
        let ip = prop_oneof![
            Just(IpAddr::from([127, 0, 0, 1])),
            Just(IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1]))
        ];
        let len = prop_oneof![Just(1200), Just(1199), Just(0), 1..10_usize, Just(65_000)];
        let from = prop_oneof![4 => Just(None), 1 => Just(Some(IpAddr::from([127, 0, 0, 9])))];
        (ip, 1..6_u16, from, len).prop_map(|(ip, port, from, len)| ((ip, port).into(), from, len))
    }

    fn groups_of(datagrams: &[Datagram]) -> GsoGroups {
        let mut groups = GsoGroups::new();
        let mut firsts = Vec::new();
        for &(to, from, len) in datagrams {
            if groups
                .add(to, len, |group| firsts[group] == (to, from))
                .is_some()
            {
                firsts.push((to, from));
            }
        }
        groups
    }

    proptest! {
        #[test]
        fn the_kernel_splits_each_group_into_the_same_datagrams(
            datagrams in prop::collection::vec(any_datagram(), 0..=BATCH)
        ) {
            let groups = groups_of(&datagrams);
            for number in 0..groups.len() {
                let own = groups.group_of_each().iter().zip(&datagrams);
                let own: Vec<_> = own.filter(|(of, _)| usize::from(**of) == number).map(|(_, d)| *d).collect();
                prop_assert_eq!(own.len(), groups.datagrams_in(number));
                let (to, from, size) = own[0];
                let (last, whole) = own.split_last().unwrap();
                prop_assert!(own.iter().all(|d| (d.0, d.1) == (to, from)));
                prop_assert!(whole.iter().all(|d| d.2 == size));
                prop_assert!(last.2 <= size && usize::from(groups.segment_size(number)) == size);
                let bytes: usize = own.iter().map(|d| d.2).sum();
                prop_assert!(own.len() == 1 || bytes <= 65_507 && last.2 > 0);
            }
        }

        #[test]
        fn datagrams_for_one_destination_stay_in_order(
            datagrams in prop::collection::vec(any_datagram(), 0..=BATCH)
        ) {
            let groups = groups_of(&datagrams);
            for port in 1..6 {
                let there = groups.group_of_each().iter().zip(&datagrams).filter(|(_, d)| d.0.port() == port && d.0.is_ipv4());
                let there: Vec<_> = there.map(|(group, _)| *group).collect();
                prop_assert!(there.is_sorted(), "{:?}", there);
            }
        }
    }

    #[test]
    fn alternating_datagrams_for_two_destinations_make_two_groups() {
        let (a, b) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let datagrams: Vec<_> = (0..32)
            .flat_map(|_| [(a, None, 1200), (b, None, 1200)])
            .collect();
        let groups = groups_of(&datagrams);
        let counts: Vec<_> = (0..groups.len())
            .map(|group| groups.datagrams_in(group))
            .collect();
        assert_eq!(counts, [32, 32]);
    }
}
