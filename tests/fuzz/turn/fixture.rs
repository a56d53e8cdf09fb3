//! Shards behind one address, their clients, and a model that the results are compared with.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parlor::clock::{Mono, Now};
use parlor::credential::{Credentials, Minted, Revocations, RevokedGenerations};
use parlor::net::PortRange;
use parlor::rate::{Limit, PerIpLimiter};
use parlor::secret::Secret;
use parlor::stun::{Attribute, ChannelData, Class, Message, Method, decode_xor_address};
use parlor::turn::{
    AddressState, Alternates, Config, Directory, Discovery, ErrorReason, Host, HostAddress,
    IcmpError, Nonces, Outcome, Quotas, Route, Scope, Server, Settings, ShardId, Traffic,
    Transport, Verdict,
};

use crate::input::Input;

use super::edge::{BindOutcome, Edge, Reaction};
use super::requests::{Client, Known, REALM, peers_of};

const SERVER: [&str; 2] = ["198.41.0.4:3478", "[2a00::4]:3478"];
const START: u64 = 1_700_000_000;
const MAX_ALLOCATIONS: usize = 6;
const MAX_PER_USER: u32 = 3;

/// Permitted and denied peers.
const PEERS: [&str; 14] = [
    "8.8.8.8:53",
    "8.8.8.8:54",
    "9.9.9.9:53",
    "[2606:4700::1]:443",
    "10.0.0.1:80",
    "127.0.0.1:8000",
    "198.41.0.4:3478",
    "198.41.0.4:50000",
    "[::ffff:10.0.0.1]:80",
    "[64:ff9b::7f00:1]:8000",
    "[2002:808:808::1]:9",
    "0.0.0.0:0",
    "[::]:3478",
    "255.255.255.255:65535",
];

/// The permitted peers of `PEERS`.
const OUTSIDE: [&str; 3] = ["8.8.8.8", "9.9.9.9", "2606:4700::1"];

/// Durations in milliseconds: the times of the protocol, and times just before and after them.
const SPANS: [u64; 16] = [
    1, 100, 1_000, 9_999, 10_000, 29_999, 30_000, 60_000, 299_999, 300_000, 300_001, 599_999,
    600_000, 1_800_000, 3_599_999, 3_600_000,
];

/// The lifetime of a permission (RFC 8656 section 9).
const PERMISSION: Duration = Duration::from_secs(300);

pub struct Fixture {
    edges: Vec<Edge>,
    now: Now,
    clients: Vec<Client>,
    quotas: Arc<Quotas>,
    unauthenticated: Arc<PerIpLimiter>,
    tokens: Vec<[u8; 8]>,
    /// The expiry of each client's permissions.
    permitted: HashMap<(usize, IpAddr), Mono>,
    /// Allocates without a response, by client and transaction.
    pending_allocates: HashMap<(usize, [u8; 12]), Vec<u8>>,
    /// The transaction of each client's last allocation.
    allocated: HashMap<usize, [u8; 12]>,
    denied: bool,
    /// Whether the scope is a room.
    same_room: bool,
}

impl Fixture {
    pub fn new(shards: ShardId, slow: bool) -> Fixture {
        let quotas = Arc::new(Quotas::new(MAX_ALLOCATIONS, MAX_PER_USER, MAX_ALLOCATIONS));
        let unauthenticated = Arc::new(PerIpLimiter::new(Limit::UNLIMITED, 1));
        let config = config(shards, quotas.clone(), unauthenticated.clone());
        let server = |shard| Server::new(config.clone(), shard, [shard; 32]);
        Fixture {
            edges: (0..shards)
                .map(|shard| Edge::new(server(shard), slow))
                .collect(),
            now: Now {
                mono: Mono(1_000_000_000),
                unix: START,
            },
            clients: clients(),
            quotas,
            unauthenticated,
            tokens: Vec::new(),
            permitted: HashMap::new(),
            pending_allocates: HashMap::new(),
            allocated: HashMap::new(),
            denied: false,
            same_room: false,
        }
    }

    /// Executes one step. Returns `None` at the end of the input.
    pub fn step(&mut self, input: &mut Input<'_>) -> Option<()> {
        match input.byte()? % 13 {
            0 => self.wait(input.byte()?),
            1 => {
                let client = self.someone(input)?;
                let bytes = input.many()?;
                self.sent(client, input.byte().unwrap_or(0), bytes);
            }
            2..=4 => {
                let client = self.someone(input)?;
                let peers = self.peers();
                let known = Known {
                    peers: &peers,
                    tokens: &self.tokens,
                };
                let request = self.clients[client].request(input, known)?;
                self.sent(client, input.byte().unwrap_or(0), &request);
            }
            5 => {
                let shard = self.shard(input)?;
                let sockets = 0..self.edges[shard].sockets.len();
                let socket = *input.one_of(&sockets.collect::<Vec<_>>())?;
                let peer = *input.one_of(&self.peers())?;
                let data = payload(input)?;
                self.peer_sent(shard, socket, peer, &data);
            }
            6 => {
                let client = self.someone(input)?;
                let number = 0x4000 + u16::from(input.byte()? % 8);
                let data = payload(input)?;
                let header = ChannelData {
                    number,
                    len: data.len(),
                };
                let bytes = [&header.header()[..], &data].concat();
                self.sent(client, input.byte().unwrap_or(0), &bytes);
            }
            7 => {
                let client = self.someone(input)?;
                let peer = *input.one_of(&self.peers())?;
                let bytes = self.clients[client].send(peer, &payload(input)?);
                self.sent(client, input.byte().unwrap_or(0), &bytes);
            }
            8 => {
                let shard = self.shard(input)?;
                let outcomes = [BindOutcome::Bound, BindOutcome::Taken, BindOutcome::Broken];
                self.edges[shard].bind_outcome = *input.one_of(&outcomes)?;
            }
            9 => {
                let shard = self.shard(input)?;
                self.edges[shard].bind_one(self.now);
                self.edges[shard].process_outputs(self.now);
                self.hear_late_answers();
            }
            10 => {
                let client = self.someone(input)?;
                let route = self.clients[client].route;
                let opened = input.byte()? & 1 == 0;
                for edge in &mut self.edges {
                    if opened {
                        edge.server.stream_opened(&route);
                    } else {
                        edge.server.stream_closed(&route);
                    }
                    edge.process_outputs(self.now);
                }
            }
            11 => self.admin(input)?,
            _ => {
                let shard = self.shard(input)?;
                let sockets = 0..self.edges[shard].sockets.len();
                let socket = *input.one_of(&sockets.collect::<Vec<_>>())?;
                let error = IcmpError {
                    peer: *input.one_of(&self.peers())?,
                    kind: input.byte()? % 16,
                    code: input.byte()? % 16,
                    mtu: 1280,
                };
                self.erred(shard, socket, error);
            }
        }
        Some(())
    }

    /// Checks the invariants.
    pub fn check(&mut self) {
        let now = self.now;
        for index in 0..self.edges.len() {
            for ended in std::mem::take(&mut self.edges[index].ended) {
                let of = |route: Route| (route.transport, route.client);
                let mut clients = self.clients.iter();
                let client = clients.position(|c| of(c.route) == (ended.transport, ended.client));
                self.forget_permissions(client.expect("a client of ours"));
            }
        }
        self.permitted.retain(|_, until| *until > now.mono);
        let living: usize = self.edges.iter().map(|e| e.server.allocations()).sum();
        let open: usize = self.edges.iter().map(|edge| edge.open().count()).sum();
        let held = self.quotas.held();
        assert!(held <= MAX_ALLOCATIONS, "quota in total");
        assert!(living <= held, "an allocation that no quota counts");
        if self.edges.iter().all(|edge| edge.waiting.is_empty()) {
            assert_eq!(open, held, "an orphan port, or an allocation without one");
        }
        let mut users: HashMap<Box<str>, u32> = HashMap::new();
        let mut relayed: Vec<SocketAddr> = Vec::new();
        for edge in &self.edges {
            for session in edge.server.sessions(Mono(0), 0).sessions {
                let addresses = [Some(session.relayed), session.relayed_ipv6];
                for address in addresses.into_iter().flatten() {
                    *users.entry(session.user.clone()).or_default() += 1;
                    assert!(edge.open().any(|s| s.address == address), "no socket");
                    relayed.push(address);
                }
            }
        }
        assert!(
            users.values().all(|held| *held <= MAX_PER_USER),
            "quota of a user"
        );
        let promised = relayed.len();
        relayed.sort_unstable();
        relayed.dedup();
        assert_eq!(relayed.len(), promised, "a relayed address is given once");
    }

    /// Checks that nothing is left after the longest lifetime.
    pub fn end(mut self) {
        while let Some(edge) = self.edges.iter_mut().find(|edge| !edge.waiting.is_empty()) {
            edge.bind_one(self.now);
            edge.process_outputs(self.now);
        }
        self.now.mono = self.now.mono + Duration::from_secs(3601);
        for edge in &mut self.edges {
            edge.handle_timeout(self.now);
            assert_eq!((edge.server.allocations(), edge.open().count()), (0, 0));
            assert_eq!(edge.server.next_deadline(), None);
        }
        assert_eq!(self.quotas.held(), 0);
    }

    fn someone(&self, input: &mut Input<'_>) -> Option<usize> {
        Some(usize::from(input.byte()?) % self.clients.len())
    }

    fn shard(&self, input: &mut Input<'_>) -> Option<usize> {
        Some(usize::from(input.byte()?) % self.edges.len())
    }

    /// Returns the external peers and all relayed addresses.
    fn peers(&self) -> Vec<SocketAddr> {
        let outside = PEERS.iter().map(|peer| peer.parse().expect("an address"));
        let sockets = self.edges.iter().flat_map(|edge| edge.open());
        outside.chain(sockets.map(|s| s.address)).collect()
    }

    /// Lets time pass. With the highest bit only the wall clock jumps: forwards, or with the next
    /// bit backwards.
    fn wait(&mut self, byte: u8) {
        let span = SPANS[usize::from(byte) % SPANS.len()];
        match byte & 0xc0 {
            0x80 => self.now.unix += span / 1000,
            0xc0 => self.now.unix = self.now.unix.saturating_sub(span / 1000),
            _ => {
                self.now.mono = self.now.mono + Duration::from_millis(span);
                self.now.unix += span / 1000;
                for edge in &mut self.edges {
                    edge.handle_timeout(self.now);
                }
                self.hear_late_answers();
            }
        }
    }

    fn admin(&mut self, input: &mut Input<'_>) -> Option<()> {
        let what = input.byte()?;
        let user = USERS[usize::from(what >> 4) % USERS.len()].0;
        for edge in &mut self.edges {
            match what % 8 {
                0 => _ = edge.server.revoke(user, &Scope::All),
                1 => {
                    _ = edge.server.revoke(
                        user,
                        &Scope::Room("lobby".into(), RevokedGenerations::Before(1)),
                    );
                }
                2 => {
                    _ = edge.server.revoke(
                        user,
                        &Scope::RoomAndUnbound("lobby".into(), RevokedGenerations::All),
                    );
                }
                3 => _ = edge.server.close_room("lobby"),
                deny => {
                    self.denied = deny % 2 == 0;
                    self.same_room = deny >= 6;
                    let rules = (self.denied, self.same_room);
                    let unauthenticated = self.unauthenticated.clone();
                    edge.server.reconfigure(settings(rules, unauthenticated));
                }
            }
            edge.process_outputs(self.now);
        }
        Some(())
    }

    /// Passes a client's bytes to a shard that the kernel selects.
    fn sent(&mut self, client: usize, whim: u8, bytes: &[u8]) {
        let route = self.clients[client].route;
        if let Ok(message) = Message::parse(bytes)
            && (message.class(), message.method()) == (Class::Request, Method::ALLOCATE)
        {
            let request = (client, message.transaction());
            self.pending_allocates.insert(request, bytes.to_vec());
        }
        let first = usize::from(whim) % self.edges.len();
        let mut shard = first;
        let mut reaction = self.handle(shard, &route, bytes);
        if let Verdict::Redirect { shard: other } = reaction.verdict {
            shard = other.into();
            assert_ne!(shard, first, "redirected to itself");
            reaction = self.handle(shard, &route, bytes);
            let back = matches!(reaction.verdict, Verdict::Redirect { .. });
            assert!(!back, "redirected twice");
        }
        self.react(shard, client, bytes, reaction);
        self.hear_late_answers();
    }

    fn handle(&mut self, shard: usize, route: &Route, bytes: &[u8]) -> Reaction {
        let now = self.now;
        let give = |server: &mut Server, buffer: &mut [u8], range| {
            server.handle_client_datagram(now, route, buffer, range)
        };
        self.edges[shard].handle(now, bytes, give)
    }

    fn react(&mut self, shard: usize, client: usize, sent: &[u8], reaction: Reaction) {
        let Reaction { verdict, bytes } = reaction;
        let route = self.clients[client].route;
        match verdict {
            Verdict::Respond(outcome) => self.hear(client, sent, &bytes, outcome),
            Verdict::ToPeer { socket, peer, .. } => {
                let out = OUTSIDE.iter().any(|ip| peer.ip().to_string() == **ip);
                assert!(out && !(self.denied && peer.is_ipv4()), "{peer} is denied");
                self.must_be_permitted(client, peer.ip());
                let own = self.addresses(shard, &route);
                let socket = self.edges[shard].sockets[socket as usize];
                let address = socket.expect("an open socket").address;
                assert!(own.contains(&address), "another's socket");
                assert_eq!(address.is_ipv4(), peer.is_ipv4());
                assert!(contains(sent, &bytes), "not what was sent");
            }
            Verdict::ToShard {
                shard: other,
                from,
                to,
                ..
            } => {
                assert_ne!(usize::from(other), shard);
                let own = self.addresses(shard, &route);
                assert!(own.contains(&from), "another's address");
                self.must_be_permitted(client, to.ip());
                let now = self.now;
                let reaction =
                    self.edges[usize::from(other)].handle(now, &bytes, |server, buffer, range| {
                        server.handle_shard_datagram(now, from, to, buffer, range)
                    });
                match reaction.verdict {
                    Verdict::ToClient { route, .. } => {
                        self.must_be_in_scope(client, route);
                        self.delivered(route, &[from], &bytes, &reaction.bytes);
                    }
                    Verdict::Dropped(_) => {}
                    other => panic!("neither delivered nor dropped: {other:?}"),
                }
            }
            Verdict::ToClient { route: to, .. } => {
                let from = self.addresses(shard, &route);
                let data = inner(&bytes).1;
                assert!(contains(sent, &data), "not what was sent");
                self.must_be_in_scope(client, to);
                self.delivered(to, &from, &data, &bytes);
            }
            Verdict::Queued | Verdict::Dropped(_) => {}
            Verdict::Redirect { .. } => panic!("passed on twice"),
        }
    }

    fn peer_sent(&mut self, shard: usize, socket: usize, peer: SocketAddr, data: &[u8]) {
        let Some(owner) = self.edges[shard].sockets[socket].and_then(|s| s.owner) else {
            return;
        };
        let now = self.now;
        let reaction = self.edges[shard].handle(now, data, |server, buffer, range| {
            server.handle_peer_datagram(now, owner, peer, buffer, range)
        });
        match reaction.verdict {
            Verdict::ToClient { route, .. } => {
                let out = OUTSIDE.iter().any(|ip| peer.ip().to_string() == **ip);
                assert!(out && !(self.denied && peer.is_ipv4()), "{peer} is denied");
                let address = self.edges[shard].sockets[socket].map(|s| s.address);
                let own = self.addresses(shard, &route);
                assert!(
                    address.is_some_and(|a| own.contains(&a)),
                    "another's socket"
                );
                self.delivered(route, &[peer], data, &reaction.bytes);
            }
            Verdict::Dropped(_) => {}
            other => panic!("neither delivered nor dropped: {other:?}"),
        }
    }

    /// Passes an ICMP error. A client without a permission gets no report.
    fn erred(&mut self, shard: usize, socket: usize, error: IcmpError) {
        let Some(owner) = self.edges[shard].sockets[socket].and_then(|s| s.owner) else {
            return;
        };
        let server = &mut self.edges[shard].server;
        let Ok(route) = server.handle_icmp_error(self.now, owner, &error) else {
            return;
        };
        let indication = server.response().to_vec();
        let message = Message::parse(&indication).expect("a message");
        let kind = (message.class(), message.method());
        assert_eq!(kind, (Class::Indication, Method::DATA));
        let value = message.get(Attribute::ICMP).expect("an ICMP attribute");
        assert_eq!(value[..4], [0, 0, error.kind << 1, error.code]);
        let out = OUTSIDE.iter().any(|ip| error.peer.ip().to_string() == **ip);
        assert!(out && !(self.denied && error.peer.is_ipv4()), "denied");
        let mut clients = self.clients.iter();
        let client = clients.position(|client| client.route == route);
        self.must_be_permitted(client.expect("a client of ours"), error.peer.ip());
    }

    /// Checks that a client received `data` from one of `from`, for which it has a permission.
    fn delivered(&self, route: Route, from: &[SocketAddr], data: &[u8], bytes: &[u8]) {
        let mut clients = self.clients.iter();
        let client = clients.position(|client| client.route == route);
        let client = client.expect("a client of ours");
        let (peer, inner) = inner(bytes);
        assert_eq!(inner, data);
        assert!(peer.is_none_or(|peer| from.contains(&peer)));
        assert!(from.iter().any(|from| self.is_permitted(client, from.ip())));
    }

    /// Removes the permissions of an ended allocation.
    fn forget_permissions(&mut self, client: usize) {
        self.permitted.retain(|(known, _), _| *known != client);
    }

    /// Checks that the scope lets a client reach the client at `to`.
    fn must_be_in_scope(&self, client: usize, to: Route) {
        let mut clients = self.clients.iter();
        let to = clients.find(|client| client.route == to);
        let to = to.expect("a client of ours");
        let in_scope = !self.same_room || self.clients[client].room() == to.room();
        assert!(in_scope, "client {client} reached another room");
    }

    fn must_be_permitted(&self, client: usize, ip: IpAddr) {
        let permitted = self.is_permitted(client, ip);
        assert!(permitted, "client {client} was not granted {ip}");
    }

    fn is_permitted(&self, client: usize, ip: IpAddr) -> bool {
        let until = self.permitted.get(&(client, ip));
        until.is_some_and(|until| *until > self.now.mono)
    }

    /// Returns the relayed addresses of a client with an allocation on this shard.
    fn addresses(&mut self, shard: usize, route: &Route) -> Vec<SocketAddr> {
        let session = self.edges[shard].server.session(route);
        let session = session.expect("relayed for nobody");
        let both = [Some(session.relayed), session.relayed_ipv6];
        both.into_iter().flatten().collect()
    }

    fn hear_late_answers(&mut self) {
        for edge in 0..self.edges.len() {
            for (route, bytes, outcome) in std::mem::take(&mut self.edges[edge].responses) {
                let mut clients = self.clients.iter();
                let client = clients.position(|client| client.route == route);
                let client = client.expect("a response for nobody");
                let response = Message::parse(&bytes).expect("a response is STUN");
                let request = self
                    .pending_allocates
                    .get(&(client, response.transaction()))
                    .cloned();
                let request = request.expect("a response that nobody pending_allocates for");
                self.hear(client, &request, &bytes, outcome);
            }
        }
    }

    /// Handles a response to `request` at a client.
    fn hear(&mut self, client: usize, request: &[u8], bytes: &[u8], outcome: Outcome) {
        let pending_allocates = Message::parse(request).expect("what is answered is STUN");
        let response = Message::parse(bytes).expect("a response is STUN");
        assert_eq!(pending_allocates.transaction(), response.transaction());
        assert_eq!(
            (pending_allocates.class(), pending_allocates.method()),
            (Class::Request, response.method())
        );
        let code = response
            .get(Attribute::ERROR_CODE)
            .map(|v| u16::from(v[2]) * 100 + u16::from(v[3]));
        match outcome {
            Outcome::Granted(method) => {
                assert_eq!(
                    (response.class(), response.method()),
                    (Class::Success, method)
                );
                assert_eq!(code, None);
                self.granted(client, request, &response);
            }
            Outcome::Refused(method, reason) => {
                assert_eq!(
                    (response.class(), response.method()),
                    (Class::Error, method)
                );
                let code = code.expect("an error has a code");
                assert!((400..600).contains(&code));
                let challenges = response.get(Attribute::NONCE).is_some();
                assert_eq!(challenges, code == 401 || code == 438, "{reason}");
                if reason == ErrorReason::Challenge {
                    assert!(bytes.len() <= 140, "a challenge has {} bytes", bytes.len());
                }
                if code == 420 && response.integrity().is_none() {
                    assert!(bytes.len() * 2 <= request.len() * 5);
                }
            }
        }
        self.clients[client].hear(&response);
    }

    fn granted(&mut self, client: usize, request: &[u8], response: &Message<'_>) {
        match response.method() {
            Method::BINDING => assert!(response.get(Attribute::XOR_MAPPED_ADDRESS).is_some()),
            Method::ALLOCATE => {
                assert!(response.integrity().is_some());
                let relayed = response.get(Attribute::XOR_RELAYED_ADDRESS);
                let relayed = relayed.and_then(|v| decode_xor_address(v, &response.transaction()));
                assert!(relayed.is_some_and(|a| (50_000..=50_015).contains(&a.port())));
                if self.allocated.insert(client, response.transaction())
                    != Some(response.transaction())
                {
                    self.forget_permissions(client);
                }
                let token = response.get(Attribute::RESERVATION_TOKEN);
                let token: Option<Result<[u8; 8], _>> = token.map(|token| token.try_into());
                self.tokens.extend(token.and_then(Result::ok));
                let overdue = self.tokens.len().saturating_sub(8);
                self.tokens.drain(..overdue);
            }
            Method::CREATE_PERMISSION | Method::CHANNEL_BIND => {
                assert!(response.integrity().is_some());
                let until = self.now.mono + PERMISSION;
                for peer in peers_of(request) {
                    self.permitted.insert((client, peer.ip()), until);
                }
            }
            Method::REFRESH => assert!(response.integrity().is_some()),
            other => panic!("{other:?} was granted"),
        }
    }
}

/// The users: name, room, and expiry of the credential.
const USERS: [(&str, Option<&str>, u64); 4] = [
    ("alice", None, START + 100_000),
    ("bob", Some("lobby"), START + 100_000),
    ("carol", None, START + 60),
    ("dave", None, START - 60),
];

fn clients() -> Vec<Client> {
    let minted: Vec<Minted> = USERS
        .iter()
        .map(|(user, room, expires)| credentials().mint(user, *room, *expires))
        .collect();
    let client = |transport, address: &str, server: usize, user: usize| {
        let route = Route {
            transport,
            client: address.parse().expect("an address"),
            server: SERVER[server].parse().expect("an address"),
            via: server as u32,
        };
        Client::new(route, minted[user].clone())
    };
    vec![
        client(Transport::Udp, "192.88.1.1:1000", 0, 0),
        client(Transport::Udp, "192.88.1.1:1001", 0, 0),
        client(Transport::Udp, "192.88.1.2:1000", 0, 1),
        client(Transport::Tcp, "192.88.1.2:1000", 0, 1),
        client(Transport::Udp, "[2a01::1]:1000", 1, 0),
        client(Transport::Udp, "192.88.1.3:1000", 0, 2),
        client(Transport::Udp, "192.88.1.3:1001", 0, 3),
    ]
}

fn credentials() -> Credentials {
    Credentials::new(&Secret::new("north"), &[])
}

fn host() -> Host {
    let servers = SERVER.map(address);
    let addresses = servers.map(|server| HostAddress {
        ip: server.ip(),
        interface: 1,
        state: AddressState::Preferred,
        temporary: false,
    });
    Host::new(
        addresses.into(),
        &[],
        Vec::new(),
        servers.into(),
        Vec::new(),
    )
}

fn config(shards: ShardId, quotas: Arc<Quotas>, unauthenticated: Arc<PerIpLimiter>) -> Config {
    let revocations = Revocations::default();
    revocations.add_rooms(["lobby"]);
    Config {
        realm: REALM.into(),
        nonces: Nonces::new(&[b"nonce key"]),
        internal: false,
        // Few ports, so that all of them are used sometimes.
        ports: PortRange {
            first: 50_000,
            last: 50_015,
        },
        host: Arc::new(host()),
        dont_fragment: true,
        revocations: Arc::new(revocations),
        quotas,
        discovery: Discovery::default(),
        directory: Arc::new(Directory::new(shards)),
        room_relays: None,
        settings: settings((false, false), unauthenticated),
    }
}

/// The settings, with every IPv4 peer denied if `denied`, and with the scope of a room if `same_room`.
fn settings((denied, same_room): (bool, bool), unauthenticated: Arc<PerIpLimiter>) -> Settings {
    let everything = "0.0.0.0/0".parse().expect("a net");
    Settings {
        credentials: credentials(),
        allowed_peers: Vec::new(),
        denied_peers: if denied { vec![everything] } else { Vec::new() },
        denied_peer_ports: Vec::new(),
        max_permissions: 4,
        max_channels: 4,
        bandwidth: Limit::UNLIMITED,
        user_bandwidth: Limit::UNLIMITED,
        total_bandwidth: Limit::UNLIMITED,
        allow_anonymous: true,
        end_at_expiry: false,
        quality: true,
        traffic: Traffic::Rooms,
        same_room,
        new_peers: Limit::every(Duration::from_secs(10), 6),
        unauthenticated,
        alternates: Alternates::default(),
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Returns application data, sometimes of the length of the largest datagram.
fn payload(input: &mut Input<'_>) -> Option<Vec<u8>> {
    let length = match input.byte()? {
        255 => usize::from(input.short()?).min(65_000),
        byte => byte.into(),
    };
    Some((0..length).map(|at| at as u8).collect())
}

fn contains(whole: &[u8], part: &[u8]) -> bool {
    part.is_empty() || whole.windows(part.len()).any(|window| window == part)
}

/// Returns the peer and the application data of bytes to a client. ChannelData has no peer.
fn inner(bytes: &[u8]) -> (Option<SocketAddr>, Vec<u8>) {
    if let Some(data) = ChannelData::parse(bytes) {
        assert_eq!(bytes.len(), 4 + data.len);
        return (None, bytes[4..].to_vec());
    }
    let message = Message::parse(bytes).expect("a Data indication");
    assert_eq!(
        (message.class(), message.method()),
        (Class::Indication, Method::DATA)
    );
    let peer = message.get(Attribute::XOR_PEER_ADDRESS);
    let peer = peer.and_then(|value| decode_xor_address(value, &message.transaction()));
    assert!(peer.is_some(), "a Data indication names its peer");
    let data = message
        .get(Attribute::DATA)
        .expect("a Data indication has data");
    (peer, data.to_vec())
}
