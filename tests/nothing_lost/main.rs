//! What was acknowledged is kept, whatever happens to the process or to the disk below it.

mod kills;
#[path = "../support/mod.rs"]
mod support;
