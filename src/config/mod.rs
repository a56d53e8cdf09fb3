//! Settings: layers, origins and checks.

pub mod duration;
mod settings;

pub use settings::*;
