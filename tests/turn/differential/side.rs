//! One of the two servers, with its clients and peers: executes a step and describes the outcome.

use super::*;

/// One server with its clients and peers.
pub(super) struct Side {
    pub(super) server: SocketAddr,
    pub(super) clients: Vec<Client>,
    /// Clients whose sockets stay open, so that no other client gets their five-tuple.
    pub(super) before: Vec<Client>,
    pub(super) peers: [UdpSocket; 2],
}

pub(super) struct Client {
    pub(super) socket: UdpSocket,
    pub(super) nonce: Vec<u8>,
    pub(super) relayed: Option<SocketAddr>,
    pub(super) ended: bool,
    /// The transaction of the last request, for retransmissions.
    pub(super) transaction: u64,
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
    pub(super) fn new(server: SocketAddr) -> Side {
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
    pub(super) fn take(&mut self, index: usize, step: &Step) -> String {
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
    pub(super) fn begin_anew(&mut self, index: usize) {
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
