//! Sends random valid and invalid requests to parlor and to coturn's server, and compares the responses.
//! The test fails on each difference that is not listed with the RFC clause that decides it.
//!
//! `DIFFERENTIAL_SEED` selects a run, and `DIFFERENTIAL_STEPS` its length;
//! `tests/long/differential` does both.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::time::Duration;

use parlor::credential::{Credentials, Minted, long_term_key};
use parlor::secret::Secret;
use parlor::stun::{
    Attribute, Class, HEADER, IntegrityKey, Message, Method, Writer, decode_xor_address,
};
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use crate::coturn::tool;
use crate::support::{DEADLINE, turn::SECRET};
use crate::{Deadline, open_relay};

const CLIENTS: usize = 3;
const UNKNOWN: Attribute = Attribute(0x7f01);
const DONT_FRAGMENT: Attribute = Attribute(0x001a);

/// A step, and the outcomes of both servers.
struct Case<'a> {
    step: &'a Step,
    held: bool,
    /// The client had an allocation and ended it.
    ended: bool,
    parlor: &'a str,
    coturn: &'a str,
}

type Listed = fn(&Case<'_>) -> bool;

/// The differences of coturn 4.6, each with the clause that requires the response of parlor.
const LISTED: [(&str, Listed); 11] = [
    (
        "RFC 8656 section 5: without an allocation, any request but Allocate is 437",
        |case| {
            let coturn = ["400", "401", "403", "441", "443"].contains(&case.coturn);
            !case.held && case.parlor == "437" && !case.is(Method::ALLOCATE) && coturn
        },
    ),
    (
        "RFC 8656 sections 7.2 and 5, RFC 8489 section 9.2.4: who asks is judged before anything else",
        |case| {
            let proven = [Flaw::None, Flaw::Unknown, Flaw::OtherUser];
            let parlor = ["400", "401", "438"].contains(&case.parlor);
            let coturn = ["437", "441"].contains(&case.coturn);
            !proven.contains(&case.flaw()) && parlor && coturn
        },
    ),
    (
        "RFC 8489 section 6.3.1: what is not understood is 420 before the method judges",
        |case| case.flaw() == Flaw::Unknown && case.parlor.starts_with("420 "),
    ),
    (
        "RFC 8656 section 7.2: a token that is not valid is 508",
        |case| {
            case.has(Attribute::RESERVATION_TOKEN) && case.parlor == "508" && case.coturn == "404"
        },
    ),
    (
        "RFC 8656 section 7.2: a transport that is not UDP is 442",
        |case| case.is(Method::ALLOCATE) && case.parlor == "442" && case.coturn == "400",
    ),
    (
        "RFC 8656 sections 7.2, 8.2, 10.2 and 12.2: what can't be read is refused",
        |case| {
            let either = ["400", "443"].contains(&case.parlor);
            (case.names(Peer::Malformed) || case.is_short()) && either
        },
    ),
    (
        "RFC 8656 section 12.2: a number outside 0x4000 to 0x4FFF, or none, is 400",
        |case| case.is(Method::CHANNEL_BIND) && case.parlor == "400" && !case.has_channel_number(),
    ),
    (
        "RFC 8656 sections 10.2 and 12.2: numbers, then families, then who is denied",
        |case| {
            let judged = [("400", "443"), ("443", "403")];
            case.names(Peer::OtherFamily) && judged.contains(&(case.parlor, case.coturn))
        },
    ),
    (
        "RFC 8656 section 7.2: a retransmission is answered as before; coturn leaves the token out",
        |case| case.is_again() && case.parlor == format!("{} token", case.coturn),
    ),
    (
        "RFC 8656 section 8.2: a lifetime of zero deletes the allocation; coturn still knows it",
        |case| !case.held && case.ended && case.coturn != "silence",
    ),
    (
        "RFC 8656 section 7.2: who was refused holds no five-tuple; coturn keeps their name",
        |case| !case.held && case.is(Method::ALLOCATE) && case.coturn == "437",
    ),
];

impl Case<'_> {
    fn is(&self, wanted: Method) -> bool {
        matches!(self.step, Step::Request { method, .. } if *method == wanted)
    }

    fn has(&self, wanted: Attribute) -> bool {
        let Step::Request { attributes, .. } = self.step else {
            return false;
        };
        attributes.iter().any(|(attribute, _)| *attribute == wanted)
    }

    /// Whether a LIFETIME or a REQUESTED-TRANSPORT is too short.
    fn is_short(&self) -> bool {
        let Step::Request { attributes, .. } = self.step else {
            return false;
        };
        let four = [Attribute::LIFETIME, Attribute::REQUESTED_TRANSPORT];
        let mut four = attributes.iter().filter(|(known, _)| four.contains(known));
        four.any(|(_, value)| value.len() != 4)
    }

    fn has_channel_number(&self) -> bool {
        let Step::Request { attributes, .. } = self.step else {
            return false;
        };
        let number = |(attribute, value): &(Attribute, Vec<u8>)| {
            *attribute == Attribute::CHANNEL_NUMBER && value.len() == 4 && value[0] >> 4 == 4
        };
        attributes.iter().any(number)
    }

    fn names(&self, wanted: Peer) -> bool {
        matches!(self.step, Step::Request { peers, .. } if peers.contains(&wanted))
    }

    fn is_again(&self) -> bool {
        matches!(self.step, Step::Request { again: true, .. })
    }

    fn flaw(&self) -> Flaw {
        match self.step {
            Step::Request { flaw, .. } => *flaw,
            _ => Flaw::None,
        }
    }
}

/// coturn's server. Dropping it kills the process.
struct Coturn {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Coturn {
    fn start() -> Coturn {
        // It cannot select a port itself: use one that was free a moment ago.
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let inside = |name: &str| folder.path().join(name).display().to_string();
        let child = tool("turnserver")
            .args(["-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1"])
            .arg(format!("--listening-port={}", address.port()))
            .args([
                "--use-auth-secret",
                "--realm=parlor",
                "--no-cli",
                "--no-tls",
                "--no-dtls",
            ])
            .arg(format!("--static-auth-secret={SECRET}"))
            .args([
                "--allow-loopback-peers",
                "--no-multicast-peers",
                "--no-tcp-relay",
            ])
            .args([
                "--denied-peer-ip=10.0.0.0-10.255.255.255",
                "--relay-threads=0",
            ])
            .args(["--min-port=20000", "--max-port=29999", "--log-file=stdout"])
            .arg(format!("--pidfile={}", inside("pid")))
            .arg(format!("--userdb={}", inside("db")))
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("turnserver starts");
        let coturn = Coturn {
            child,
            address,
            _folder: folder,
        };
        coturn.wait_until_it_answers();
        coturn
    }

    fn wait_until_it_answers(&self) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let deadline = Deadline::new();
        let mut buffer = [0; 2048];
        loop {
            deadline.check("coturn");
            let _ = socket.send_to(&binding([9; 12]), self.address);
            if socket.recv(&mut buffer).is_ok() {
                return;
            }
        }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binding(transaction: [u8; 12]) -> Vec<u8> {
    let mut out = Vec::new();
    Writer::new(&mut out, Method::BINDING, Class::Request, transaction).fingerprint();
    out
}

/// One server with its clients and peers.
struct Side {
    server: SocketAddr,
    clients: Vec<Client>,
    /// Clients whose sockets stay open, so that no other client gets their five-tuple.
    before: Vec<Client>,
    peers: [UdpSocket; 2],
}

struct Client {
    socket: UdpSocket,
    nonce: Vec<u8>,
    relayed: Option<SocketAddr>,
    ended: bool,
    /// The transaction of the last request, for retransmissions.
    transaction: u64,
}

/// The peer of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Peer {
    First,
    Second,
    Denied,
    OtherFamily,
    Malformed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    Unsigned,
    BadKey,
    WrongRealm,
    WrongNonce,
    NoUsername,
    NoRealm,
    NoNonce,
    Unknown,
    Expired,
    OtherUser,
    NoTimestamp,
    Length,
}

#[derive(Debug, Clone)]
enum Step {
    Request {
        method: Method,
        attributes: Vec<(Attribute, Vec<u8>)>,
        peers: Vec<Peer>,
        flaw: Flaw,
        again: bool,
    },
    Send {
        peer: Option<Peer>,
        data: Option<Vec<u8>>,
        unknown: bool,
    },
    Channel {
        number: u16,
        data: Vec<u8>,
        says: u16,
    },
    FromPeer {
        peer: usize,
        data: Vec<u8>,
    },
    Noise {
        bytes: Vec<u8>,
    },
}

impl Client {
    fn new(server: SocketAddr) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Client {
            socket,
            nonce: Vec::new(),
            relayed: None,
            ended: false,
            transaction: 0,
        }
    }

    fn transaction(&self) -> [u8; 12] {
        let mut id = [0x5a; 12];
        id[4..].copy_from_slice(&self.transaction.to_be_bytes());
        id
    }

    /// The response to a request; `None` if there is none. coturn checks credentials in another thread, so other
    /// responses may arrive first.
    fn answer(&mut self) -> Option<Vec<u8>> {
        let patient = self.socket.read_timeout().unwrap();
        self.socket
            .set_read_timeout(Some(Duration::from_millis(250)))
            .unwrap();
        let answer = self.receive();
        self.socket.set_read_timeout(patient).unwrap();
        answer
    }

    /// Waits for data of a peer, which arrives at another socket of the server and may be late.
    fn wait_for_data(&self) {
        let patient = self.socket.read_timeout().unwrap();
        let some = Some(Duration::from_millis(20));
        self.socket.set_read_timeout(some).unwrap();
        let _ = self.socket.peek(&mut [0; 1]);
        self.socket.set_read_timeout(patient).unwrap();
    }

    /// The messages before the response to a final Binding request, so that no timeout is needed. Repeated, because
    /// data arrives at other sockets.
    fn heard(&mut self) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        for round in 0..3 {
            let mark = [0xb0 + round; 12];
            self.socket.send(&binding(mark)).unwrap();
            loop {
                let message = self.receive().expect("an answer in time");
                if message.get(8..HEADER) == Some(&mark) {
                    break;
                }
                heard.push(message);
            }
        }
        heard
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let length = self.socket.recv(&mut buffer).ok()?;
        buffer.truncate(length);
        Some(buffer)
    }
}

impl Side {
    fn new(server: SocketAddr) -> Side {
        let peer = || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        Side {
            server,
            clients: (0..CLIENTS).map(|_| Client::new(server)).collect(),
            before: Vec::new(),
            peers: [peer(), peer()],
        }
    }

    fn peer(&self, peer: Peer) -> SocketAddr {
        match peer {
            Peer::First => self.peers[0].local_addr().unwrap(),
            Peer::Second => self.peers[1].local_addr().unwrap(),
            Peer::Denied => "10.1.2.3:9".parse().unwrap(),
            Peer::OtherFamily | Peer::Malformed => "[2001:db8::1]:9".parse().unwrap(),
        }
    }

    fn write_peer<'a>(&self, writer: Writer<'a>, peer: Peer) -> Writer<'a> {
        match peer {
            Peer::Malformed => writer.attribute(Attribute::XOR_PEER_ADDRESS, &[0, 1, 2]),
            _ => writer.xor_address(Attribute::XOR_PEER_ADDRESS, self.peer(peer)),
        }
    }

    /// Executes one step, and describes its outcome.
    fn take(&mut self, index: usize, step: &Step) -> String {
        let bytes = match step {
            Step::Request { .. } => self.request(index, step),
            Step::Send {
                peer,
                data,
                unknown,
            } => {
                self.clients[index].transaction += 1;
                let mut out = Vec::new();
                let id = self.clients[index].transaction();
                let mut writer = Writer::new(&mut out, Method::SEND, Class::Indication, id);
                if let Some(peer) = peer {
                    writer = self.write_peer(writer, *peer);
                }
                if let Some(data) = data {
                    writer = writer.attribute(Attribute::DATA, data);
                }
                if *unknown {
                    let _ = writer.attribute(UNKNOWN, &[1; 4]);
                }
                out
            }
            Step::Channel { number, data, says } => {
                let [a, b] = number.to_be_bytes();
                let [c, d] = says.to_be_bytes();
                [&[a, b, c, d], &data[..]].concat()
            }
            Step::FromPeer { peer, data } => {
                if let Some(relayed) = self.clients[index].relayed {
                    self.peers[*peer].send_to(data, relayed).unwrap();
                }
                Vec::new()
            }
            Step::Noise { bytes } => bytes.clone(),
        };
        if !bytes.is_empty() {
            self.clients[index].socket.send(&bytes).unwrap();
        }
        let answered = matches!(step, Step::Request { flaw, .. } if *flaw != Flaw::Length);
        let answer = if answered {
            self.clients[index].answer()
        } else {
            None
        };
        if let Step::FromPeer { .. } = step {
            self.clients[index].wait_for_data();
        }
        let heard: Vec<_> = answer
            .into_iter()
            .chain(self.clients[index].heard())
            .collect();
        let mut words: Vec<String> = heard.iter().map(|m| self.words(index, m)).collect();
        for (number, peer) in self.peers.iter().enumerate() {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = peer.recv_from(&mut buffer) {
                let ours = self.clients[index].relayed == Some(from);
                words.push(format!(
                    "peer {number} got {:?} (from the relayed address: {ours})",
                    &buffer[..length]
                ));
            }
        }
        if words.is_empty() {
            words.push("silence".to_owned());
        }
        words.join("; ")
    }

    fn request(&mut self, index: usize, step: &Step) -> Vec<u8> {
        let Step::Request {
            method,
            attributes,
            peers,
            flaw,
            again,
        } = step
        else {
            unreachable!("only requests are written here");
        };
        if !again {
            self.clients[index].transaction += 1;
        }
        let client = &self.clients[index];
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, *method, Class::Request, client.transaction());
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        for peer in peers {
            writer = self.write_peer(writer, *peer);
        }
        if *flaw == Flaw::Unknown {
            writer = writer.attribute(UNKNOWN, &[1; 4]);
        }
        if *flaw == Flaw::Unsigned {
            writer.fingerprint();
            return out;
        }
        let minted = minted(index, *flaw);
        let realm = if *flaw == Flaw::WrongRealm {
            "elsewhere"
        } else {
            "parlor"
        };
        let said: [(Attribute, &[u8], Flaw); 3] = [
            (
                Attribute::USERNAME,
                minted.username.as_bytes(),
                Flaw::NoUsername,
            ),
            (Attribute::REALM, realm.as_bytes(), Flaw::NoRealm),
            (
                Attribute::NONCE,
                if *flaw == Flaw::WrongNonce {
                    b"wrong"
                } else {
                    &client.nonce
                },
                Flaw::NoNonce,
            ),
        ];
        for (attribute, value, without) in said {
            if *flaw != without {
                writer = writer.attribute(attribute, value);
            }
        }
        let password = if *flaw == Flaw::BadKey {
            "bad"
        } else {
            &minted.credential
        };
        let key = IntegrityKey::new(&long_term_key(&minted.username, realm, password));
        writer.integrity(&key).fingerprint();
        if *flaw == Flaw::Length {
            out[3] = out[3].wrapping_add(4);
        }
        out
    }

    /// The received message, without the parts that a server may choose.
    fn words(&mut self, index: usize, bytes: &[u8]) -> String {
        let Ok(message) = Message::parse(bytes) else {
            return format!("channel data {bytes:?}");
        };
        let client = &mut self.clients[index];
        let address = |attribute| {
            let value = message.get(attribute)?;
            decode_xor_address(value, &message.transaction())
        };
        if message.method() == Method::DATA {
            let data = message.get(Attribute::DATA);
            let peer = address(Attribute::XOR_PEER_ADDRESS);
            let peer = self.peers.iter().position(|p| p.local_addr().ok() == peer);
            return format!("data {data:?} from peer {peer:?}");
        }
        if let Some(nonce) = message.get(Attribute::NONCE) {
            client.nonce = nonce.to_vec();
        }
        let mut words = format!("{:?} {:?}", message.method(), message.class());
        if let Some(value) = message.get(Attribute::ERROR_CODE) {
            words = format!("{}", u16::from(value[2]) * 100 + u16::from(value[3]));
        }
        let matches = message.transaction() == client.transaction();
        assert!(matches, "a response to another request: {words}");
        if let Some(relayed) = address(Attribute::XOR_RELAYED_ADDRESS) {
            client.relayed = Some(relayed);
            words += &format!(" relayed {}", relayed.ip());
        }
        if let Some(value) = message.get(Attribute::LIFETIME) {
            words += &format!(" lifetime {value:?}");
            if value == [0; 4] {
                client.ended |= client.relayed.take().is_some();
            }
        }
        if address(Attribute::XOR_MAPPED_ADDRESS) == client.socket.local_addr().ok() {
            words += " mapped";
        }
        if message.get(Attribute::RESERVATION_TOKEN).is_some() {
            words += " token";
        }
        if let Some(list) = message.get(Attribute::UNKNOWN_ATTRIBUTES) {
            words += &format!(" unknown {list:?}");
        }
        words
    }

    /// Replaces a client with a new one.
    fn begin_anew(&mut self, index: usize) {
        let before = std::mem::replace(&mut self.clients[index], Client::new(self.server));
        self.before.push(before);
    }
}

fn minted(index: usize, flaw: Flaw) -> Minted {
    let credentials = Credentials::new(&Secret::new(SECRET), &[]);
    let user = match flaw {
        Flaw::OtherUser => "mallory".to_owned(),
        _ => format!("user-{index}"),
    };
    let expires = if flaw == Flaw::Expired {
        1_000_000_000
    } else {
        2_100_000_000 /* coturn reads no more than 31 bits */
    };
    let minted = credentials.mint(&user, None, expires);
    match flaw {
        Flaw::NoTimestamp => Minted {
            username: user,
            ..minted
        },
        _ => minted,
    }
}

/// A random step, mostly of a correct client.
fn step(random: &mut ChaCha12Rng) -> Step {
    let mut pick = |weights: &[u32]| {
        let mut at = random.random_range(0..weights.iter().sum::<u32>());
        weights
            .iter()
            .position(|weight| match at.checked_sub(*weight) {
                Some(rest) => {
                    at = rest;
                    false
                }
                None => true,
            })
            .expect("a choice")
    };
    let data = |length: usize| (0..length).map(|at| at as u8).collect::<Vec<_>>();
    const PEERS: [Peer; 5] = [
        Peer::First,
        Peer::Second,
        Peer::Denied,
        Peer::OtherFamily,
        Peer::Malformed,
    ];
    let usual = [8, 4, 1, 1, 1];
    let kind = pick(&[10, 4, 5, 5, 2, 4, 5, 5, 1]);
    if kind == 5 {
        let peer = (pick(&[9, 1]) == 0).then(|| PEERS[pick(&usual)]);
        let length = [0, 1, 4, 100][pick(&[1, 1, 1, 1])];
        return Step::Send {
            peer,
            data: (pick(&[9, 1]) == 0).then(|| data(length)),
            unknown: pick(&[9, 1]) == 1,
        };
    }
    if kind == 6 {
        let number = [0x4000, 0x4001, 0x4002, 0x3fff, 0x4fff, 0x5000][pick(&[4, 4, 1, 1, 1, 1])];
        let length = [0, 1, 4, 100][pick(&[1, 1, 1, 1])];
        let data = data(length);
        let says = [data.len() as u16, data.len() as u16 + 4][pick(&[9, 1])];
        return Step::Channel { number, data, says };
    }
    if kind == 7 {
        let length = [1, 4, 100][pick(&[1, 1, 1])];
        return Step::FromPeer {
            peer: pick(&[2, 1]),
            data: data(length),
        };
    }
    if kind == 8 {
        let bytes = [
            vec![0],
            vec![0x80; 30],
            vec![0; 20],
            vec![0x40, 0, 0],
            b"GET / HTTP/1.1".to_vec(),
        ];
        return Step::Noise {
            bytes: bytes[pick(&[1; 5])].clone(),
        };
    }
    let method = [
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
        Method::BINDING,
    ][kind];
    let mut attributes = Vec::new();
    let mut peers = Vec::new();
    if kind == 0 {
        let transports = [
            Some(vec![17, 0, 0, 0]),
            Some(vec![6, 0, 0, 0]),
            Some(vec![99, 0, 0, 0]),
            Some(vec![17]),
            None,
        ];
        let transport = transports[pick(&[12, 1, 1, 1, 1])].clone();
        attributes.extend(transport.map(|value| (Attribute::REQUESTED_TRANSPORT, value)));
        match pick(&[12, 1, 1, 1, 1, 1, 1, 1, 1]) {
            1 => attributes.push((Attribute::EVEN_PORT, vec![0])),
            2 => attributes.push((Attribute::EVEN_PORT, vec![0x80])),
            3 => attributes.push((Attribute::RESERVATION_TOKEN, vec![7; 8])),
            4 => attributes.extend([
                (Attribute::RESERVATION_TOKEN, vec![7; 8]),
                (Attribute::EVEN_PORT, vec![0]),
            ]),
            5 => attributes.push((Attribute::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0])),
            6 => attributes.push((Attribute::REQUESTED_ADDRESS_FAMILY, vec![3, 0, 0, 0])),
            7 => attributes.extend([
                (Attribute::RESERVATION_TOKEN, vec![7; 8]),
                (Attribute::REQUESTED_ADDRESS_FAMILY, vec![1, 0, 0, 0]),
            ]),
            8 => attributes.push((DONT_FRAGMENT, Vec::new())),
            _ => {}
        }
    }
    if kind <= 1 {
        let lifetimes: [&[u8]; 6] = [
            &[0, 0, 0, 0],
            &[0, 0, 0, 1],
            &[0, 0, 3, 9],
            &[0, 0, 14, 15],
            &[0, 1, 0, 0],
            &[1, 2],
        ];
        let lifetime = (pick(&[2, 1]) == 1).then(|| lifetimes[pick(&[3, 1, 1, 1, 1, 1])]);
        attributes.extend(lifetime.map(|value| (Attribute::LIFETIME, value.to_vec())));
    }
    if kind == 1 && pick(&[6, 1]) == 1 {
        attributes.push((
            Attribute::REQUESTED_ADDRESS_FAMILY,
            vec![1 + pick(&[1, 1]) as u8, 0, 0, 0],
        ));
    }
    if kind == 2 {
        peers = (0..pick(&[1, 6, 2])).map(|_| PEERS[pick(&usual)]).collect();
    }
    if kind == 3 {
        let numbers = [
            vec![0x40, 0, 0, 0],
            vec![0x40, 1, 0, 0],
            vec![0x3f, 0xff, 0, 0],
            vec![0x4f, 0xff, 0, 0],
            vec![0x50, 0, 0, 0],
            vec![0x40, 0],
        ];
        let number = (pick(&[12, 1]) == 0).then(|| numbers[pick(&[4, 4, 1, 1, 1, 1])].clone());
        attributes.extend(number.map(|value| (Attribute::CHANNEL_NUMBER, value)));
        peers = (0..pick(&[1, 12])).map(|_| PEERS[pick(&usual)]).collect();
    }
    let flaws = [
        Flaw::None,
        Flaw::Unsigned,
        Flaw::BadKey,
        Flaw::WrongRealm,
        Flaw::WrongNonce,
        Flaw::NoUsername,
        Flaw::NoRealm,
        Flaw::NoNonce,
        Flaw::Unknown,
        Flaw::Expired,
        Flaw::OtherUser,
        Flaw::NoTimestamp,
        Flaw::Length,
    ];
    let flaw = match kind {
        4 => [Flaw::Unsigned, Flaw::Unknown][pick(&[3, 1])],
        _ => flaws[pick(&[40, 2, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1])],
    };
    let again = pick(&[12, 1]) == 1;
    Step::Request {
        method,
        attributes,
        peers,
        flaw,
        again,
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

#[test]
fn parlor_and_coturn_answer_the_same_except_where_the_rfc_decides() {
    let daemon = open_relay().start();
    let coturn = Coturn::start();
    let seed = number("DIFFERENTIAL_SEED", 1);
    let steps = number("DIFFERENTIAL_STEPS", 1200);
    eprintln!("DIFFERENTIAL_SEED={seed}");
    let mut random = ChaCha12Rng::seed_from_u64(seed);
    let mut ours = Side::new(daemon.turn());
    let mut theirs = Side::new(coturn.address);
    let mut differences = Vec::new();
    let mut granted = 0;
    let mut before = vec![Vec::new(); CLIENTS];
    let mut met = [0; LISTED.len()];
    for count in 0..steps {
        let index = random.random_range(0..CLIENTS);
        let step = step(&mut random);
        // Most steps need a nonce.
        for side in [&mut ours, &mut theirs] {
            if side.clients[index].nonce.is_empty() {
                let first = Step::Request {
                    method: Method::ALLOCATE,
                    attributes: vec![(Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0])],
                    peers: Vec::new(),
                    flaw: Flaw::Unsigned,
                    again: false,
                };
                assert_eq!(side.take(index, &first), "401");
            }
        }
        let held = ours.clients[index].relayed.is_some();
        let (parlor, other) = (ours.take(index, &step), theirs.take(index, &step));
        granted += usize::from(parlor.contains("Success"));
        before[index].push(format!("    {step:?}: {parlor} | {other}"));
        if parlor == other {
            continue;
        }
        let case = Case {
            step: &step,
            held,
            ended: ours.clients[index].ended,
            parlor: &parlor,
            coturn: &other,
        };
        match LISTED.iter().position(|(_, listed)| listed(&case)) {
            Some(clause) => met[clause] += 1,
            None => differences.push(format!(
                "step {count} (allocated: {held}), {step:?}:\n    parlor: {parlor}\n    coturn: {other}\n  after\n{}",
                before[index].join("\n")
            )),
        }
        // The states of the two servers may differ now.
        before[index].clear();
        ours.begin_anew(index);
        theirs.begin_anew(index);
    }
    assert!(
        granted as u64 > steps / 10,
        "only {granted} requests were granted"
    );
    for ((clause, _), times) in LISTED.iter().zip(met) {
        eprintln!("{times} times: {clause}");
    }
    assert!(
        differences.is_empty(),
        "{} unlisted differences with DIFFERENTIAL_SEED={seed}:\n{}",
        differences.len(),
        differences.join("\n")
    );
}
