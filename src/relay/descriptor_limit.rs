//! The limit of descriptors of this process.

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the soft limit of descriptors to the hard limit, and returns the limit in force.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        // The service manager may forbid the call (`SystemCallFilter=~@resources`).
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        return open_files(&limits).unwrap_or(1024);
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// The soft limit of descriptors in the text of `/proc/self/limits`.
fn open_files(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let values = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    match values.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        soft => soft.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_descriptor_limit_is_read_if_the_call_is_forbidden() {
        let limits = fs::read_to_string("/proc/self/limits").unwrap();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(open_files(&limits), Some(soft));
        assert_eq!(
            open_files("Max open files  unlimited  unlimited  files"),
            Some(u64::MAX)
        );
        assert_eq!(open_files(""), None);
    }
}
