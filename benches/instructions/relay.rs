//! The cost of packets and requests in the TURN server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use parlor::clock::{Mono, Now};
use parlor::credential::{Credentials, Minted, long_term_key};
use parlor::net::PortRange;
use parlor::rate::{Limit, PerIpLimiter};
use parlor::secret::Secret;
use parlor::stun::{Attribute, Class, IntegrityKey, Message, Method, Writer, decode_xor_address};
use parlor::turn::{
    AddressState, AllocationId, Alternates, Config, Directory, Discovery, HEADROOM, Host,
    HostAddress, Nonces, Output, Quotas, Route, Server, Settings, TAILROOM, Traffic, Transport,
    Verdict,
};

use super::callgrind;

/// Numbers of allocations. The cost of a packet must not depend on them.
pub(crate) const SIZES: [usize; 3] = [4, 200, 8000];

/// Packets or requests of a case, from as many clients if there are so many.
const PACKETS: usize = 64;

/// 20 ms of Opus, encrypted.
const PAYLOAD: usize = 160;

const REALM: &str = "parlor";
const TO_PEER: u16 = 0x4000;
const TO_NEIGHBOUR: u16 = 0x4001;

/// The end of a case's name.
pub(crate) fn among(allocations: usize) -> String {
    format!(", among {allocations}")
}

pub(crate) fn cases() {
    for size in SIZES {
        let mut fixture = Fixture::new();
        fixture.populate(size);
        packets(&mut fixture, &among(size));
        if size == SIZES[1] {
            requests(&mut fixture);
            quality(&mut fixture);
        }
    }
}

fn packets(fixture: &mut Fixture, among: &str) {
    let clients = fixture.clients.len();
    let client_at = |index: usize| index * clients / PACKETS;
    let to_peer = |verdict: &Verdict| matches!(verdict, Verdict::ToPeer { .. });
    let to_client = |verdict: &Verdict| matches!(verdict, Verdict::ToClient { .. });

    let mut sent = fixture.each(|fixture, i| fixture.clients[client_at(i)].channel_data(TO_PEER));
    fixture.count(
        &format!("channel, client to peer{among}"),
        &mut sent,
        to_peer,
    );

    // The first packet looks up the peer's address. The packets of a call use its hint.
    let packets =
        |fixture: &Fixture, i: usize| fixture.clients[client_at(i)].channel_data(TO_NEIGHBOUR);
    for mut first in fixture.each(|fixture, i| packets(fixture, i)) {
        fixture.receive(&mut first);
    }
    let mut sent = fixture.each(|fixture, i| packets(fixture, i));
    fixture.count(
        &format!("channel, client to client{among}"),
        &mut sent,
        to_client,
    );

    // The client after the next has a permission, but no channel: it gets a Data indication.
    let mut sent = fixture.each(|fixture, i| {
        let other = fixture.clients[client_at(i) ^ 2].relayed;
        fixture.clients[client_at(i)].send_indication(other)
    });
    fixture.count(
        &format!("Send indication, client to client{among}"),
        &mut sent,
        to_client,
    );

    let mut sent = fixture.each(|fixture, i| fixture.clients[client_at(i)].datagram(&[7; PAYLOAD]));
    let ids: Vec<_> = (0..PACKETS)
        .map(|i| (fixture.clients[client_at(i)].id, peer(client_at(i))))
        .collect();
    let (server, now) = (&mut fixture.server, fixture.now);
    let mut from = ids.iter();
    let mut unexpected = 0;
    callgrind::count(
        &format!("peer to client by channel{among}"),
        &mut sent,
        |datagram| {
            let Some(&(id, peer)) = from.next() else {
                return;
            };
            let range = datagram.range();
            let verdict = server.handle_peer_datagram(now, id, peer, &mut datagram.buffer, range);
            unexpected += usize::from(!to_client(&verdict));
        },
    );
    assert_eq!(unexpected, 0, "unexpected outcome");

    callgrind::count(
        &format!("nothing that is due{among}"),
        &mut [0; PACKETS],
        |_| {
            assert!(
                server
                    .next_deadline()
                    .is_some_and(|deadline| deadline > now.mono)
            );
            server.handle_timeout(now);
        },
    );
}

/// Packets of calls whose quality is measured, after the first 40.
fn quality(fixture: &mut Fixture) {
    fixture.server.reconfigure(Settings {
        quality: true,
        ..settings()
    });
    let to_peer = |verdict: &Verdict| matches!(verdict, Verdict::ToPeer { .. });
    let to_client = |verdict: &Verdict| matches!(verdict, Verdict::ToClient { .. });
    for (name, channel, is_expected) in [
        (
            "client to peer",
            TO_PEER,
            &to_peer as &dyn Fn(&Verdict) -> bool,
        ),
        ("client to client", TO_NEIGHBOUR, &to_client),
    ] {
        for _ in 0..40 {
            fixture.now.mono = fixture.now.mono + Duration::from_millis(20);
            fixture.sequence += 1;
            for mut packet in fixture.each(|fixture, i| fixture.media(i, channel)) {
                fixture.receive(&mut packet);
            }
        }
        // of eight packets, two show the jitter.
        let mut sent = Vec::new();
        for _ in 0..8 {
            fixture.sequence += 1;
            sent.extend(fixture.each(|fixture, i| fixture.media(i, channel)));
        }
        fixture.count(
            &format!("channel, {name}, with quality"),
            &mut sent,
            is_expected,
        );
    }
    fixture.server.reconfigure(settings());
}

fn requests(fixture: &mut Fixture) {
    let answered = |verdict: &Verdict| matches!(verdict, Verdict::Respond(_));
    let mut binding = fixture.each(|_, i| {
        let client = Client::new(100_000 + i);
        client.message(Method::BINDING, &[])
    });
    fixture.count("Binding", &mut binding, answered);

    let udp = (Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
    let mut challenged = fixture.each(|_, i| {
        Client::new(100_000 + i).message(Method::ALLOCATE, std::slice::from_ref(&udp))
    });
    fixture.count("Allocate, 401", &mut challenged, answered);

    let mut refresh = fixture.each(|fixture, i| fixture.clients[i].signed(Method::REFRESH, &[]));
    fixture.count("Refresh", &mut refresh, answered);

    let mut permission = fixture.each(|fixture, i| {
        let peer = xor_peer(peer(1000 + i));
        fixture.clients[i].signed(Method::CREATE_PERMISSION, &[peer])
    });
    fixture.count("CreatePermission", &mut permission, answered);

    let mut channel = fixture.each(|fixture, i| {
        let number = (Attribute::CHANNEL_NUMBER, vec![0x40, 0x02, 0, 0]);
        fixture.clients[i].signed(Method::CHANNEL_BIND, &[number, xor_peer(peer(2000 + i))])
    });
    fixture.count("ChannelBind", &mut channel, answered);

    let mut allocate = fixture.each(|fixture, i| {
        let mut newcomer = Client::new(200_000 + i);
        fixture.greet(&mut newcomer);
        newcomer.signed(Method::ALLOCATE, std::slice::from_ref(&udp))
    });
    let mut granted = 0;
    callgrind::count("Allocate, granted", &mut allocate, |datagram| {
        fixture.receive(datagram);
        granted += usize::from(fixture.run_orders().is_some());
    });
    assert_eq!(granted, PACKETS, "unexpected outcome");
}

/// A server and its clients, without sockets.
struct Fixture {
    server: Server,
    now: Now,
    clients: Vec<Client>,
    sockets: u32,
    /// The sequence number of the last media packet.
    sequence: u16,
}

/// A client with or without an allocation.
struct Client {
    route: Route,
    minted: Minted,
    key: IntegrityKey,
    nonce: Vec<u8>,
    relayed: SocketAddr,
    id: AllocationId,
}

/// A datagram with the headroom and tailroom that the server needs.
struct Datagram {
    route: Route,
    buffer: Vec<u8>,
    len: usize,
}

impl Datagram {
    fn range(&self) -> std::ops::Range<usize> {
        HEADROOM..HEADROOM + self.len
    }
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            server: Server::new(config(), 0, [7; 32]),
            now: Now {
                mono: Mono(1_000_000_000),
                unix: 1_700_000_000,
            },
            clients: Vec::new(),
            sockets: 0,
            sequence: 0,
        }
    }

    /// Creates clients in pairs: each has a channel to an external peer, and one to the other
    /// client.
    fn populate(&mut self, count: usize) {
        for index in 0..count {
            let mut client = Client::new(index);
            self.greet(&mut client);
            let udp = (Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
            self.receive(&mut client.signed(Method::ALLOCATE, &[udp]));
            let (id, response) = self.run_orders().expect("an allocation");
            let response = Message::parse(&response).expect("a response");
            let relayed = response
                .get(Attribute::XOR_RELAYED_ADDRESS)
                .expect("a relayed address");
            client.relayed =
                decode_xor_address(relayed, &response.transaction()).expect("an address");
            client.id = id;
            self.clients.push(client);
        }
        for index in 0..count {
            let neighbour = self.clients[index ^ 1].relayed;
            for (number, peer) in [(TO_PEER, peer(index)), (TO_NEIGHBOUR, neighbour)] {
                let [high, low] = number.to_be_bytes();
                let number = (Attribute::CHANNEL_NUMBER, vec![high, low, 0, 0]);
                let bind = [number, xor_peer(peer)];
                let mut request = self.clients[index].signed(Method::CHANNEL_BIND, &bind);
                let verdict = self.receive(&mut request);
                let granted =
                    Verdict::Respond(parlor::turn::Outcome::Granted(Method::CHANNEL_BIND));
                assert_eq!(verdict, granted);
            }
        }
    }

    /// Gets a nonce.
    fn greet(&mut self, client: &mut Client) {
        let udp = (Attribute::REQUESTED_TRANSPORT, vec![17, 0, 0, 0]);
        self.receive(&mut client.message(Method::ALLOCATE, &[udp]));
        let response = Message::parse(self.server.response()).expect("a challenge");
        client.nonce = response.get(Attribute::NONCE).expect("a nonce").to_vec();
    }

    fn each(&mut self, mut make: impl FnMut(&mut Fixture, usize) -> Datagram) -> Vec<Datagram> {
        (0..PACKETS).map(|index| make(self, index)).collect()
    }

    /// Makes the current media packet of a client.
    fn media(&self, client: usize, channel: u16) -> Datagram {
        let mut datagram = self.clients[client].channel_data(channel);
        let start = datagram.range().start + 4;
        let [high, low] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = (960 * u32::from(self.sequence)).to_be_bytes();
        let header = [0x80, 111, high, low, t0, t1, t2, t3, 7, 7, 7, 7];
        datagram.buffer[start..start + header.len()].copy_from_slice(&header);
        datagram
    }

    fn receive(&mut self, datagram: &mut Datagram) -> Verdict {
        let range = datagram.range();
        self.server
            .handle_client_datagram(self.now, &datagram.route, &mut datagram.buffer, range)
    }

    /// Executes the server's commands: binds sockets. Returns the queued response and its
    /// allocation.
    fn run_orders(&mut self) -> Option<(AllocationId, Vec<u8>)> {
        let (mut allocated, mut response) = (None, None);
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Bind { id, .. } => {
                    self.sockets += 1;
                    self.server
                        .handle_bind_result(self.now, id, Ok(self.sockets));
                    allocated = Some(id);
                }
                Output::Response { bytes, .. } => response = Some(bytes),
                _ => {}
            }
        }
        allocated.zip(response)
    }

    fn count(
        &mut self,
        name: &str,
        datagrams: &mut [Datagram],
        is_expected: impl Fn(&Verdict) -> bool,
    ) {
        let mut unexpected = 0;
        callgrind::count(name, datagrams, |datagram| {
            let verdict = self.receive(datagram);
            unexpected += usize::from(!is_expected(&verdict));
        });
        assert_eq!(unexpected, 0, "{name}: unexpected outcome");
    }
}

impl Client {
    fn new(index: usize) -> Client {
        let credentials = Credentials::new(&Secret::new("north"), &[]);
        let minted = credentials.mint(&format!("user-{index}"), None, 1_700_010_000);
        let key = long_term_key(&minted.username, REALM, &minted.credential);
        Client {
            route: Route {
                transport: Transport::Udp,
                client: SocketAddr::new(host(25, index), 40_000),
                server: "198.41.0.4:3478".parse().expect("an address"),
                via: 0,
            },
            minted,
            key: IntegrityKey::new(&key),
            nonce: Vec::new(),
            relayed: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            id: AllocationId {
                index: 0,
                generation: 0,
            },
        }
    }

    fn datagram(&self, bytes: &[u8]) -> Datagram {
        let mut buffer = vec![0; HEADROOM + bytes.len() + TAILROOM];
        buffer[HEADROOM..][..bytes.len()].copy_from_slice(bytes);
        Datagram {
            route: self.route,
            buffer,
            len: bytes.len(),
        }
    }

    fn channel_data(&self, number: u16) -> Datagram {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend((PAYLOAD as u16).to_be_bytes());
        bytes.extend([7; PAYLOAD]);
        self.datagram(&bytes)
    }

    fn send_indication(&self, to: SocketAddr) -> Datagram {
        let mut out = Vec::new();
        let writer = Writer::new(&mut out, Method::SEND, Class::Indication, TRANSACTION);
        writer
            .xor_address(Attribute::XOR_PEER_ADDRESS, to)
            .attribute(Attribute::DATA, &[7; PAYLOAD]);
        self.datagram(&out)
    }

    /// An unauthenticated request.
    fn message(&self, method: Method, attributes: &[(Attribute, Vec<u8>)]) -> Datagram {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, Class::Request, TRANSACTION);
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        writer.fingerprint();
        self.datagram(&out)
    }

    fn signed(&self, method: Method, attributes: &[(Attribute, Vec<u8>)]) -> Datagram {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, method, Class::Request, TRANSACTION);
        for (attribute, value) in attributes {
            writer = writer.attribute(*attribute, value);
        }
        writer
            .attribute(Attribute::USERNAME, self.minted.username.as_bytes())
            .attribute(Attribute::REALM, REALM.as_bytes())
            .attribute(Attribute::NONCE, &self.nonce)
            .integrity(&self.key)
            .fingerprint();
        self.datagram(&out)
    }
}

const TRANSACTION: [u8; 12] = [9; 12];

fn xor_peer(peer: SocketAddr) -> (Attribute, Vec<u8>) {
    let mut value = [0; parlor::stun::MAX_XOR_ADDRESS];
    let len = parlor::stun::encode_xor_address(peer, &TRANSACTION, &mut value);
    (Attribute::XOR_PEER_ADDRESS, value[..len].to_vec())
}

/// The address of a client's peer.
fn peer(index: usize) -> SocketAddr {
    SocketAddr::new(host(9, index), 5000)
}

/// The address with this index in a /8 network.
fn host(net: u8, index: usize) -> IpAddr {
    let [_, a, b, c] = (index as u32).to_be_bytes();
    Ipv4Addr::new(net, a, b, c).into()
}

fn config() -> Config {
    let server = HostAddress {
        ip: "198.41.0.4".parse().expect("an address"),
        interface: 1,
        state: AddressState::Preferred,
        temporary: false,
    };
    let listeners = vec!["0.0.0.0:3478".parse().expect("an address")];
    let host = Host::new(vec![server], &[], Vec::new(), listeners, Vec::new());
    Config {
        realm: REALM.into(),
        nonces: Nonces::new(&[b"nonce key"]),
        internal: false,
        ports: PortRange {
            first: 10_000,
            last: 60_000,
        },
        host: Arc::new(host),
        dont_fragment: true,
        revocations: Arc::default(),
        quotas: Arc::new(Quotas::new(20_000, 200, 20_000)),
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
        // Limited, as it is by default.
        bandwidth: Limit::per_second(500_000, 65_536),
        user_bandwidth: Limit::per_second(5_000_000, 1_000_000),
        total_bandwidth: Limit::UNLIMITED,
        allow_anonymous: true,
        end_at_expiry: false,
        same_room: false,
        // Limited, as it is by default.
        new_peers: Limit::every(Duration::from_millis(100), 600),
        quality: false,
        traffic: Traffic::Any,
        unauthenticated: Arc::new(PerIpLimiter::new(
            Limit::per_second(1_000_000, 1_000_000),
            8192,
        )),
        alternates: Alternates::default(),
    }
}
