//! The connection of a client to the server: a non-blocking UDP socket, or a TCP stream of frames.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::{TcpStream, UdpSocket};
use mio::{Interest, Registry, Token};

use crate::relay::framer::{MAX_FRAME, next_frame};
use crate::url::Transport;

use super::target::Target;

/// Maximum number of bytes queued for a stream; further packets are dropped.
const MAX_SEND_BUFFER_BYTES: usize = 64 << 10;

/// Maximum size of a received datagram or frame.
pub(super) const MAX_MESSAGE_BYTES: usize = 65_536;

pub(super) enum Connection {
    Udp(UdpSocket),
    Tcp(Stream),
    /// Closed.
    Closed,
}

pub(super) struct Stream {
    socket: TcpStream,
    /// The start of an incomplete frame.
    incoming: Vec<u8>,
    outgoing: Vec<u8>,
}

impl Connection {
    /// Opens a socket, or starts to connect a stream.
    pub(super) fn open(
        target: Target,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Connection> {
        match target.transport {
            Transport::Udp => {
                let any: IpAddr = if target.address.is_ipv4() {
                    Ipv4Addr::UNSPECIFIED.into()
                } else {
                    Ipv6Addr::UNSPECIFIED.into()
                };
                let mut socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
                socket.connect(target.address)?;
                registry.register(&mut socket, token, Interest::READABLE)?;
                Ok(Connection::Udp(socket))
            }
            Transport::Tcp => {
                let mut socket = TcpStream::connect(target.address)?;
                // Only an optimization; some systems reject it before the connection is established.
                let _ = socket.set_nodelay(true);
                let both = Interest::READABLE | Interest::WRITABLE;
                registry.register(&mut socket, token, both)?;
                Ok(Connection::Tcp(Stream {
                    socket,
                    incoming: Vec::new(),
                    outgoing: Vec::new(),
                }))
            }
        }
    }

    /// Sends one complete message, or returns `WouldBlock`. On a stream, the caller must have padded it.
    pub(super) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self {
            Connection::Udp(socket) => socket.send(message).map(drop),
            Connection::Tcp(stream) => stream.send(message),
            Connection::Closed => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Writes queued bytes.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Connection::Tcp(stream) => stream.flush(),
            Connection::Udp(_) | Connection::Closed => Ok(()),
        }
    }

    /// Passes every received message to `each`. `buffer` has [`MAX_MESSAGE_BYTES`] bytes.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        loop {
            let read = match self {
                Connection::Udp(socket) => socket.recv(buffer).map(|len| each(&buffer[..len])),
                Connection::Tcp(stream) => stream.receive(buffer, &mut each),
                Connection::Closed => return Ok(()),
            };
            match read {
                Ok(()) => {}
                Err(error) if would_block(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn is_udp(&self) -> bool {
        matches!(self, Connection::Udp(_))
    }
}

impl Stream {
    fn send(&mut self, message: &[u8]) -> io::Result<()> {
        if self.outgoing.len() + message.len() > MAX_SEND_BUFFER_BYTES {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.outgoing.extend_from_slice(message);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        while !self.outgoing.is_empty() {
            match self.socket.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if would_block(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads once from the socket.
    fn receive(&mut self, buffer: &mut [u8], each: &mut impl FnMut(&[u8])) -> io::Result<()> {
        let read = self.socket.read(buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.incoming.extend_from_slice(&buffer[..read]);
        let mut done = 0;
        loop {
            let rest = &self.incoming[done..];
            match next_frame(rest)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?
            {
                Some(frame) => {
                    each(&rest[..frame.len]);
                    done += frame.padded;
                }
                None if rest.len() > MAX_FRAME => return Err(io::ErrorKind::InvalidData.into()),
                None => break,
            }
        }
        self.incoming.drain(..done);
        Ok(())
    }
}

/// Returns whether the operation may be retried later.
fn would_block(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, NotConnected, WouldBlock};
    matches!(error.kind(), WouldBlock | Interrupted | NotConnected)
}
