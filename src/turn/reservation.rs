//! Ports reserved for a later Allocate (RFC 8656 section 7.2, RESERVATION-TOKEN).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::Mono;
use crate::credential::belongs_to;

use super::{Directory, Permit, ShardId};

/// The lifetime of a reservation: at least 30 seconds (RFC 8656 section 7.2).
const LIFETIME: Duration = Duration::from_secs(30);

/// A random token. Knowing it proves that the client received it.
pub(super) type Token = [u8; 8];

/// Makes a token of random bytes. It contains the shard, because the Allocate that claims it has
/// another five-tuple, which the kernel may deliver to another shard.
pub(super) fn token_of(shard: ShardId, random: [u8; 8], directory: &Directory) -> Token {
    let mut token = random;
    let shards = u16::from(directory.shards());
    let multiples = (256 - u16::from(shard) - 1) / shards + 1;
    token[7] = (u16::from(random[7]) % multiples * shards + u16::from(shard)) as u8;
    token
}

/// Returns the shard that made a token.
pub(super) fn shard_of_token(token: Token, directory: &Directory) -> ShardId {
    token[7] % directory.shards()
}

/// A bound socket for a later allocation. It counts for the quota of its user.
#[derive(Debug)]
pub(super) struct Reservation {
    pub socket: u32,
    pub address: SocketAddr,
    pub permit: Permit,
}

/// The reservations of a shard.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    reserved: HashMap<Token, Reservation>,
    /// Expiries. All reservations have the same lifetime, so the oldest expires first.
    expiries: VecDeque<(Mono, Token)>,
}

impl Reservations {
    /// Adds a reservation that expires after its lifetime.
    pub(super) fn add(&mut self, token: Token, reservation: Reservation, now: Mono) {
        self.restore(now + LIFETIME, token, reservation);
    }

    /// Removes and returns the reservation with this token, if it belongs to `user`.
    pub(super) fn claim(&mut self, token: Token, user: &str) -> Option<Reservation> {
        let reservation = self.reserved.get(&token)?;
        if reservation.permit.user() != user {
            return None;
        }
        self.reserved.remove(&token)
    }

    /// Ends the reservations of `user`, and returns their sockets.
    pub(super) fn free<'a>(&'a mut self, user: &'a str) -> impl Iterator<Item = u32> + 'a {
        let freed = self
            .reserved
            .extract_if(move |_, r| belongs_to(r.permit.user(), user));
        freed.map(|(_, reservation)| reservation.socket)
    }

    /// Ends the reservations on an address of this host, and returns their sockets.
    pub(super) fn free_on(&mut self, ip: IpAddr) -> impl Iterator<Item = u32> + '_ {
        let freed = self.reserved.extract_if(move |_, r| r.address.ip() == ip);
        freed.map(|(_, reservation)| reservation.socket)
    }

    /// Returns all reservations with their expiries and tokens, the oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Mono, Token, &Reservation)> {
        let entry = |(at, token): &(Mono, Token)| Some((*at, *token, self.reserved.get(token)?));
        self.expiries.iter().filter_map(entry)
    }

    /// Adds a reservation that expires at `at`. Call it for the oldest reservation first.
    pub(super) fn restore(&mut self, at: Mono, token: Token, reservation: Reservation) {
        self.reserved.insert(token, reservation);
        self.expiries.push_back((at, token));
    }

    /// Returns when a reservation may expire next.
    pub(super) fn next_deadline(&self) -> Option<Mono> {
        self.expiries.front().map(|(at, _)| *at)
    }

    /// Removes and returns a reservation that has expired at `now`.
    pub(super) fn pop_expired(&mut self, now: Mono) -> Option<Reservation> {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let (_, token) = self.expiries.pop_front()?;
            if let Some(reservation) = self.reserved.remove(&token) {
                return Some(reservation);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_shard() {
        for shards in [1, 2, 3, 7, 64, 255] {
            let directory = Directory::new(shards);
            for shard in 0..shards {
                for last in 0..=255 {
                    let token = token_of(shard, [last; 8], &directory);
                    assert_eq!(shard_of_token(token, &directory), shard);
                    assert_eq!(token[..7], [last; 7]);
                }
            }
        }
    }
}
