//! The way of a client that comes over TCP, with TLS and without.

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};

use super::turn::Way;

/// Bytes in both directions.
pub trait Wire: Way {
    fn socket(&self) -> &TcpStream;

    /// What has come; never waits.
    fn read(&self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Sends everything. What there is to wait for is short: no more than a window is under way.
    fn write_all(&self, bytes: &[u8]);
}

impl Wire for TcpStream {
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
                Err(error) => panic!("the server hangs up: {error}"),
            }
        }
    }
}

/// TLS that believes whatever the server says it is.
pub struct Tls {
    socket: TcpStream,
    session: RefCell<ClientConnection>,
}

impl Tls {
    /// Sends the records that wait.
    fn send(&self, session: &mut ClientConnection) {
        let mut socket = &self.socket;
        while session.wants_write() {
            match session.write_tls(&mut socket) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    panic!("the server hangs up: {error}")
                }
                _ => {}
            }
        }
    }
}

impl Way for Tls {
    fn to(server: SocketAddrV4) -> Tls {
        let socket = <TcpStream as Way>::to(server);
        let provider = Arc::new(ring::default_provider());
        let believing = Believing(provider.signature_verification_algorithms);
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(believing))
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").expect("a name");
        let session = ClientConnection::new(Arc::new(config), name).expect("a session");
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

    fn wait(&self) {
        self.socket.wait();
    }
}

impl Wire for Tls {
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
        written.expect("records are made");
        self.send(&mut session);
    }
}

/// No attacker is on loopback.
#[derive(Debug)]
struct Believing(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
