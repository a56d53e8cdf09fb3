//! Acknowledged changes survive faults of the process and of the disk.

#[allow(dead_code, unused_imports, unused_macros)]
mod faults;
mod kills;
