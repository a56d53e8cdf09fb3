//! `turn::Server` with one or two shards in virtual time: datagrams of clients and peers, bind
//! results and administrator's commands in any order. An input is a list of steps.

mod edge;
mod fixture;
mod requests;

use crate::input::Input;

use fixture::Fixture;

/// The first byte selects the number of shards, and whether sockets are bound late.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(kind) = input.byte() else { return };
    let mut fixture = Fixture::new(1 + (kind & 1), kind & 2 != 0);
    while fixture.step(&mut input).is_some() {
        fixture.check();
    }
    fixture.end();
}
