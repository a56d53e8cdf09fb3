//! Reads the head of a connection's first request into a buffer of matching size.
//!
//! hyper allocates 16 KiB at the first byte of a head, so thousands of clients with an incomplete head
//! took hundreds of megabytes. So hyper starts only after a complete head.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::time::timeout;

/// Initial buffer size in bytes; the buffer doubles whenever it is full.
const FIRST_BYTES: usize = 512;

/// Reads a head of HTTP/1.1, and the bytes received with it. hyper rejects a head that is longer than
/// `most` or does not start like a request.
///
/// # Errors
/// The client closes the connection, or does not complete the head within `limit`.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
    limit: Duration,
) -> io::Result<Vec<u8>> {
    let reading = timeout(limit, read_whole(stream, most)).await;
    reading.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn read_whole(stream: &mut (impl AsyncRead + Unpin), most: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(FIRST_BYTES);
    loop {
        let before = head.len();
        if before == head.capacity() {
            head.reserve_exact(before);
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if before == 0 {
            // RFC 9112 section 2.2: empty lines before a request are ignored.
            let blank = head.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
            let blank = blank.count();
            head.drain(..blank);
        }
        let Some(first) = head.first() else { continue };
        if !first.is_ascii_alphabetic() || head.len() >= most || ends(&head, before) {
            return Ok(head);
        }
    }
}

/// Whether an empty line after the first `before` bytes ends the head.
fn ends(head: &[u8], before: usize) -> bool {
    let rest = &head[before.saturating_sub(2).min(head.len())..];
    rest.windows(3).any(|bytes| bytes == b"\n\r\n") || rest.windows(2).any(|bytes| bytes == b"\n\n")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);
    const MOST: usize = 16 * 1024;

    /// Reads a head that arrives in these pieces.
    async fn read_pieces(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        let (mut client, mut server) = tokio::io::duplex(64 * 1024);
        let sending = async {
            for piece in pieces {
                client.write_all(piece).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Keeps the connection open until the head has been read.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            head = read(&mut server, MOST, LIMIT) => head,
            () = sending => unreachable!("never ends"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_any_pieces_is_read_to_its_empty_line() {
        let head = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for cut in 1..head.len() {
            let pieces: Vec<&[u8]> = head.chunks(cut).collect();
            assert_eq!(read_pieces(&pieces).await.unwrap(), head, "{cut}");
        }
        let bare: &[u8] = b"GET / HTTP/1.1\nHost: x\n\n";
        assert_eq!(read_pieces(&[bare]).await.unwrap(), bare);
        let early: &[u8] = b"GET / HTTP/1.1\r\n\r\nand what follows";
        assert_eq!(
            read_pieces(&[b"\r\n", b"\n\r", early]).await.unwrap(),
            early
        );
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_that_begin_no_request_are_returned_at_once() {
        assert_eq!(read_pieces(&[&[0xff; 10]]).await.unwrap(), [0xff; 10]);
        let long = read_pieces(&[&[b'x'; 2 * MOST]]).await.unwrap();
        assert_eq!(long.len(), MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_incomplete_head_times_out() {
        let half = read_pieces(&[b"\r\n\r\n", b"GET / HTTP/1.1\r\n"]).await;
        assert_eq!(half.unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut ended: &[u8] = b"GET / HT";
        let ended = read(&mut ended, MOST, LIMIT).await;
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
