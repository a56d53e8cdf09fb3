//! The whole `turn::Server` over virtual time, one shard or two: what clients and peers send, when
//! sockets are bound, what an admin does, in any order. An input is a list of steps.

mod edge;
mod fixture;
mod requests;

use crate::input::Input;

use fixture::Fixture;

/// The first byte says how many shards there are, and whether sockets take their time.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(kind) = input.byte() else { return };
    let mut fixture = Fixture::new(1 + (kind & 1), kind & 2 != 0);
    while fixture.step(&mut input).is_some() {
        fixture.check();
    }
    fixture.end();
}
