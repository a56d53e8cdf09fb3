//! What goes through the socket: four bytes of length (big endian), then that many bytes of JSON.
//!
//! ```text
//! daemon   Greeting        who is there, or why nobody may ask
//! client   Command         at most 64 KiB
//! daemon   Reply           at most 16 MiB
//! ```

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::failure::Failure;
use super::response::Response;

/// Bytes of a request's JSON.
pub const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Bytes of a greeting's or a reply's JSON.
pub const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// What the daemon says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Greeting {
    Welcome(ServerInfo),
    /// One sentence.
    Refused(String),
}

/// Which daemon it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    pub version: String,
    pub process: u32,
    /// For people; two paths may lead to the same directory.
    pub data_dir: String,
    /// For programs.
    pub directory: DirectoryId,
}

/// A directory, whatever its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryId {
    pub device: u64,
    pub inode: u64,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Done(Response),
    Failed(Failure),
}

/// Why there is no message.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("it has {size} bytes, and {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("it is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Reads one message; memory grows with what comes, not with what was promised.
///
/// # Errors
/// Where it is larger than `limit`, no such value, or cut short.
pub async fn read<T: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
    limit: usize,
) -> Result<T, FrameError> {
    let size = from.read_u32().await? as usize;
    if size > limit {
        return Err(FrameError::TooLarge { size, limit });
    }
    let mut bytes = Vec::new();
    from.take(size as u64).read_to_end(&mut bytes).await?;
    if bytes.len() < size {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(serde_json::from_slice(&bytes)?)
}

/// Writes one message.
///
/// # Errors
/// Where it is larger than `limit`, or nobody takes it. Nothing is sent of what is too large.
pub async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Serialize,
    limit: usize,
) -> Result<(), FrameError> {
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, message)?;
    let size = bytes.len() - 4;
    match u32::try_from(size) {
        Ok(length) if size <= limit => bytes[..4].copy_from_slice(&length.to_be_bytes()),
        _ => return Err(FrameError::TooLarge { size, limit }),
    }
    to.write_all(&bytes).await?;
    Ok(to.flush().await?)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use proptest::prelude::*;

    use super::*;
    use crate::admin::{Command, Grant, Lifetime, PasswordHash};

    /// Memory never waits.
    fn run_now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("memory waits for nobody"),
        }
    }

    fn commands() -> impl Strategy<Value = Command> {
        let argument = || ".{0,40}";
        let grant = (
            argument(),
            1..=315_360_000u64,
            proptest::option::of(argument()),
        );
        let grant = grant.prop_map(|(user, seconds, room)| Grant {
            user,
            ttl: Lifetime::try_from(seconds).expect("a lifetime"),
            room,
        });
        let password = proptest::option::of(argument());
        let add = (
            argument(),
            proptest::option::of(argument()),
            any::<bool>(),
            password,
        );
        let add = add.prop_map(|(name, display_name, admin, password)| Command::UserAdd {
            name,
            display_name,
            admin,
            password: password.map(PasswordHash),
        });
        prop_oneof![
            Just(Command::UserList),
            argument().prop_map(|user| Command::UserDisable { user }),
            add,
            grant.prop_map(Command::TokenIssue),
        ]
    }

    proptest! {
        #[test]
        fn a_command_arrives_as_it_was_sent(command in commands()) {
            let mut wire = Vec::new();
            run_now(write(&mut wire, &command, MAX_REQUEST_BYTES)).unwrap();
            let read: Command = run_now(read(&mut &wire[..], MAX_REQUEST_BYTES)).unwrap();
            prop_assert_eq!(read, command);
        }

        #[test]
        fn no_bytes_are_a_surprise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = run_now(read::<Command>(&mut &bytes[..], MAX_REQUEST_BYTES));
            let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
            framed.extend(&bytes);
            let _ = run_now(read::<Command>(&mut &framed[..], MAX_REQUEST_BYTES));
            let _ = run_now(read::<Outcome>(&mut &framed[..], MAX_RESPONSE_BYTES));
            let _ = run_now(read::<Greeting>(&mut &framed[..], MAX_RESPONSE_BYTES));
        }

        #[test]
        fn a_message_that_is_cut_short_is_none(command in commands(), cut in any::<prop::sample::Index>()) {
            let mut wire = Vec::new();
            run_now(write(&mut wire, &command, MAX_REQUEST_BYTES)).unwrap();
            let part = &wire[..cut.index(wire.len())];
            let read = run_now(read::<Command>(&mut &part[..], MAX_REQUEST_BYTES));
            prop_assert!(matches!(read, Err(FrameError::Broken(_))));
        }
    }

    #[test]
    fn what_is_too_large_is_neither_read_nor_sent() {
        let promised = [0xff; 8];
        let read = run_now(read::<Command>(&mut &promised[..], MAX_REQUEST_BYTES));
        assert!(matches!(read, Err(FrameError::TooLarge { .. })));
        let command = Command::UserShow {
            user: "x".repeat(MAX_REQUEST_BYTES),
        };
        let mut wire = Vec::new();
        let written = run_now(write(&mut wire, &command, MAX_REQUEST_BYTES));
        assert!(matches!(written, Err(FrameError::TooLarge { .. })));
        assert!(wire.is_empty());
    }
}
