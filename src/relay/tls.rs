//! A TURN stream over TLS after the handshake, for nonblocking reads and writes by a shard.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::ServerConnection;

use super::framer::next_frame;

/// Minimum number of messages that share TLS records.
const SHARED_RECORD_MESSAGES: usize = 8;

/// Maximum number of bytes encrypted in one call, unless a single message is longer.
const MAX_RECORD_BATCH_BYTES: usize = 64 * 1024;

/// TLS on a nonblocking socket. Dropping it sends `close_notify`, so the client knows that nothing was truncated.
pub(super) struct TlsIo {
    socket: TcpStream,
    session: ServerConnection,
}

/// A socket, and whether the last read has drained it.
struct DrainCheck<'a> {
    socket: &'a TcpStream,
    drained: bool,
}

impl TlsIo {
    pub(super) fn new(socket: TcpStream, mut session: ServerConnection) -> TlsIo {
        // `write` limits the buffered bytes itself, to complete messages.
        session.set_buffer_limit(None);
        TlsIo { socket, session }
    }

    /// Encrypts messages into records, and returns how many bytes were taken.
    ///
    /// Many messages share records. Few messages get a record each: some clients (coturn's
    /// `turnutils_uclient`) expect one message in a record, and lose the others.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (taken, messages) = whole_messages(bytes);
        let mut rest = &bytes[..taken];
        if messages >= SHARED_RECORD_MESSAGES {
            self.session.writer().write_all(rest)?;
            return Ok(taken);
        }
        while let Ok(Some(frame)) = next_frame(rest) {
            let (message, others) = rest.split_at(frame.padded);
            self.session.writer().write_all(message)?;
            rest = others;
        }
        Ok(taken)
    }

    /// Sends pending records.
    fn send(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Reads pending records. Returns whether the socket is drained.
    fn receive(&mut self) -> io::Result<bool> {
        let mut check = DrainCheck {
            socket: &self.socket,
            drained: false,
        };
        let count = self.session.read_tls(&mut check)?;
        let drained = check.drained && count > 0;
        if let Err(error) = self.session.process_new_packets() {
            // Sends the TLS alert. If the socket is full, it is not sent.
            let _ = self.send();
            return Err(io::Error::other(error));
        }
        Ok(drained)
    }
}

/// The number of bytes and messages to encrypt in one call: at least one message if one is complete.
fn whole_messages(bytes: &[u8]) -> (usize, usize) {
    let (mut taken, mut messages) = (0, 0);
    while let Ok(Some(frame)) = next_frame(&bytes[taken..]) {
        if taken > 0 && taken + frame.padded > MAX_RECORD_BATCH_BYTES {
            break;
        }
        taken += frame.padded;
        messages += 1;
    }
    (taken, messages)
}

impl Read for DrainCheck<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.drained = count < buffer.len();
        Ok(count)
    }
}

impl Read for TlsIo {
    /// Fills the buffer or drains the socket: the edge-triggered poller does not report pending bytes again.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (mut filled, mut drained) = (0, false);
        while filled < buffer.len() {
            match self.session.reader().read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => {
                    filled += count;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !drained => {}
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
            match self.receive() {
                Ok(empty) => drained = empty,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

impl Write for TlsIo {
    /// Takes complete messages, and sends them with one system call. Records that the socket does not take are sent
    /// by the next call, or by [`Write::flush`].
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send()?;
        let taken = self.seal(bytes)?;
        match self.send() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(taken),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.send()
    }
}

impl AsFd for TlsIo {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for TlsIo {
    fn drop(&mut self) {
        self.session.send_close_notify();
        // A client that does not read still sees the end of the connection.
        let _ = self.send();
    }
}
