//! Which datagrams of a batch leave as one message.
//!
//! Those with the same destination, source and size do, in the order in which they came; a shorter
//! one ends its run. So what goes to one destination stays in order, and what goes to several may
//! change places.

use std::net::{IpAddr, SocketAddr};

use super::BATCH;

/// What the kernel cuts up at most.
const _: () = assert!(BATCH <= 64);

/// Places in the index. A run that lost its place gets no more datagrams: no harm.
const PLACES: usize = 2 * BATCH;

const NONE: u8 = u8::MAX;

/// The runs of one batch. It is small: between two batches the kernel takes the cache.
pub struct Runs {
    used: usize,
    /// Bytes of each datagram of a run but the last, which may have fewer.
    sizes: [u16; BATCH],
    counts: [u8; BATCH],
    /// Runs whose last datagram is a shorter one, a bit for each.
    ended: u64,
    /// The run of each datagram.
    of: [u8; BATCH],
    datagrams: usize,
    /// By a hash of the destination, the newest run that goes there.
    index: [u8; PLACES],
}

impl Runs {
    pub fn new() -> Runs {
        Runs {
            used: 0,
            sizes: [0; BATCH],
            counts: [0; BATCH],
            ended: 0,
            of: [0; BATCH],
            datagrams: 0,
            index: [NONE; PLACES],
        }
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.ended = 0;
        self.datagrams = 0;
        self.index = [NONE; PLACES];
    }

    /// Takes the next datagram. Gives the number of its run where it is the first one there.
    /// `is_same` says whether a run has the same destination and source.
    pub fn add(
        &mut self,
        to: SocketAddr,
        len: usize,
        is_same: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let place = place(to);
        let run = usize::from(self.index[place]);
        if run < self.used && self.has_room(run, to, len) && is_same(run) {
            self.counts[run] += 1;
            if len < usize::from(self.sizes[run]) {
                self.ended |= 1 << run;
            }
            self.of[self.datagrams] = run as u8;
            self.datagrams += 1;
            return None;
        }
        self.index[place] = self.used as u8;
        Some(self.add_alone(len))
    }

    /// Takes the next datagram for a run of its own.
    pub fn add_alone(&mut self, len: usize) -> usize {
        let run = self.used;
        self.sizes[run] = len as u16;
        self.counts[run] = 1;
        self.of[self.datagrams] = run as u8;
        self.used += 1;
        self.datagrams += 1;
        run
    }

    fn has_room(&self, run: usize, to: SocketAddr, len: usize) -> bool {
        // What one message may have, in the largest packet there is.
        let most = if to.is_ipv4() { 65_507 } else { 65_487 };
        let size = usize::from(self.sizes[run]);
        let open = self.ended & (1 << run) == 0;
        open && len > 0 && len <= size && size * self.datagrams_of(run) + len <= most
    }

    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether every datagram leaves by itself.
    pub fn are_single(&self) -> bool {
        self.used == self.datagrams
    }

    pub fn datagrams_of(&self, run: usize) -> usize {
        usize::from(self.counts[run])
    }

    pub fn size_of(&self, run: usize) -> u16 {
        self.sizes[run]
    }

    /// The run of each datagram, in the order in which they were added.
    pub fn of(&self) -> &[u8] {
        &self.of[..self.datagrams]
    }
}

fn place(to: SocketAddr) -> usize {
    let ip = match to.ip() {
        IpAddr::V4(ip) => u64::from(ip.to_bits()),
        IpAddr::V6(ip) => {
            let bits = ip.to_bits();
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    let mixed = (ip ^ u64::from(to.port()) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The highest bits depend on all of them.
    ((mixed >> 48) as usize * PLACES) >> 16
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

    fn runs_of(datagrams: &[Datagram]) -> Runs {
        let mut runs = Runs::new();
        let mut firsts = Vec::new();
        for &(to, from, len) in datagrams {
            if runs.add(to, len, |run| firsts[run] == (to, from)).is_some() {
                firsts.push((to, from));
            }
        }
        runs
    }

    proptest! {
        #[test]
        fn a_run_is_what_the_kernel_cuts_into_the_same_datagrams(
            datagrams in prop::collection::vec(any_datagram(), 0..=BATCH)
        ) {
            let runs = runs_of(&datagrams);
            for number in 0..runs.len() {
                let own = runs.of().iter().zip(&datagrams);
                let own: Vec<_> = own.filter(|(of, _)| usize::from(**of) == number).map(|(_, d)| *d).collect();
                prop_assert_eq!(own.len(), runs.datagrams_of(number));
                let (to, from, size) = own[0];
                let (last, whole) = own.split_last().unwrap();
                prop_assert!(own.iter().all(|d| (d.0, d.1) == (to, from)));
                prop_assert!(whole.iter().all(|d| d.2 == size));
                prop_assert!(last.2 <= size && usize::from(runs.size_of(number)) == size);
                let bytes: usize = own.iter().map(|d| d.2).sum();
                prop_assert!(own.len() == 1 || bytes <= 65_507 && last.2 > 0);
            }
        }

        #[test]
        fn what_goes_to_one_destination_stays_in_order(
            datagrams in prop::collection::vec(any_datagram(), 0..=BATCH)
        ) {
            let runs = runs_of(&datagrams);
            for port in 1..6 {
                let there = runs.of().iter().zip(&datagrams).filter(|(_, d)| d.0.port() == port && d.0.is_ipv4());
                let there: Vec<_> = there.map(|(run, _)| *run).collect();
                prop_assert!(there.is_sorted(), "{:?}", there);
            }
        }
    }

    #[test]
    fn equal_datagrams_of_two_senders_in_turn_make_two_runs() {
        let (a, b) = (([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into());
        let datagrams: Vec<_> = (0..32)
            .flat_map(|_| [(a, None, 1200), (b, None, 1200)])
            .collect();
        let runs = runs_of(&datagrams);
        let counts: Vec<_> = (0..runs.len()).map(|run| runs.datagrams_of(run)).collect();
        assert_eq!(counts, [32, 32]);
    }
}
