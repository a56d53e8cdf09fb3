//! Tests of the server with clients that encode and decode messages, in virtual time and without
//! sockets.

mod abuse;
mod algorithms;
mod allocate;
mod alternate;
mod authentication;
mod discovery;
mod expiry;
mod families;
mod host;
mod icmp;
mod internal;
mod link_quality;
mod new_peers;
mod reconfigure;
mod relaying;
mod room_relays;
mod scope;
mod shards;
mod simulation;
mod snapshot;
mod traffic;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Mono, Now};
use crate::credential::{Credentials, Minted, long_term_key};
use crate::net::PortRange;
use crate::rate::{Limit, PerIpLimiter};
use crate::secret::Secret;
use crate::stun::{
    Attribute, Class, IntegrityKey, Message, Method, Writer, decode_xor_address, encode_xor_address,
};

use super::*;

const UDP: [u8; 4] = [17, 0, 0, 0];
const SERVER: &str = "198.41.0.4:3478";

/// A server, its clock, and its outputs.
struct World {
    server: Server,
    now: Now,
    /// Bound sockets, by their numbers.
    sockets: Vec<Option<SocketAddr>>,
    /// Addresses that other programs use.
    taken: Vec<SocketAddr>,
    /// Responses from [`Output::Response`].
    responses: Vec<(Route, Vec<u8>)>,
    /// Ended allocations.
    ended: Vec<Session>,
    path_changes: Vec<PathChange>,
}

/// A client: its five-tuple and its credential.
struct Client {
    route: Route,
    minted: Minted,
    realm: String,
    nonce: Vec<u8>,
    transaction: u8,
}

/// A host with these addresses that serves clients on all of them.
fn host(ips: &[&str]) -> Host {
    host_with(ips, &[])
}

/// Parses `public` or `public/private`.
fn nat_mapping(text: &str) -> NatMapping {
    let mut addresses = text.split('/').map(|ip| ip.parse().unwrap());
    NatMapping {
        public: addresses.next().unwrap(),
        private: addresses.next(),
    }
}

/// A host with these addresses behind NAT.
fn host_with(ips: &[&str], external: &[&str]) -> Host {
    let address = |ip: &&str| HostAddress {
        ip: ip.parse().unwrap(),
        interface: 1,
        state: AddressState::Preferred,
        temporary: false,
    };
    let external = external.iter().map(|one| nat_mapping(one)).collect();
    let listeners = ["0.0.0.0:3478", "[::]:3478"].map(|one| one.parse().unwrap());
    let others = vec!["0.0.0.0:8000".parse().unwrap()];
    Host::new(
        ips.iter().map(address).collect(),
        &[],
        external,
        listeners.into(),
        others,
    )
}

fn config() -> Config {
    Config {
        realm: "parlor".into(),
        nonces: Nonces::new(&[b"nonce key"]),
        internal: false,
        ports: PortRange {
            first: 50_000,
            last: 60_000,
        },
        host: Arc::new(host(&["198.41.0.4", "2a00::4"])),
        dont_fragment: true,
        revocations: Arc::default(),
        quotas: Arc::new(Quotas::new(1000, 200, 1000)),
        discovery: Discovery::default(),
        directory: Arc::new(Directory::new(1)),
        room_relays: None,
        settings: settings(),
    }
}

fn settings() -> Settings {
    Settings {
        credentials: Credentials::new(&Secret::new("north"), &[]),
        allowed_peers: Vec::new(),
        denied_peers: Vec::new(),
        denied_peer_ports: Vec::new(),
        max_permissions: 64,
        max_channels: 64,
        bandwidth: Limit::UNLIMITED,
        user_bandwidth: Limit::UNLIMITED,
        total_bandwidth: Limit::UNLIMITED,
        allow_anonymous: true,
        end_at_expiry: false,
        quality: true,
        traffic: Traffic::Any,
        same_room: false,
        new_peers: Limit::UNLIMITED,
        unauthenticated: Arc::new(PerIpLimiter::new(Limit::UNLIMITED, 64)),
        alternates: Alternates::default(),
    }
}

impl World {
    fn new() -> World {
        World::with(config())
    }

    fn with(config: Config) -> World {
        World::of_shard(config, 0)
    }

    fn of_shard(config: Config, shard: ShardId) -> World {
        World {
            server: Server::new(config, shard, [7; 32]),
            now: Now {
                mono: Mono(1_000_000_000),
                unix: 1_700_000_000,
            },
            sockets: Vec::new(),
            taken: Vec::new(),
            responses: Vec::new(),
            ended: Vec::new(),
            path_changes: Vec::new(),
        }
    }

    fn advance(&mut self, span: Duration) {
        self.now.mono = self.now.mono + span;
        self.now.unix += span.as_secs();
        self.server.handle_timeout(self.now);
        self.run_orders();
    }

    /// Passes a datagram of a client to the server. Returns the verdict, and the bytes to send.
    fn receive(&mut self, route: &Route, datagram: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = vec![0xee; HEADROOM + datagram.len() + TAILROOM];
        let range = HEADROOM..HEADROOM + datagram.len();
        buffer[range.clone()].copy_from_slice(datagram);
        let verdict = self
            .server
            .handle_client_datagram(self.now, route, &mut buffer, range);
        let bytes = self.bytes_of(&verdict, &buffer);
        self.run_orders();
        (verdict, bytes)
    }

    fn on_peer(&mut self, relayed: SocketAddr, peer: &str, data: &[u8]) -> (Verdict, Vec<u8>) {
        let id = self
            .server
            .table
            .find_by_relayed(relayed)
            .expect("an allocation");
        let mut buffer = vec![0xee; HEADROOM + data.len() + TAILROOM];
        let range = HEADROOM..HEADROOM + data.len();
        buffer[range.clone()].copy_from_slice(data);
        let peer = peer.parse().unwrap();
        let verdict = self
            .server
            .handle_peer_datagram(self.now, id, peer, &mut buffer, range);
        let bytes = self.bytes_of(&verdict, &buffer);
        (verdict, bytes)
    }

    fn bytes_of(&self, verdict: &Verdict, buffer: &[u8]) -> Vec<u8> {
        match verdict {
            Verdict::ToPeer { range, .. }
            | Verdict::ToClient { range, .. }
            | Verdict::ToShard { range, .. } => buffer[range.clone()].to_vec(),
            Verdict::Respond(_) => self.server.response().to_vec(),
            _ => Vec::new(),
        }
    }

    /// Executes the server's commands: binds and closes sockets.
    fn run_orders(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Adopt { .. } | Output::AddressLost { .. } => {}
                Output::Ended(session) => self.ended.push(*session),
                Output::PathChanged(change) => self.path_changes.push(*change),
                Output::Bind { id, address, .. } => {
                    let open = self.sockets.iter().flatten();
                    let result =
                        if self.taken.contains(&address) || open.clone().any(|a| *a == address) {
                            Err(std::io::ErrorKind::AddrInUse.into())
                        } else {
                            self.sockets.push(Some(address));
                            Ok(self.sockets.len() as u32 - 1)
                        };
                    self.server.handle_bind_result(self.now, id, result);
                }
                Output::Response { route, bytes, .. } => self.responses.push((route, bytes)),
                Output::Unbind { socket } => {
                    let closed = self.sockets[socket as usize].take();
                    assert!(closed.is_some(), "a socket is closed once");
                }
            }
        }
    }

    fn open_sockets(&self) -> usize {
        self.sockets.iter().flatten().count()
    }

    /// Passes data of another shard to the server. Returns the verdict, and the bytes to send.
    fn across(&mut self, from: SocketAddr, to: SocketAddr, data: &[u8]) -> (Verdict, Vec<u8>) {
        let mut buffer = vec![0xee; HEADROOM + data.len() + TAILROOM];
        let range = HEADROOM..HEADROOM + data.len();
        buffer[range.clone()].copy_from_slice(data);
        let verdict = self
            .server
            .handle_shard_datagram(self.now, from, to, &mut buffer, range);
        let bytes = self.bytes_of(&verdict, &buffer);
        (verdict, bytes)
    }

    /// Returns a client with an allocation, whose credential is bound to `room`, and its relayed address.
    fn allocated_in(
        &mut self,
        address: &str,
        user: &str,
        room: Option<&str>,
    ) -> (Client, SocketAddr) {
        let credentials = Credentials::new(&Secret::new("north"), &[]);
        let mut client = Client::with(address, credentials.mint(user, room, 1_700_010_000));
        let response = client.allocate(self, &[]);
        let relayed = response
            .address(Attribute::XOR_RELAYED_ADDRESS)
            .expect("a relayed address");
        (client, relayed)
    }

    /// Returns a client with an allocation, and its relayed address.
    fn allocated(&mut self, address: &str, user: &str) -> (Client, SocketAddr) {
        self.allocated_in(address, user, None)
    }
}

/// A receiver of requests: one shard, or several behind one address.
trait Responder {
    /// Returns the response to a request, immediate or queued.
    fn response(&mut self, route: &Route, request: &[u8]) -> Vec<u8>;
}

impl Responder for World {
    fn response(&mut self, route: &Route, request: &[u8]) -> Vec<u8> {
        match self.receive(route, request) {
            (Verdict::Respond(_), bytes) => bytes,
            (Verdict::Queued, _) => self.responses.pop().expect("a queued response").1,
            (other, _) => panic!("no response: {other:?}"),
        }
    }
}

impl Client {
    fn new(address: &str, user: &str) -> Client {
        Client::with(
            address,
            Credentials::new(&Secret::new("north"), &[]).mint(user, None, 1_700_010_000),
        )
    }

    fn with(address: &str, minted: Minted) -> Client {
        Client {
            route: Route {
                transport: Transport::Udp,
                client: address.parse().unwrap(),
                server: SERVER.parse().unwrap(),
                via: 0,
            },
            minted,
            realm: "parlor".into(),
            nonce: Vec::new(),
            transaction: 0,
        }
    }

    fn key(&self) -> IntegrityKey {
        let Minted {
            username,
            credential,
        } = &self.minted;
        IntegrityKey::new(&long_term_key(username, &self.realm, credential))
    }

    fn transaction(&mut self) -> [u8; 12] {
        self.transaction = self.transaction.wrapping_add(1);
        [self.transaction; 12]
    }

    /// Returns a signed request.
    fn signed(
        &self,
        method: Method,
        transaction: [u8; 12],
        attributes: &[(Attribute, Vec<u8>)],
    ) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, Class::Request, transaction);
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        writer
            .attribute(Attribute::USERNAME, self.minted.username.as_bytes())
            .attribute(Attribute::REALM, self.realm.as_bytes())
            .attribute(Attribute::NONCE, &self.nonce)
            .integrity(&self.key())
            .fingerprint();
        out
    }

    /// Gets a nonce from a challenge.
    fn greet(&mut self, fixture: &mut impl Responder) {
        let mut out = Vec::new();
        Writer::new(&mut out, Method::ALLOCATE, Class::Request, [0xaa; 12])
            .attribute(Attribute::REQUESTED_TRANSPORT, &UDP)
            .fingerprint();
        let response = Response(fixture.response(&self.route, &out));
        assert_eq!(response.code(), Some(401));
        self.nonce = response.message().get(Attribute::NONCE).unwrap().to_vec();
    }

    fn request(
        &mut self,
        fixture: &mut impl Responder,
        method: Method,
        attributes: &[(Attribute, Vec<u8>)],
    ) -> Response {
        let transaction = self.transaction();
        let request = self.signed(method, transaction, attributes);
        Response(fixture.response(&self.route, &request))
    }

    /// Gets a nonce, then sends an Allocate with REQUESTED-TRANSPORT UDP and `more`.
    fn allocate(
        &mut self,
        fixture: &mut impl Responder,
        more: &[(Attribute, Vec<u8>)],
    ) -> Response {
        self.greet(fixture);
        let transport = (Attribute::REQUESTED_TRANSPORT, UDP.to_vec());
        self.request(fixture, Method::ALLOCATE, &[&[transport], more].concat())
    }

    fn permit(&mut self, fixture: &mut impl Responder, peers: &[&str]) -> Response {
        let transaction = self.transaction();
        let peers = peers.iter().map(|peer| xor_peer(peer, &transaction));
        let request = self.signed(
            Method::CREATE_PERMISSION,
            transaction,
            &peers.collect::<Vec<_>>(),
        );
        Response(fixture.response(&self.route, &request))
    }

    fn bind(&mut self, fixture: &mut impl Responder, number: u16, peer: &str) -> Response {
        let transaction = self.transaction();
        let [high, low] = number.to_be_bytes();
        let attributes = [
            (Attribute::CHANNEL_NUMBER, vec![high, low, 0, 0]),
            xor_peer(peer, &transaction),
        ];
        let request = self.signed(Method::CHANNEL_BIND, transaction, &attributes);
        Response(fixture.response(&self.route, &request))
    }

    fn refresh(&mut self, fixture: &mut impl Responder, seconds: u32) -> Response {
        let lifetime = (Attribute::LIFETIME, seconds.to_be_bytes().to_vec());
        self.request(fixture, Method::REFRESH, &[lifetime])
    }

    fn send_indication(&mut self, peer: &str, data: &[u8]) -> Vec<u8> {
        let transaction = self.transaction();
        let (attribute, value) = xor_peer(peer, &transaction);
        let mut out = Vec::new();
        let _ = Writer::new(&mut out, Method::SEND, Class::Indication, transaction)
            .attribute(attribute, &value)
            .attribute(Attribute::DATA, data);
        out
    }
}

fn xor_peer(peer: &str, transaction: &[u8; 12]) -> (Attribute, Vec<u8>) {
    let mut value = [0; 20];
    let len = encode_xor_address(peer.parse().unwrap(), transaction, &mut value);
    (Attribute::XOR_PEER_ADDRESS, value[..len].to_vec())
}

fn channel_data(number: u16, data: &[u8]) -> Vec<u8> {
    let mut out = number.to_be_bytes().to_vec();
    out.extend((data.len() as u16).to_be_bytes());
    out.extend(data);
    out
}

/// The bytes of a response.
#[derive(Debug, PartialEq, Eq)]
struct Response(Vec<u8>);

impl Response {
    fn message(&self) -> Message<'_> {
        Message::parse(&self.0).expect("a STUN message")
    }

    /// Returns the error code; `None` for a success response.
    fn code(&self) -> Option<u16> {
        let message = self.message();
        assert!(matches!(message.class(), Class::Success | Class::Error));
        let value = message.get(Attribute::ERROR_CODE)?;
        Some(u16::from(value[2]) * 100 + u16::from(value[3]))
    }

    fn address(&self, attribute: Attribute) -> Option<SocketAddr> {
        let message = self.message();
        decode_xor_address(message.get(attribute)?, &message.transaction())
    }

    /// Returns the relayed addresses, in the order of the response.
    fn relayed(&self) -> Vec<SocketAddr> {
        let message = self.message();
        let attributes = message.attributes();
        let values = attributes.filter(|(a, _)| *a == Attribute::XOR_RELAYED_ADDRESS);
        let decode = |value| decode_xor_address(value, &message.transaction());
        values.filter_map(|(_, value)| decode(value)).collect()
    }

    fn lifetime(&self) -> u32 {
        u32::from_be_bytes(
            self.message()
                .get(Attribute::LIFETIME)
                .unwrap()
                .try_into()
                .unwrap(),
        )
    }
}
