//! A TURN stream over TLS, past its handshake: what a shard reads and writes without waiting.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustls::ServerConnection;

use super::framer::next_frame;

/// Bytes made into records at once, as long as they are several messages.
const AT_ONCE: usize = 64 * 1024;

/// Records on a socket that never blocks. Dropping it tells the client that nothing was cut off.
pub struct TlsWire {
    socket: TcpStream,
    session: ServerConnection,
}

/// A socket, and whether the last read left nothing in it.
struct Tap<'a> {
    socket: &'a TcpStream,
    drained: bool,
}

impl TlsWire {
    pub fn new(socket: TcpStream, mut session: ServerConnection) -> TlsWire {
        // What is written is bounded here, so that it is whole messages.
        session.set_buffer_limit(None);
        TlsWire { socket, session }
    }

    /// Makes records of whole messages, and gives how many bytes it took. What is ready together
    /// shares records: sealing one costs as much as some hundred bytes in it.
    fn seal(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut taken = 0;
        while let Ok(Some(frame)) = next_frame(&bytes[taken..]) {
            if taken > 0 && taken + frame.padded > AT_ONCE {
                break;
            }
            taken += frame.padded;
        }
        self.session.writer().write_all(&bytes[..taken])?;
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
        let mut tap = Tap {
            socket: &self.socket,
            drained: false,
        };
        let count = self.session.read_tls(&mut tap)?;
        let drained = tap.drained && count > 0;
        if let Err(error) = self.session.process_new_packets() {
            // Why, for the client: where it is not taken at once, nobody waits for that.
            let _ = self.send();
            return Err(io::Error::other(error));
        }
        Ok(drained)
    }
}

impl Read for Tap<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.socket.read(buffer)?;
        self.drained = count < buffer.len();
        Ok(count)
    }
}

impl Read for TlsWire {
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

impl Write for TlsWire {
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

impl AsFd for TlsWire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for TlsWire {
    fn drop(&mut self) {
        self.session.send_close_notify();
        // A client that takes nothing sees the end of the connection all the same.
        let _ = self.send();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls;
    use rustls::pki_types::{CertificateDer, ServerName};
    use rustls::{ClientConfig, ClientConnection, RootCertStore};
    use std::net::TcpListener;
    use std::sync::Arc;

    /// Both ends, past their handshake.
    fn pair() -> (TlsWire, ClientConnection, TcpStream) {
        let place = tempfile::tempdir().unwrap();
        let (cert, key) = (place.path().join("cert"), place.path().join("key"));
        let made = rcgen::generate_simple_self_signed(["talk.example.org".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let current = tls::Current::new(&tls::read(&cert, &key).unwrap());
        let config = tls::server_config(current, &[]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(made.cert)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let believing = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("talk.example.org").unwrap();
        let mut client = ClientConnection::new(Arc::new(believing), name).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let shaking = std::thread::spawn(move || {
            let mut server = ServerConnection::new(config).unwrap();
            while server.is_handshaking() || server.wants_write() {
                server.complete_io(&mut far).unwrap();
            }
            far.set_nonblocking(true).unwrap();
            TlsWire::new(far, server)
        });
        while client.is_handshaking() || client.wants_write() {
            client.complete_io(&mut near).unwrap();
        }
        (shaking.join().unwrap(), client, near)
    }

    /// ChannelData with a payload of so many bytes.
    fn frame(payload: usize) -> Vec<u8> {
        let mut bytes = vec![0x40, 0];
        bytes.extend((payload as u16).to_be_bytes());
        bytes.resize(4 + payload.next_multiple_of(4), 7);
        bytes
    }

    /// How many records come until so many bytes of messages have.
    fn records(client: &mut ClientConnection, near: &mut TcpStream, expected: &[u8]) -> usize {
        let (mut heard, mut records) = (Vec::new(), 0);
        while heard.len() < expected.len() {
            let mut header = [0; 5];
            near.read_exact(&mut header).unwrap();
            let length = u16::from_be_bytes([header[3], header[4]]);
            let mut record = header.to_vec();
            record.resize(5 + usize::from(length), 0);
            near.read_exact(&mut record[5..]).unwrap();
            client.read_tls(&mut &record[..]).unwrap();
            client.process_new_packets().unwrap();
            let before = heard.len();
            // Nothing, where the record was a ticket.
            let _ = client.reader().read_to_end(&mut heard);
            records += usize::from(heard.len() > before);
        }
        assert!(heard == expected);
        records
    }

    #[test]
    fn messages_that_are_ready_together_share_a_record() {
        let (mut wire, mut client, mut near) = pair();
        let few = [frame(160), frame(0), frame(1200)].concat();
        assert_eq!(wire.write(&few).unwrap(), few.len());
        assert_eq!(records(&mut client, &mut near, &few), 1);
        let many = frame(1200).repeat(40);
        assert_eq!(wire.write(&many).unwrap(), many.len());
        let least = many.len().div_ceil(16 * 1024);
        assert_eq!(records(&mut client, &mut near, &many), least);
    }

    #[test]
    fn no_more_is_sealed_at_once_than_is_said_and_only_whole_messages() {
        let (mut wire, _client, _near) = pair();
        let many = frame(60_000).repeat(2);
        assert_eq!(wire.write(&many).unwrap(), many.len() / 2);
        let cut = [frame(8), vec![0x40, 0, 0, 8]].concat();
        assert_eq!(wire.write(&cut).unwrap(), 12);
    }
}
