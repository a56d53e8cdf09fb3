//! Lists the addresses of this host, and notifies of changes, by the interface of this system.

#[cfg(not(target_os = "linux"))]
pub use super::getifaddrs::{Watch, list};
#[cfg(target_os = "linux")]
pub(super) use super::netlink::{Watch, list};
