//! The data directory: its path, its lock, and the private files in it.
//!
//! `serve` creates it (mode 0700) and locks it while it runs. Commands use an existing directory and
//! never create one: a command of root would create it for root.

mod directory;
mod error;
mod files;
mod handle;
mod location;
mod lock;
mod owner;
mod secrets;

pub use error::DataDirError;
pub use handle::DataDir;
pub use location::{configured, resolve};
pub use owner::as_owner_of;
pub use secrets::SecretFile;

#[cfg(test)]
mod tests;
