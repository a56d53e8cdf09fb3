//! A WebSocket client that does as little as possible, so that the server is what is measured.

use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::server::{Contender, Person, Server};

/// Room for several frames; the largest one is a `welcome`.
const BUFFER_BYTES: usize = 16 * 1024;

const TEXT: u8 = 0x81;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;
const MASKED: u8 = 0x80;

/// The session of a `parlor.v1` client.
#[derive(Clone)]
pub(crate) struct Session {
    token: String,
    /// The number of the last frame that was received.
    seq: u64,
}

/// A connection.
pub(crate) struct Client {
    writer: Writer,
    buffer: Vec<u8>,
    filled: usize,
    session: Option<Session>,
}

/// The sending half of a connection; copies of it send whole frames, one after the other.
#[derive(Clone)]
pub(crate) struct Writer {
    stream: Rc<TcpStream>,
    turn: Rc<Mutex<()>>,
}

impl Client {
    /// Connects, and resumes the session if there is one. A `parlor.v1` client has read its first frame.
    pub(crate) async fn open(server: &Server, person: &Person, session: Option<Session>) -> Client {
        let stream = TcpStream::connect(server.address).await;
        let stream = stream.expect("a connection");
        stream.set_nodelay(true).expect("an option");
        Client::upgrade(stream, server, person, session).await
    }

    /// Connects with a small receive buffer, for a client that never reads.
    pub(crate) async fn open_frozen(server: &Server, person: &Person) -> Client {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4096).expect("an option");
        let stream = socket.connect(server.address).await;
        Client::upgrade(stream.expect("a connection"), server, person, None).await
    }

    async fn upgrade(
        stream: TcpStream,
        server: &Server,
        person: &Person,
        session: Option<Session>,
    ) -> Client {
        let is_extended = server.contender == Contender::Extended;
        let mut client = Client {
            writer: Writer {
                stream: Rc::new(stream),
                turn: Rc::default(),
            },
            buffer: vec![0; BUFFER_BYTES],
            filled: 0,
            session: None,
        };
        let request = request(server.address, person, is_extended, session.as_ref());
        client.writer.send(request.as_bytes()).await;
        let head = client.read_head().await;
        assert!(head.starts_with(b"HTTP/1.1 101"), "no upgrade");
        if is_extended {
            let seq = session.as_ref().map_or(0, |session| session.seq);
            let first = client.read_first(session.is_some()).await;
            let token = first["data"]["resume"]["token"].as_str();
            let token = token.expect("a token").to_owned();
            client.session = Some(Session { token, seq });
        }
        client
    }

    async fn read_head(&mut self) -> Vec<u8> {
        loop {
            assert!(self.fill().await, "no answer");
            let filled = &self.buffer[..self.filled];
            let end = filled.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = filled[..end + 4].to_vec();
                self.discard(head.len());
                return head;
            }
        }
    }

    /// Reads the frame at the start of a session, or of its continuation.
    async fn read_first(&mut self, is_resumed: bool) -> Value {
        let expected = if is_resumed { "resumed" } else { "welcome" };
        loop {
            if let Some((frame, used)) = Frame::parse(&self.buffer[..self.filled]) {
                let first: Value = serde_json::from_slice(frame.payload).expect("JSON");
                assert_eq!(first["type"], expected, "{first}");
                self.discard(used);
                return first;
            }
            assert!(self.fill().await, "no first frame");
        }
    }

    /// Reads what has come, passes each text to `each`, and answers pings. Returns false at the end of the connection.
    pub(crate) async fn read(&mut self, mut each: impl FnMut(&[u8])) -> bool {
        let is_open = self.fill().await;
        let (mut used, mut pongs) = (0, Vec::new());
        while let Some((frame, bytes)) = Frame::parse(&self.buffer[used..self.filled]) {
            match frame.first {
                TEXT => {
                    if let Some(session) = &mut self.session {
                        session.seq = number_of(frame.payload).unwrap_or(session.seq);
                    }
                    each(frame.payload);
                }
                PING => {
                    pongs.extend_from_slice(&[PONG, MASKED | frame.payload.len() as u8]);
                    pongs.extend_from_slice(&[0; 4]);
                    pongs.extend_from_slice(frame.payload);
                }
                _ => {}
            }
            used += bytes;
        }
        self.discard(used);
        if !pongs.is_empty() {
            self.writer.send(&pongs).await;
        }
        is_open
    }

    /// Reads and answers pings until the connection ends.
    pub(crate) async fn read_to_the_end(&mut self) {
        while self.read(|_| {}).await {}
    }

    pub(crate) fn writer(&self) -> Writer {
        self.writer.clone()
    }

    /// Cuts the connection, and returns its session.
    pub(crate) fn cut(self) -> Option<Session> {
        self.session
    }

    async fn fill(&mut self) -> bool {
        loop {
            if self.writer.stream.readable().await.is_err() {
                return false;
            }
            match self.writer.stream.try_read(&mut self.buffer[self.filled..]) {
                Ok(0) => return false,
                Ok(read) => {
                    self.filled += read;
                    return true;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return false,
            }
        }
    }

    fn discard(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }
}

impl Writer {
    /// Sends these bytes; ignores the end of the connection.
    pub(crate) async fn send(&self, mut bytes: &[u8]) {
        let _turn = self.turn.lock().await;
        while !bytes.is_empty() {
            match self.stream.try_write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if self.stream.writable().await.is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// A whole frame of the server.
struct Frame<'a> {
    /// The byte with the opcode.
    first: u8,
    payload: &'a [u8],
}

impl Frame<'_> {
    /// Returns the first frame of these bytes and its length; `None` if it is not whole.
    fn parse(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
        let [first, length, rest @ ..] = bytes else {
            return None;
        };
        let (head, length) = match (*length, rest) {
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (126, _) => return None,
            (short, _) => (2, usize::from(short)),
        };
        let payload = bytes.get(head..head + length)?;
        let first = *first;
        Some((Frame { first, payload }, head + length))
    }
}

/// A client's text frame; a mask of zeros leaves the text as it is.
pub(crate) fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![TEXT, MASKED | 126];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}

/// The `seq` of a frame.
fn number_of(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"seq\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

fn request(
    address: SocketAddr,
    person: &Person,
    is_extended: bool,
    session: Option<&Session>,
) -> String {
    let resume = session.map_or(String::new(), |Session { token, seq }| {
        format!("&session={token}&seq={seq}")
    });
    let subprotocol = if is_extended {
        "Sec-WebSocket-Protocol: parlor.v1\r\n"
    } else {
        ""
    };
    format!(
        "GET {}{resume} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{subprotocol}\r\n",
        person.path
    )
}
