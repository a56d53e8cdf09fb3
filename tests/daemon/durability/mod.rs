//! What was acknowledged is kept, whatever happens to the process or to the disk below it.

#[allow(dead_code, unused_imports, unused_macros)]
mod faults;
mod kills;
