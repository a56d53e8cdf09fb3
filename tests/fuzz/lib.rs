//! What the fuzz targets do with their input: each module has a `run` that panics where parlor
//! breaks a promise.

pub mod framer;
pub mod input;
pub mod signaling;
pub mod stun;
pub mod turn;
