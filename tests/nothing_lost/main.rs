//! What was acknowledged is kept, whatever happens to the process or to the disk below it.

#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../support/browser_box.rs"]
mod browser_box;
mod faults;
mod kills;
#[path = "../support/mod.rs"]
mod support;
