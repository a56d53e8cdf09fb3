//! The fuzz targets. Each module has a function `run` that panics if parlor violates an invariant.

pub mod extended;
pub mod framer;
pub mod input;
pub mod signaling;
pub mod stun;
pub mod turn;
