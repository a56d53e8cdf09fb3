//! Framing of messages on the admin socket: four bytes of length (big endian), then that many bytes of
//! JSON.
//!
//! ```text
//! server   Greeting        identifies the server, or rejects the client
//! client   AdminCommand    at most 64 KiB
//! server   Outcome         at most 16 MiB
//! server   DrainProgress   after `drain`, about one a second
//! ```

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Maximum size of a command's JSON.
pub(super) const MAX_REQUEST_BYTES: usize = 64 * 1024;
/// Maximum size of the JSON of a server's message.
pub(super) const MAX_RESPONSE_BYTES: usize = 16 * 1024 * 1024;

/// Reading or writing a message failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("it has {size} bytes, and {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("it is not a valid message: {0}")]
    Invalid(#[from] serde_json::Error),
    #[error("{0}")]
    Broken(#[from] io::Error),
}

/// Reads one message. Memory use grows with the received bytes, not with the announced length.
///
/// # Errors
/// The message is larger than `limit`, incomplete, or not a `T`.
pub(super) async fn read<T: DeserializeOwned>(
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
/// The message is larger than `limit` (then nothing is sent), or the connection failed.
pub(super) async fn write(
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
    use crate::admin::messages::{Greeting, Outcome};
    use crate::admin::{
        AdminCommand, Grant, Lifetime, PasswordFlags, PasswordHash, TokenCommand, UserCommand,
    };

    /// Polls a future on a buffer in memory, which is always ready.
    fn run_now<T>(future: impl Future<Output = T>) -> T {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(value) => value,
            Poll::Pending => panic!("a buffer in memory is always ready"),
        }
    }

    fn commands() -> impl Strategy<Value = AdminCommand> {
        let text = || ".{0,40}";
        let grant = (text(), 1..=315_360_000u64, proptest::option::of(text()));
        let grant = grant.prop_map(|(user, seconds, room)| Grant {
            user,
            ttl: Lifetime::try_from(seconds).expect("a lifetime"),
            room,
        });
        let password = proptest::option::of(text());
        let add = (
            text(),
            proptest::option::of(text()),
            any::<bool>(),
            password,
        );
        let add = add.prop_map(|(name, display_name, admin, password)| {
            AdminCommand::User(UserCommand::Add {
                name,
                display_name,
                admin,
                source: PasswordFlags::default(),
                password: password.map(PasswordHash),
            })
        });
        prop_oneof![
            Just(AdminCommand::User(UserCommand::ListUsers)),
            text().prop_map(|user| AdminCommand::User(UserCommand::Disable { user })),
            add,
            grant.prop_map(|grant| AdminCommand::Token(TokenCommand::Issue(grant))),
        ]
    }

    proptest! {
        #[test]
        fn a_command_is_received_as_it_was_sent(command in commands()) {
            let mut wire = Vec::new();
            run_now(write(&mut wire, &command, MAX_REQUEST_BYTES)).unwrap();
            let read: AdminCommand = run_now(read(&mut &wire[..], MAX_REQUEST_BYTES)).unwrap();
            prop_assert_eq!(read, command);
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = run_now(read::<AdminCommand>(&mut &bytes[..], MAX_REQUEST_BYTES));
            let mut framed = (bytes.len() as u32).to_be_bytes().to_vec();
            framed.extend(&bytes);
            let _ = run_now(read::<AdminCommand>(&mut &framed[..], MAX_REQUEST_BYTES));
            let _ = run_now(read::<Outcome>(&mut &framed[..], MAX_RESPONSE_BYTES));
            let _ = run_now(read::<Greeting>(&mut &framed[..], MAX_RESPONSE_BYTES));
        }

        #[test]
        fn a_truncated_message_is_an_error(command in commands(), cut in any::<prop::sample::Index>()) {
            let mut wire = Vec::new();
            run_now(write(&mut wire, &command, MAX_REQUEST_BYTES)).unwrap();
            let part = &wire[..cut.index(wire.len())];
            let read = run_now(read::<AdminCommand>(&mut &part[..], MAX_REQUEST_BYTES));
            prop_assert!(matches!(read, Err(FrameError::Broken(_))));
        }
    }

    #[test]
    fn a_message_that_is_too_large_is_neither_read_nor_sent() {
        let promised = [0xff; 8];
        let read = run_now(read::<AdminCommand>(&mut &promised[..], MAX_REQUEST_BYTES));
        assert!(matches!(read, Err(FrameError::TooLarge { .. })));
        let command = AdminCommand::User(UserCommand::Show {
            user: "x".repeat(MAX_REQUEST_BYTES),
        });
        let mut wire = Vec::new();
        let written = run_now(write(&mut wire, &command, MAX_REQUEST_BYTES));
        assert!(matches!(written, Err(FrameError::TooLarge { .. })));
        assert!(wire.is_empty());
    }
}
