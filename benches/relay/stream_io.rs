//! The transport of a client over TCP, with and without TLS.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};

use parlor::tls::{Verification, client_config};
use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::turn::ClientTransport;

/// A byte stream to the server.
pub(crate) trait StreamTransport: ClientTransport {
    fn socket(&self) -> &TcpStream;

    /// Reads pending bytes without blocking.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes. A short busy wait is sufficient: at most a window of packets is in flight.
    fn write_all(&self, bytes: &[u8]);
}

impl StreamTransport for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut stream = self;
        Read::read(&mut stream, buffer)
    }

    fn write_all(&self, mut bytes: &[u8]) {
        let mut stream = self;
        while !bytes.is_empty() {
            match stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("the server closed the connection: {error}"),
            }
        }
    }
}

/// TLS that accepts any server certificate.
pub(crate) struct Tls {
    socket: TcpStream,
    session: RefCell<ClientConnection>,
}

impl Tls {
    /// Sends pending records.
    fn send(&self, session: &mut ClientConnection) {
        let mut socket = &self.socket;
        while session.wants_write() {
            match session.write_tls(&mut socket) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    panic!("the server closed the connection: {error}")
                }
                _ => {}
            }
        }
    }
}

impl ClientTransport for Tls {
    fn to(server: SocketAddrV4) -> Tls {
        let socket = <TcpStream as ClientTransport>::to(server);
        let config = client_config(Verification::None, None).expect("a configuration");
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(config, name).expect("a session");
        Tls {
            socket,
            session: RefCell::new(session),
        }
    }

    fn ask(&self, request: &[u8], transaction: [u8; 12]) -> Vec<u8> {
        let mut session = self.session.borrow_mut();
        let mut socket = &self.socket;
        super::turn::ask(
            &mut rustls::Stream::new(&mut *session, &mut socket),
            request,
            transaction,
        )
    }

    fn set_blocking(&self) {
        self.socket.set_blocking();
    }
}

impl StreamTransport for Tls {
    fn socket(&self) -> &TcpStream {
        &self.socket
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = self.session.borrow_mut();
        let mut filled = 0;
        loop {
            match session.reader().read(&mut buffer[filled..]) {
                Ok(0) => return Ok(filled),
                Ok(count) => {
                    filled += count;
                    continue;
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => {}
            }
            let mut socket = &self.socket;
            match session.read_tls(&mut socket) {
                Err(_) if filled > 0 => return Ok(filled),
                Err(error) => return Err(error),
                Ok(_) => session.process_new_packets().map_err(io::Error::other)?,
            };
        }
    }

    fn write_all(&self, bytes: &[u8]) {
        let mut session = self.session.borrow_mut();
        session.set_buffer_limit(None);
        let written = session.writer().write_all(bytes);
        written.expect("encrypted bytes");
        self.send(&mut session);
    }
}
