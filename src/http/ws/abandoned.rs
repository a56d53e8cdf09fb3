//! Connections that the client has given up before they entered a room.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are read to find the end of the stream. A client sends nothing before it has the answer of the handshake.
const PROBE_BYTES: usize = 1024;

/// Whether the client has closed the connection already: it must not take the place of the client's newer one. Bytes that
/// have come are added to `early`. Waits for nothing.
pub(super) async fn is_abandoned<S: AsyncRead + Unpin>(
    stream: &mut S,
    early: &mut Vec<u8>,
) -> bool {
    poll_fn(|context| {
        let mut bytes = [0; PROBE_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        let polled = Pin::new(&mut *stream).poll_read(context, &mut buffer);
        Poll::Ready(match polled {
            Poll::Pending => false,
            Poll::Ready(Err(_)) => true,
            Poll::Ready(Ok(())) => {
                early.extend_from_slice(buffer.filled());
                buffer.filled().is_empty()
            }
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_closed_connection_is_abandoned_and_others_lose_no_bytes() {
        let (mut server, mut client) = tokio::io::duplex(64);
        let mut early = b"a".to_vec();
        assert!(!is_abandoned(&mut server, &mut early).await);
        client.write_all(b"bc").await.unwrap();
        assert!(!is_abandoned(&mut server, &mut early).await);
        assert_eq!(early, b"abc");
        drop(client);
        assert!(is_abandoned(&mut server, &mut early).await);
    }
}
