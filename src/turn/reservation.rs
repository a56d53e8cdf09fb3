//! Ports kept for a later Allocate (RFC 8656 section 7.2, RESERVATION-TOKEN).

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::Mono;
use crate::credential::belongs_to;

use super::{Directory, Permit, ShardId};

/// RFC 8656 section 7.2: at least 30 seconds.
const LIFETIME: Duration = Duration::from_secs(30);

/// Drawn at random: whoever can say it was told it.
pub(super) type Token = [u8; 8];

/// Makes a token of random bytes that names its shard, because the Allocate that claims it comes
/// from another five-tuple.
pub(super) fn token_of(shard: ShardId, random: [u8; 8], directory: &Directory) -> Token {
    let mut token = random;
    let shards = u16::from(directory.shards());
    let rounds = (256 - u16::from(shard) - 1) / shards + 1;
    token[7] = (u16::from(random[7]) % rounds * shards + u16::from(shard)) as u8;
    token
}

/// The shard that made a token.
pub(super) fn shard_of_token(token: &Token, directory: &Directory) -> ShardId {
    token[7] % directory.shards()
}

/// A bound socket that nobody uses yet. It counts in its user's quota.
#[derive(Debug)]
pub(super) struct Reservation {
    pub socket: u32,
    pub address: SocketAddr,
    pub permit: Permit,
}

/// The reservations of a shard.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    held: HashMap<Token, Reservation>,
    /// All live equally long, so the oldest ends first.
    ends: VecDeque<(Mono, Token)>,
}

impl Reservations {
    pub fn add(&mut self, token: Token, reservation: Reservation, now: Mono) {
        self.restore(now + LIFETIME, token, reservation);
    }

    /// Takes a reservation of `user`.
    pub fn claim(&mut self, token: &Token, user: &str) -> Option<Reservation> {
        let reservation = self.held.get(token)?;
        let theirs = reservation.permit.user() == user;
        if theirs {
            self.held.remove(token)
        } else {
            None
        }
    }

    /// Gives up what `user` has reserved, and names the sockets.
    pub fn free<'a>(&'a mut self, user: &'a str) -> impl Iterator<Item = u32> + 'a {
        let freed = self
            .held
            .extract_if(move |_, r| belongs_to(r.permit.user(), user));
        freed.map(|(_, reservation)| reservation.socket)
    }

    /// Ends the reservations on an address of this host, and returns their sockets.
    pub fn free_on(&mut self, ip: IpAddr) -> impl Iterator<Item = u32> + '_ {
        let freed = self.held.extract_if(move |_, r| r.address.ip() == ip);
        freed.map(|(_, reservation)| reservation.socket)
    }

    /// Those that are held, the oldest first, and when each ends.
    pub fn held(&self) -> impl Iterator<Item = (Mono, Token, &Reservation)> {
        let held = |(at, token): &(Mono, Token)| Some((*at, *token, self.held.get(token)?));
        self.ends.iter().filter_map(held)
    }

    /// Takes over one that ends at `at`: the oldest first.
    pub fn restore(&mut self, at: Mono, token: Token, reservation: Reservation) {
        self.held.insert(token, reservation);
        self.ends.push_back((at, token));
    }

    pub fn next_deadline(&self) -> Option<Mono> {
        self.ends.front().map(|(at, _)| *at)
    }

    /// A reservation that nobody claimed in time.
    pub fn pop_expired(&mut self, now: Mono) -> Option<Reservation> {
        while self.next_deadline().is_some_and(|at| at <= now) {
            let (_, token) = self.ends.pop_front()?;
            if let Some(reservation) = self.held.remove(&token) {
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
                    assert_eq!(shard_of_token(&token, &directory), shard);
                    assert_eq!(token[..7], [last; 7]);
                }
            }
        }
    }
}
