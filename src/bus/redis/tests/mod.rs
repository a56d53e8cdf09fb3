//! Several nodes in one thread, with real rooms, real state machines, real scripts and a real Redis: random
//! schedules with faults, at the end of which all rosters must agree.

mod checks;
mod clients;
mod link;
mod mutations;
mod node;
mod pauses;
mod schedule;
mod scripts;
mod sentinel;
mod states;
mod world;

#[path = "../../../../tests/support/redis.rs"]
pub(crate) mod server;
