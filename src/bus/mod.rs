//! Carries committed events to subscribers.
//!
//! The port between nodes: today one node, whose bus calls its subscribers directly. An
//! implementation for several nodes delivers the same [`Event`]s, in the order of the commits of
//! each room, also to the other nodes.

mod event;
mod local;
pub mod redis;

pub use event::{Departure, Event};
pub use local::Local;
