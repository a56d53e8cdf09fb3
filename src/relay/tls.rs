//! A TURN stream over TLS, past its handshake: what a shard reads and writes without waiting.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::ServerConnection;

use super::framer::next_frame;

/// From so many messages on they share records.
const SHARED_RECORD_MESSAGES: usize = 8;

/// Bytes made into records at once, as long as they are several messages.
const MAX_RECORD_BATCH_BYTES: usize = 64 * 1024;

/// Records on a socket that never blocks. Dropping it tells the client that nothing was cut off.
pub struct TlsIo {
    socket: TcpStream,
    session: ServerConnection,
}

/// A socket, and whether the last read left nothing in it.
struct DrainCheck<'a> {
    socket: &'a TcpStream,
    drained: bool,
}

impl TlsIo {
    pub fn new(socket: TcpStream, mut session: ServerConnection) -> TlsIo {
        // What is written is bounded here, so that it is whole messages.
        session.set_buffer_limit(None);
        TlsIo { socket, session }
    }

    /// Makes records of messages, and gives how many bytes it took.
    ///
    /// Many that are ready together share records. A few have a record each: some clients (coturn's
    /// `turnutils_uclient`) take a record for a message, and lose what follows in it.
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

    /// Sends the records that wait.
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

    /// Takes in records that have come. Whether there is nothing more for now.
    fn receive(&mut self) -> io::Result<bool> {
        let mut check = DrainCheck {
            socket: &self.socket,
            drained: false,
        };
        let count = self.session.read_tls(&mut check)?;
        let drained = check.drained && count > 0;
        if let Err(error) = self.session.process_new_packets() {
            // Why, for the client: where it is not taken at once, nobody waits for that.
            let _ = self.send();
            return Err(io::Error::other(error));
        }
        Ok(drained)
    }
}

/// How many bytes and messages are made into records at once: at least one message, where there is a
/// whole one.
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
    /// Fills the buffer, or empties the socket: its poller does not say twice that there is something.
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
    /// Takes whole messages, in one call of the system. What the socket does not take waits for the
    /// next call, or for [`Write::flush`].
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
        // A client that takes nothing sees the end of the connection all the same.
        let _ = self.send();
    }
}
