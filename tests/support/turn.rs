//! A TURN client that sends exactly the given bytes, over UDP, TCP or TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;

use parlor::credential::{Credentials, Minted, long_term_key, long_term_key_sha256};
use parlor::secret::Secret;
use parlor::stun::{
    Attribute, Class, IntegrityKey, Message, Method, Writer, decode_xor_address, encode_xor_address,
};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::DEADLINE;

/// The secret with which the tests issue credentials.
pub(crate) const SECRET: &str = "a secret for tests alone";

/// A credential with this name, as a service that has the secret issues it.
pub(crate) fn minted(name: &str) -> Minted {
    let credentials = Credentials::new(&Secret::new(SECRET), &[]);
    let credential = credentials.passwords(name).next().expect("a secret");
    Minted {
        username: name.to_owned(),
        credential,
    }
}

pub(crate) enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<Secured>),
}

/// TLS over a TCP stream.
pub(crate) type Secured = StreamOwned<ClientConnection, SmallWrites>;

/// A stream that sends a few bytes at a time, in a packet each.
pub(crate) struct SmallWrites {
    pub stream: TcpStream,
    pub size: usize,
}

pub(crate) struct Client {
    pub wire: Wire,
    pub minted: Minted,
    pub nonce: Vec<u8>,
    /// Whether the client accepts SHA-256 (RFC 8489), which browsers do not.
    pub sha256: bool,
    transaction: u64,
}

/// A received message.
pub(crate) struct Answer(pub Vec<u8>);

impl Client {
    pub(crate) fn udp(server: SocketAddr, user: &str, room: Option<&str>) -> Client {
        let any = if server.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Client::over(Wire::Udp(socket), user, room)
    }

    pub(crate) fn tcp(server: SocketAddr, user: &str) -> Client {
        let stream = TcpStream::connect(server).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Client::over(Wire::Tcp(stream), user, None)
    }

    /// Over TLS, with a server that has a certificate for this address.
    pub(crate) fn tls(server: SocketAddr, user: &str, config: &Arc<ClientConfig>) -> Client {
        Client::over(Wire::Tls(Box::new(secured(server, config))), user, None)
    }

    pub(crate) fn over(wire: Wire, user: &str, room: Option<&str>) -> Client {
        let credentials = Credentials::new(&Secret::new(SECRET), &[]);
        Client {
            wire,
            minted: credentials.mint(user, room, 4_000_000_000),
            nonce: Vec::new(),
            sha256: false,
            transaction: 0,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
            Wire::Tcp(stream) => stream.write_all(bytes).unwrap(),
            Wire::Tls(stream) => {
                stream.write_all(bytes).unwrap();
                stream.flush().unwrap();
            }
        }
    }

    /// The next message; of a stream exactly one, without its padding.
    pub(crate) fn receive(&mut self) -> Vec<u8> {
        match &mut self.wire {
            Wire::Udp(socket) => {
                let mut buffer = vec![0; 65_536];
                let len = socket.recv(&mut buffer).expect("a datagram in time");
                buffer.truncate(len);
                buffer
            }
            Wire::Tcp(stream) => receive_frame(stream),
            Wire::Tls(stream) => receive_frame(stream),
        }
    }

    /// A request signed where a nonce is known, and its answer.
    pub(crate) fn request(
        &mut self,
        method: Method,
        attributes: &[(Attribute, Vec<u8>)],
    ) -> Answer {
        let request = self.signed(method, attributes);
        self.send(&request);
        Answer(self.receive())
    }

    pub(crate) fn signed(
        &mut self,
        method: Method,
        attributes: &[(Attribute, Vec<u8>)],
    ) -> Vec<u8> {
        self.transaction += 1;
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, Class::Request, self.transaction_id());
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        if self.nonce.is_empty() {
            writer.fingerprint();
            return out;
        }
        if self.sha256 {
            writer = writer
                .attribute(Attribute::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0])
                .attribute(Attribute::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
        }
        writer
            .attribute(Attribute::USERNAME, self.minted.username.as_bytes())
            .attribute(Attribute::REALM, b"parlor")
            .attribute(Attribute::NONCE, &self.nonce)
            .integrity(&self.key())
            .fingerprint();
        out
    }

    /// The key that signs requests and responses.
    pub(crate) fn key(&self) -> IntegrityKey {
        let Minted {
            username,
            credential,
        } = &self.minted;
        if self.sha256 {
            IntegrityKey::sha256(&long_term_key_sha256(username, "parlor", credential))
        } else {
            IntegrityKey::new(&long_term_key(username, "parlor", credential))
        }
    }

    /// Fetches a nonce and requests an allocation.
    pub(crate) fn allocate(&mut self) -> Answer {
        self.allocate_with(&[])
    }

    /// Fetches a nonce and requests an allocation with REQUESTED-TRANSPORT UDP and the attributes `more`.
    pub(crate) fn allocate_with(&mut self, more: &[(Attribute, Vec<u8>)]) -> Answer {
        let udp = [(Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])];
        self.nonce.clear();
        let challenge = self.request(Method::ALLOCATE, &udp);
        assert_eq!(challenge.code(), Some(401));
        self.nonce = challenge.message().get(Attribute::NONCE).unwrap().to_vec();
        self.request(Method::ALLOCATE, &[&udp, more].concat())
    }

    /// The relayed address of a new allocation.
    pub(crate) fn allocated(&mut self) -> SocketAddr {
        let answer = self.allocate();
        assert_eq!(answer.code(), None);
        answer
            .address(Attribute::XOR_RELAYED_ADDRESS)
            .expect("a relayed address")
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> Answer {
        let peer = self.xor_peer(peer);
        self.request(Method::CREATE_PERMISSION, &[peer])
    }

    pub(crate) fn bind(&mut self, number: u16, peer: SocketAddr) -> Answer {
        let [high, low] = number.to_be_bytes();
        let peer = self.xor_peer(peer);
        let number = (Attribute::CHANNEL_NUMBER, vec![high, low, 0, 0]);
        self.request(Method::CHANNEL_BIND, &[number, peer])
    }

    /// The peer address, masked for the next transaction.
    fn xor_peer(&mut self, peer: SocketAddr) -> (Attribute, Vec<u8>) {
        self.transaction += 1;
        let id = self.transaction_id();
        self.transaction -= 1;
        let mut value = [0; 20];
        let len = encode_xor_address(peer, &id, &mut value);
        (Attribute::XOR_PEER_ADDRESS, value[..len].to_vec())
    }

    fn transaction_id(&self) -> [u8; 12] {
        let mut id = [0x5a; 12];
        id[4..].copy_from_slice(&self.transaction.to_be_bytes());
        id
    }
}

impl Answer {
    pub(crate) fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("a STUN message")
    }

    pub(crate) fn code(&self) -> Option<u16> {
        let value = self.message().get(Attribute::ERROR_CODE)?;
        Some(u16::from(value[2]) * 100 + u16::from(value[3]))
    }

    pub(crate) fn address(&self, attribute: Attribute) -> Option<SocketAddr> {
        self.addresses(attribute).first().copied()
    }

    /// The addresses in all attributes of this type.
    pub(crate) fn addresses(&self, attribute: Attribute) -> Vec<SocketAddr> {
        let message = self.message();
        let values = message.attributes().filter(|(a, _)| *a == attribute);
        let decode = |value| decode_xor_address(value, &message.transaction());
        values.filter_map(|(_, value)| decode(value)).collect()
    }
}

/// Two clients, each with a channel to the other.
pub(crate) fn connected(mut alice: Client, mut bob: Client) -> (Client, Client) {
    let (at_alice, at_bob) = (alice.allocated(), bob.allocated());
    assert_eq!(alice.bind(0x4001, at_bob).code(), None);
    assert_eq!(bob.bind(0x4002, at_alice).code(), None);
    (alice, bob)
}

pub(crate) fn both_hear_each_other(alice: &mut Client, bob: &mut Client, padded: bool) {
    alice.send(&channel_data(0x4001, b"\x80 hello, bob!", padded));
    assert_eq!(
        bob.receive(),
        channel_data(0x4002, b"\x80 hello, bob!", false)
    );
    bob.send(&channel_data(0x4002, b"\x80 hello, alice!", padded));
    assert_eq!(
        alice.receive(),
        channel_data(0x4001, b"\x80 hello, alice!", false)
    );
}

/// A ChannelData message, with the padding of streams if `padded`.
pub(crate) fn channel_data(number: u16, data: &[u8], padded: bool) -> Vec<u8> {
    let mut out = number.to_be_bytes().to_vec();
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    if padded {
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

/// A TLS connection over TCP, before its first application data.
pub(crate) fn secured(server: SocketAddr, config: &Arc<ClientConfig>) -> Secured {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let name = ServerName::from(server.ip());
    let session = ClientConnection::new(config.clone(), name).unwrap();
    let size = usize::MAX;
    StreamOwned::new(session, SmallWrites { stream, size })
}

impl Read for SmallWrites {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }
}

impl Write for SmallWrites {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(&bytes[..bytes.len().min(self.size)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

fn receive_frame(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    stream.read_exact(&mut bytes).expect("a frame in time");
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    let total = if bytes[0] < 0x40 {
        20 + length
    } else {
        4 + length
    };
    bytes.resize(total.next_multiple_of(4), 0);
    stream
        .read_exact(&mut bytes[4..])
        .expect("the whole frame in time");
    bytes.truncate(total);
    bytes
}
