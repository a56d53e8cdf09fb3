//! The messages on the admin socket besides the command.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::response::Response;

/// The first message of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Greeting {
    Welcome(ServerInfo),
    /// The client's user has no permission; the text is one sentence.
    Refused(String),
}

/// Identifies a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServerInfo {
    pub version: String,
    pub process: u32,
    /// For people: two paths may lead to the same directory.
    pub data_dir: String,
    /// For programs.
    pub directory: DirectoryId,
}

/// Identifies a directory, independently of its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DirectoryId {
    pub device: u64,
    pub inode: u64,
}

impl DirectoryId {
    /// # Errors
    /// The path leads to nothing, or this process may not look there.
    pub(super) fn of(path: &Path) -> io::Result<DirectoryId> {
        let metadata = fs::metadata(path)?;
        Ok(DirectoryId {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

/// The result of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Done(Response),
    Failed(Failure),
}

/// The state of a drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainProgress {
    pub connections: u64,
    pub relays: u64,
    /// Time since the drain began.
    pub seconds: u64,
    /// Number of relays that were interrupted; `None` until the drain has ended.
    #[serde(rename = "cut_off")]
    pub interrupted: Option<u64>,
}
