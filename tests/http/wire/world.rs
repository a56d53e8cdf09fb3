//! A daemon with people in rooms, and what they can do.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use parlor::config::Auth;
use parlor::secret::Secret;
use parlor::token::{Claims, Tokens};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::{Request, Response};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message, WebSocket, client};

use parlor::clock;

use crate::support::balancer::Balancer;
use crate::support::cluster::{Cluster, LONG_LEASE};
use crate::support::http::Client as Http;
use crate::support::{Builder, DEADLINE, Daemon};

pub(super) const SECRET: &str = "a secret of the tests, thirty-two bytes and more";
pub(super) const LOBBY: &str = "lobby";

/// A daemon that takes the tests' tokens, or several of them behind a load balancer.
pub(super) struct World {
    pub daemon: Daemon,
    others: Option<(Balancer, Vec<Daemon>)>,
}

impl World {
    pub(super) fn start() -> World {
        World::with(&[])
    }

    /// With settings from the environment.
    pub(super) fn with(settings: &[(&str, &str)]) -> World {
        if let Some(count) = node_count() {
            return World::of_nodes(count, settings);
        }
        let defaults = Builder::new()
            .env("SECRET_KEY", SECRET)
            .env("PARLOR_AUTH__PROVISION_USERS", "true");
        World::of(with_settings(defaults, settings).start())
    }

    /// One daemon alone.
    pub(super) fn of(daemon: Daemon) -> World {
        World {
            daemon,
            others: None,
        }
    }

    /// Nodes of a cluster behind a load balancer, of which the tests know the first one.
    fn of_nodes(count: usize, settings: &[(&str, &str)]) -> World {
        let cluster = Cluster::new(LONG_LEASE);
        let mut nodes: Vec<Daemon> = (0..count)
            .map(|number| {
                let node = cluster
                    .node(&format!("n{number}"))
                    .env("SECRET_KEY", SECRET);
                let node = node.without("PARLOR_AUTH__SECRET");
                with_settings(node, settings).start()
            })
            .collect();
        let balancer = Balancer::start(nodes.iter().map(Daemon::http));
        let mut daemon = nodes.remove(0);
        daemon.use_database(cluster.into_database());
        World {
            daemon,
            others: Some((balancer, nodes)),
        }
    }

    /// The address for HTTP.
    pub(super) fn address(&self) -> SocketAddr {
        match &self.others {
            Some((balancer, _)) => balancer.address(),
            None => self.daemon.http(),
        }
    }

    pub(super) fn token(&self, user: &str) -> String {
        self.token_for(user, 3600)
    }

    /// A token that lives for some seconds.
    pub(super) fn token_for(&self, user: &str, seconds: i64) -> String {
        let claims = Claims {
            sub: user.to_owned(),
            exp: (now() + seconds) as u64,
            ..Claims::default()
        };
        sign(&claims)
    }

    pub(super) fn http(&self, token: &str) -> Http {
        Http::new(self.address()).with_token(token)
    }

    /// Makes a room.
    pub(super) fn room(&self, id: &str) {
        self.daemon.cli_json(&["room", "create", id, "--id", id]);
    }

    /// Makes the user a participant.
    pub(super) fn join(&self, room: &str, user: &str) {
        let http = self.http(&self.token(user));
        http.post(&format!("/api/rooms/{room}/join")).ok();
    }

    pub(super) fn leave(&self, room: &str, user: &str) {
        let http = self.http(&self.token(user));
        http.post(&format!("/api/rooms/{room}/leave")).ok();
    }

    /// Makes somebody with an invite a member of the room `lobby`, and returns the guest's token.
    pub(super) fn join_as_guest(&self) -> String {
        let link = self.daemon.invite_link();
        let (_, invite) = link.split_once('#').expect("an invite");
        let entry = json!({"room": LOBBY, "invite": invite, "name": "Gast"});
        let http = Http::new(self.address());
        let guest = http.post_json("/api/auth/guest", &entry).ok();
        let token = guest["access_token"].as_str().expect("a token");
        self.http(token).post("/api/rooms/lobby/join").ok();
        token.to_owned()
    }

    /// Joins and connects, and waits until the server has entered the user.
    pub(super) fn enter(&self, room: &str, user: &str) -> Client {
        self.join(room, user);
        let mut client = self.connect(room, &self.token(user));
        client.wait_until_entered();
        client
    }

    /// Joins and connects by `parlor.v1`; also returns the data of the `welcome`.
    pub(super) fn enter_extended(&self, room: &str, user: &str) -> (Client, Value) {
        self.join(room, user);
        let mut client = self.connect_extended(&format!("/api/ws/rooms/{room}"), user);
        let welcome = client.read();
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome["data"].clone())
    }

    /// A connection that offers `parlor.v1` and its token as subprotocols.
    pub(super) fn connect_extended(&self, path: &str, user: &str) -> Client {
        self.connect_extended_with(path, &self.token(user))
    }

    /// [`World::connect_extended`] with this token.
    pub(super) fn connect_extended_with(&self, path: &str, token: &str) -> Client {
        let mut request = self.request(path);
        let offered = format!("parlor.v1, bearer, {token}");
        let offered = offered.parse().expect("a header");
        request
            .headers_mut()
            .insert("Sec-WebSocket-Protocol", offered);
        self.open(request)
    }

    /// Several users in the room `lobby`; each has seen all later ones come.
    pub(super) fn lobby<const N: usize>(&self, users: [&str; N]) -> [Client; N] {
        let mut seated: Vec<Client> = Vec::new();
        for user in users {
            let client = self.enter(LOBBY, user);
            for earlier in &mut seated {
                assert_eq!(earlier.read(), presence("user-joined", user, LOBBY));
            }
            seated.push(client);
        }
        seated.try_into().ok().expect("as many as asked")
    }

    pub(super) fn connect(&self, room: &str, token: &str) -> Client {
        self.open(self.request(&format!("/api/ws/rooms/{room}?token={token}")))
    }

    pub(super) fn request(&self, path: &str) -> Request {
        let url = format!("ws://{}{path}", self.address());
        url.into_client_request().expect("a request")
    }

    pub(super) fn open(&self, request: Request) -> Client {
        self.try_open(request).expect("an upgrade")
    }

    /// The upgrade, or the answer that there was instead.
    pub(super) fn try_open(&self, request: Request) -> Result<Client, Box<Response>> {
        let stream = self.dial();
        match client(request, stream) {
            Ok((socket, response)) => Ok(Client::new(socket, &response)),
            Err(error) => match error {
                tokio_tungstenite::tungstenite::HandshakeError::Failure(Error::Http(response)) => {
                    Err(response)
                }
                other => panic!("{other:?}"),
            },
        }
    }

    pub(super) fn dial(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address()).expect("a connection");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// Changes one row of the database from outside, as a command does.
    pub(super) fn write_outside(&self, sql: &str) {
        assert_eq!(self.daemon.change(sql), 1, "{sql}");
    }

    /// One figure of `/metrics`, by its line's beginning; the sum of all nodes.
    pub(super) fn metric(&self, name: &str) -> u64 {
        let others = self.others.iter().flat_map(|(_, nodes)| nodes);
        let daemons = std::iter::once(&self.daemon).chain(others);
        daemons.map(|daemon| metric(daemon, name)).sum()
    }
}

fn metric(daemon: &Daemon, name: &str) -> u64 {
    let answer = Http::new(daemon.metrics()).get("/metrics");
    let text = String::from_utf8(answer.body).expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {text}"))
        .trim()
        .parse()
        .expect("a number")
}

fn with_settings(builder: Builder, settings: &[(&str, &str)]) -> Builder {
    let set = |builder: Builder, (key, value): &(&str, &str)| builder.env(key, value);
    settings.iter().fold(builder, set)
}

/// The number of nodes, if the tests run on several.
fn node_count() -> Option<usize> {
    let count = std::env::var("PARLOR_TEST_NODES").ok()?;
    Some(count.parse().expect("PARLOR_TEST_NODES is a number"))
}

pub(super) fn sign(claims: &Claims) -> String {
    Tokens::new(&Auth::default(), &Secret::new(SECRET)).issue(claims)
}

pub(super) fn now() -> i64 {
    time::OffsetDateTime::now_utc().unix_timestamp()
}

/// The frame of the server for a user who joins or leaves.
pub(super) fn presence(kind: &str, user: &str, room: &str) -> Value {
    json!({"type": kind, "data": {"userId": user}, "from": user, "roomId": room})
}

/// A message that a frontend might send.
pub(super) fn offer(from: &str, to: Option<&str>, sdp: &str) -> Value {
    let mut offer = json!({"type": "offer", "from": from, "roomId": LOBBY, "data": {"sdp": sdp}});
    if let Some(to) = to {
        offer["to"] = to.into();
    }
    offer
}

/// One end of a WebSocket.
pub(super) struct Client {
    pub socket: WebSocket<TcpStream>,
    /// Messages that came before the server answered the first ping.
    early: VecDeque<Message>,
    pub headers: tokio_tungstenite::tungstenite::http::HeaderMap,
}

impl Client {
    pub(super) fn new(socket: WebSocket<TcpStream>, response: &Response) -> Client {
        Client {
            socket,
            early: VecDeque::new(),
            headers: response.headers().clone(),
        }
    }

    pub(super) fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string());
    }

    pub(super) fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("sent");
    }

    /// Bytes past the WebSocket.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.get_mut().write_all(bytes).expect("sent");
    }

    /// Waits for the answer to a ping: a WebSocket is read when its user is in the room. A close ends the wait as well.
    fn wait_until_entered(&mut self) {
        let ping = "entered?";
        self.socket.send(Message::Ping(ping.into())).expect("sent");
        loop {
            match self.receive() {
                Message::Pong(answer) if answer == ping => return,
                message => {
                    let is_close = message.is_close();
                    self.early.push_back(message);
                    if is_close {
                        return;
                    }
                }
            }
        }
    }

    /// The next message.
    pub(super) fn next(&mut self) -> Message {
        let early = self.early.pop_front();
        early.unwrap_or_else(|| self.receive())
    }

    /// The next message from the network; a signal to this process is none.
    fn receive(&mut self) -> Message {
        loop {
            match self.socket.read() {
                Err(Error::Io(error)) if error.kind() == ErrorKind::Interrupted => {}
                message => return message.expect("a message"),
            }
        }
    }

    /// The next text, as it came.
    pub(super) fn read_text(&mut self) -> String {
        let start = clock::now().mono;
        loop {
            match self.next() {
                Message::Text(text) => return text.as_str().to_owned(),
                // Without a limit the pings of the server would end no wait.
                Message::Ping(_) | Message::Pong(_) => {
                    let waited = clock::now().mono.since(start);
                    assert!(waited < DEADLINE, "no text in {waited:?}");
                }
                other => panic!("{other:?} instead of a text"),
            }
        }
    }

    pub(super) fn read(&mut self) -> Value {
        serde_json::from_str(&self.read_text()).expect("JSON")
    }

    /// The code of the close frame that comes next; texts before it are read over.
    pub(super) fn close_code(&mut self) -> u16 {
        let start = clock::now().mono;
        loop {
            match self.next() {
                Message::Close(Some(close)) => return close.code.into(),
                Message::Close(None) => panic!("a close frame without a code"),
                _ => {
                    let waited = clock::now().mono.since(start);
                    assert!(waited < DEADLINE, "no close frame in {waited:?}");
                }
            }
        }
    }

    /// The code of the next close frame, read without answering anything.
    pub(super) fn raw_close_code(&mut self) -> u16 {
        let stream = self.socket.get_mut();
        loop {
            let (opcode, payload) = read_frame(stream).expect("a frame");
            if opcode == 0x8 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// The server has closed its side, without a reset.
    pub(super) fn ends(&mut self) {
        let mut rest = Vec::new();
        match self.socket.get_mut().read_to_end(&mut rest) {
            Ok(_) => assert!(rest.is_empty(), "{rest:?} after the close frame"),
            Err(error) => panic!("no orderly end: {error}"),
        }
    }

    /// Sends a close frame with this code.
    pub(super) fn close(&mut self, code: u16) {
        let close = CloseFrame {
            code: code.into(),
            reason: "".into(),
        };
        self.socket.close(Some(close)).expect("closed");
    }

    /// Ends the TCP connection without a close frame.
    pub(super) fn vanish(self) {
        drop(self.socket);
    }
}

/// One frame from the server: its opcode and payload.
pub(super) fn read_frame(stream: &mut TcpStream) -> std::io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head)?;
    let length = match head[1] {
        126 => {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            u64::from(u16::from_be_bytes(length))
        }
        127 => {
            let mut length = [0; 8];
            stream.read_exact(&mut length)?;
            u64::from_be_bytes(length)
        }
        short if short < 126 => u64::from(short),
        _ => return Err(ErrorKind::InvalidData.into()), // masked
    };
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok((head[0] & 0x0f, payload))
}

/// A client's frame with a mask of zeros: first byte as given, any length.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_head(first, payload.len() as u64);
    frame.extend_from_slice(payload);
    frame
}

/// The head of a client's frame, which may promise more than ever comes.
pub(super) fn frame_head(first: u8, length: u64) -> Vec<u8> {
    let mut head = vec![first];
    match length {
        0..=125 => head.push(0x80 | length as u8),
        126..=65_535 => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&length.to_be_bytes());
        }
    }
    head.extend_from_slice(&[0; 4]);
    head
}
