//! The inputs of a configuration. Nothing else reads the environment or the command line.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The configuration file of the system, with the lowest priority.
pub const SYSTEM_FILE: &str = "/etc/parlor/config.toml";

/// The inputs of a configuration.
pub struct Sources {
    /// `--config`: exactly this file, regardless of its owner.
    pub file: Option<PathBuf>,
    /// The file to read without `file`, if root or `caller` owns it and no other user may write it.
    pub local_file: PathBuf,
    /// The file to read otherwise, if it exists.
    pub system_file: PathBuf,
    /// The effective user id.
    pub caller: u32,
    pub environment: Vec<(OsString, OsString)>,
    pub flags: Vec<Flag>,
}

/// A setting from the command line.
pub struct Flag {
    /// The flag as typed: `--data-dir`.
    pub name: &'static str,
    /// The key it sets: `server.data_dir`.
    pub key: &'static str,
    /// The value; lists are separated by commas.
    pub text: String,
}

impl Sources {
    /// The sources of this process.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<Flag>) -> Sources {
        Sources {
            file,
            local_file: Path::new(".").join("config.toml"),
            system_file: PathBuf::from(SYSTEM_FILE),
            caller: nix::unistd::geteuid().as_raw(),
            environment: std::env::vars_os().collect(),
            flags,
        }
    }
}
