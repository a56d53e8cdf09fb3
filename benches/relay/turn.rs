//! A minimal TURN client for load tests: allocates, binds a channel, and ends the allocation.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream, UdpSocket};
use std::rc::Rc;
use std::time::Duration;

use parlor::clock;
use parlor::credential::{Credentials, Minted, long_term_key};
use parlor::secret::Secret;
use parlor::stun::{Attribute, Class, IntegrityKey, Message, Method, Writer, decode_xor_address};

const RESPONSE_TIMEOUT: Duration = Duration::from_secs(1);
const TRIES: usize = 5;

/// The transport of a client to its server.
pub(crate) trait ClientTransport: Sized {
    fn to(server: SocketAddrV4) -> Self;

    /// Sends a request, and returns the response with this transaction id.
    fn ask(&self, request: &[u8], transaction: [u8; 12]) -> Vec<u8>;

    /// Makes the socket blocking again.
    fn set_blocking(&self);
}

impl ClientTransport for UdpSocket {
    fn to(server: SocketAddrV4) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(server).expect("a connection to the server");
        socket
            .set_read_timeout(Some(RESPONSE_TIMEOUT))
            .expect("a socket with a timeout");
        socket
    }

    fn ask(&self, request: &[u8], transaction: [u8; 12]) -> Vec<u8> {
        let mut buffer = [0; 2048];
        for _ in 0..TRIES {
            self.send(request).expect("a request sent");
            while let Ok(len) = self.recv(&mut buffer) {
                if len >= 20 && buffer[8..20] == transaction {
                    return buffer[..len].to_vec();
                }
            }
        }
        panic!("the server does not answer");
    }

    fn set_blocking(&self) {
        self.set_nonblocking(false).expect("a socket");
    }
}

impl ClientTransport for TcpStream {
    fn to(server: SocketAddrV4) -> TcpStream {
        let stream = TcpStream::connect(server).expect("a connection to the server");
        stream.set_nodelay(true).expect("a stream");
        stream
            .set_read_timeout(Some(RESPONSE_TIMEOUT))
            .expect("a stream with a timeout");
        stream
    }

    fn ask(&self, request: &[u8], transaction: [u8; 12]) -> Vec<u8> {
        let mut stream = self;
        ask(&mut stream, request, transaction)
    }

    fn set_blocking(&self) {
        self.set_nonblocking(false).expect("a stream");
    }
}

/// Sends a request on a stream, and returns the response with this transaction id.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    request: &[u8],
    transaction: [u8; 12],
) -> Vec<u8> {
    stream.write_all(request).expect("a request sent");
    stream.flush().expect("a request sent");
    loop {
        // Late data may precede the response.
        let mut message = vec![0; 4];
        stream.read_exact(&mut message).expect("an answer");
        let length = usize::from(u16::from_be_bytes([message[2], message[3]]));
        let header = if message[0] < 0x40 { 20 } else { 4 };
        message.resize((header + length).next_multiple_of(4), 0);
        stream.read_exact(&mut message[4..]).expect("an answer");
        if message[0] < 0x40 && message[8..20] == transaction {
            return message;
        }
    }
}

/// A client with an allocation.
pub(crate) struct Client<W = UdpSocket> {
    pub socket: Rc<W>,
    pub relayed: SocketAddrV4,
    username: String,
    key: IntegrityKey,
    realm: Vec<u8>,
    nonce: Vec<u8>,
    transactions: u32,
}

impl<W: ClientTransport> Client<W> {
    pub(crate) fn allocate(server: SocketAddrV4, secret: &str) -> Client<W> {
        let credentials = Credentials::new(&Secret::new(secret), &[]);
        let minted = credentials.mint("load", None, clock::now().unix + 86_400);
        let Minted {
            username,
            credential,
        } = minted;
        let mut client = Client {
            socket: Rc::new(W::to(server)),
            relayed: SocketAddrV4::new([0, 0, 0, 0].into(), 0),
            username,
            key: IntegrityKey::new(&[]),
            realm: Vec::new(),
            nonce: Vec::new(),
            transactions: 0,
        };
        let udp = (Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
        let challenge = client.request(Method::ALLOCATE, std::slice::from_ref(&udp));
        client.take_nonce(&challenge);
        let realm = String::from_utf8_lossy(&client.realm).into_owned();
        client.key = IntegrityKey::new(&long_term_key(&client.username, &realm, &credential));
        let answer = client.granted(Method::ALLOCATE, &[udp]);
        let answer = Message::parse(&answer).expect("a STUN message");
        let relayed = answer
            .get(Attribute::XOR_RELAYED_ADDRESS)
            .expect("a relayed address");
        match decode_xor_address(relayed, &answer.transaction()) {
            Some(SocketAddr::V4(relayed)) => client.relayed = relayed,
            other => panic!("expected an IPv4 relayed address: {other:?}"),
        }
        client
    }

    pub(crate) fn bind(&mut self, channel: u16, peer: SocketAddrV4) {
        let [high, low] = channel.to_be_bytes();
        let transaction = self.next_transaction();
        let mut value = [0; parlor::stun::MAX_XOR_ADDRESS];
        let len = parlor::stun::encode_xor_address(peer.into(), &transaction, &mut value);
        self.granted(
            Method::CHANNEL_BIND,
            &[
                (Attribute::CHANNEL_NUMBER, vec![high, low, 0, 0]),
                (Attribute::XOR_PEER_ADDRESS, value[..len].to_vec()),
            ],
        );
    }

    /// Ends the allocation.
    pub(crate) fn deallocate(&mut self) {
        self.socket.set_blocking();
        self.granted(Method::REFRESH, &[(Attribute::LIFETIME, vec![0; 4])]);
    }

    /// Sends a request, again with a new nonce if it was stale, and returns the success response.
    fn granted(&mut self, method: Method, attributes: &[(Attribute, Vec<u8>)]) -> Vec<u8> {
        for _ in 0..2 {
            let answer = self.request(method, attributes);
            let message = Message::parse(&answer).expect("a STUN message");
            if message.class() == Class::Success {
                return answer;
            }
            let code = message
                .get(Attribute::ERROR_CODE)
                .map(|code| code[2..4].to_vec());
            assert_eq!(code, Some(vec![4, 38]), "the server refused the request");
            self.take_nonce(&answer);
        }
        panic!("the server rejects every nonce as stale");
    }

    fn take_nonce(&mut self, answer: &[u8]) {
        let message = Message::parse(answer).expect("a STUN message");
        let take = |attribute| message.get(attribute).expect("realm and nonce").to_vec();
        self.realm = take(Attribute::REALM);
        self.nonce = take(Attribute::NONCE);
    }

    /// Sends a request, authenticated if there is a nonce, and returns the response.
    fn request(&mut self, method: Method, attributes: &[(Attribute, Vec<u8>)]) -> Vec<u8> {
        let transaction = self.next_transaction();
        self.transactions += 1;
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, Class::Request, transaction);
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        if !self.nonce.is_empty() {
            writer
                .attribute(Attribute::USERNAME, self.username.as_bytes())
                .attribute(Attribute::REALM, &self.realm)
                .attribute(Attribute::NONCE, &self.nonce)
                .integrity(&self.key)
                .fingerprint();
        }
        self.socket.ask(&out, transaction)
    }

    fn next_transaction(&self) -> [u8; 12] {
        let mut transaction = [7; 12];
        transaction[8..].copy_from_slice(&self.transactions.to_be_bytes());
        transaction
    }
}
