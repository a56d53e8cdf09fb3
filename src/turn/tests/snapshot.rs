//! A restored server behaves like one that never stopped.

use std::cell::RefCell;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::ChaCha12Rng};

use super::*;

const ALICE: &str = "192.88.1.1:1000";
const BOB: &str = "192.88.1.2:1000";

impl World {
    /// Returns a server with the restored state of this one, and with other socket numbers.
    pub(super) fn restarted(&self, config: &Config) -> World {
        let snapshot = written_and_read(&self.server.snapshot());
        self.restarted_with(config, snapshot)
    }

    fn restarted_with(&self, config: &Config, snapshot: Snapshot) -> World {
        let mut next = World::of_shard(config.clone(), self.server.shard());
        next.now = self.now;
        next.taken.clone_from(&self.taken);
        next.ended.clone_from(&self.ended);
        config
            .quotas
            .merge_bandwidth_use(&self.server.config.quotas.bandwidth_use(self.now.mono));
        let mut numbers = IdMap {
            via: [(0, 0)].into(),
            ..IdMap::default()
        };
        // In reverse order, so that the numbers differ.
        for (number, address) in snapshot.sockets().collect::<Vec<_>>().into_iter().rev() {
            let held = self.sockets[number as usize].expect("a socket that is open");
            assert_eq!(held.port(), address.port());
            numbers.sockets.insert(number, next.sockets.len() as u32);
            next.sockets.push(Some(held));
        }
        next.server.restore(snapshot, &numbers);
        next.run_orders();
        next
    }
}

fn written_and_read(snapshot: &Snapshot) -> Snapshot {
    let bytes = serde_json::to_vec(snapshot).expect("it can be written");
    let read: Snapshot = serde_json::from_slice(&bytes).expect("it can be read");
    assert_eq!(read, *snapshot);
    read
}

#[derive(Debug, Clone)]
enum Step {
    Allocate {
        client: usize,
        kind: usize,
    },
    Retransmit,
    Refresh {
        client: usize,
        seconds: u32,
        v6: Option<bool>,
    },
    Permit {
        client: usize,
        peer: usize,
    },
    Bind {
        client: usize,
        number: u16,
        peer: usize,
    },
    Channel {
        client: usize,
        number: u16,
        len: usize,
    },
    Send {
        client: usize,
        peer: usize,
    },
    Peer {
        client: usize,
        peer: usize,
    },
    Revoke {
        client: usize,
    },
    Wait {
        millis: u64,
    },
    Restart,
}

const CLIENTS: usize = 4;
const PEERS: [&str; 3] = ["9.9.9.9:1000", "8.8.8.8:2000", "[2620:fe::fe]:53"];

fn step() -> impl Strategy<Value = Step> {
    let client = || 0..CLIENTS;
    let peer = || 0..PEERS.len() + CLIENTS;
    let number = || 0x4000..0x4004u16;
    prop_oneof![
        4 => (client(), 0..5usize).prop_map(|(client, kind)| Step::Allocate { client, kind }),
        1 => Just(Step::Retransmit),
        2 => (client(), prop_oneof![Just(0), 1..2000u32], any::<Option<bool>>())
            .prop_map(|(client, seconds, v6)| Step::Refresh { client, seconds, v6 }),
        4 => (client(), peer()).prop_map(|(client, peer)| Step::Permit { client, peer }),
        6 => (client(), number(), peer())
            .prop_map(|(client, number, peer)| Step::Bind { client, number, peer }),
        8 => (client(), number(), 0..1200usize)
            .prop_map(|(client, number, len)| Step::Channel { client, number, len }),
        4 => (client(), peer()).prop_map(|(client, peer)| Step::Send { client, peer }),
        4 => (client(), 0..PEERS.len()).prop_map(|(client, peer)| Step::Peer { client, peer }),
        1 => client().prop_map(|client| Step::Revoke { client }),
        3 => (1..400_000u64).prop_map(|millis| Step::Wait { millis }),
        2 => Just(Step::Restart),
    ]
}

/// Two servers with the same inputs: one keeps running, the other is restarted.
struct Pair {
    running: World,
    restarted: World,
    last: Option<(Route, Vec<u8>)>,
    restarts: u8,
}

fn tight() -> Config {
    Config {
        quotas: Arc::new(Quotas::new(5, 3, 5)),
        directory: Arc::new(Directory::new(1)),
        room_relays: None,
        settings: Settings {
            bandwidth: Limit::per_second(1000, 3000),
            user_bandwidth: Limit::per_second(1500, 4000),
            total_bandwidth: Limit::UNLIMITED,
            max_permissions: 3,
            max_channels: 2,
            ..settings()
        },
        ..config()
    }
}

impl Pair {
    fn new() -> Pair {
        Pair {
            running: World::with(tight()),
            restarted: World::with(tight()),
            last: None,
            restarts: 0,
        }
    }

    /// Passes a datagram to both, and compares the results without socket numbers.
    fn both<T: PartialEq + std::fmt::Debug>(&mut self, act: impl Fn(&mut World) -> T) -> T {
        let (one, other) = (act(&mut self.running), act(&mut self.restarted));
        assert_eq!(one, other);
        one
    }

    fn receive(&mut self, route: &Route, datagram: &[u8]) -> (Verdict, Vec<u8>) {
        self.last = Some((*route, datagram.to_vec()));
        self.both(|world| {
            let (verdict, bytes) = world.receive(route, datagram);
            (world.by_address(verdict), bytes)
        })
    }

    /// Restarts one server, and gives both the same random generator.
    fn restart(&mut self) {
        self.restarts += 1;
        self.restarted = self.restarted.restarted(&tight());
        for world in [&mut self.running, &mut self.restarted] {
            world.server.random = ChaCha12Rng::from_seed([self.restarts; 32]);
        }
    }

    fn check(&mut self) {
        self.both(|world| {
            let mut open: Vec<_> = world.sockets.iter().flatten().copied().collect();
            open.sort_unstable();
            let mut sessions = world.server.sessions(world.now.mono, 0).sessions;
            // The next process measures anew.
            for session in &mut sessions {
                session.quality = None;
            }
            sessions.sort_by_key(|session| session.client);
            let ended = world.ended.len();
            let held = world.server.config.quotas.held();
            (open, sessions, ended, held)
        });
    }
}

impl World {
    /// Replaces a socket's number by its port, which peers see.
    fn by_address(&self, verdict: Verdict) -> Verdict {
        match verdict {
            Verdict::ToPeer {
                socket,
                peer,
                range,
                dont_fragment,
            } => Verdict::ToPeer {
                socket: self.sockets[socket as usize].expect("open").port().into(),
                peer,
                range,
                dont_fragment,
            },
            verdict => verdict,
        }
    }
}

impl Responder for Pair {
    fn response(&mut self, route: &Route, request: &[u8]) -> Vec<u8> {
        let (verdict, bytes) = self.receive(route, request);
        match verdict {
            Verdict::Respond(_) => bytes,
            Verdict::Queued => self.both(|world| world.responses.pop().expect("a late response").1),
            other => panic!("no response: {other:?}"),
        }
    }
}

/// A client and its relayed addresses.
struct ModelClient {
    client: Client,
    relayed: Vec<SocketAddr>,
    token: Option<Vec<u8>>,
}

fn clients() -> Vec<ModelClient> {
    let client = |number: usize| ModelClient {
        client: Client::new(
            &format!("192.88.1.{number}:1000"),
            ["alice", "bob"][number % 2],
        ),
        relayed: Vec::new(),
        token: None,
    };
    (0..CLIENTS).map(client).collect()
}

fn peer_of(known: &[ModelClient], peer: usize) -> Option<String> {
    match PEERS.get(peer) {
        Some(peer) => Some((*peer).to_owned()),
        None => Some(known[peer - PEERS.len()].relayed.first()?.to_string()),
    }
}

fn allocate(pair: &mut Pair, known: &mut [ModelClient], client: usize, kind: usize) {
    let token = known.iter().find_map(|one| one.token.clone());
    let attributes = match (kind, token) {
        (1, _) => vec![(Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0])],
        (2, _) => vec![(Attribute::EVEN_PORT, vec![0x80])],
        (3, Some(token)) => vec![(Attribute::RESERVATION_TOKEN, token)],
        (4, _) => vec![(Attribute::REQUESTED_ADDRESS_FAMILY, vec![2, 0, 0, 0])],
        _ => Vec::new(),
    };
    let known = &mut known[client];
    let response = known.client.allocate(pair, &attributes);
    if response.code().is_none() {
        known.relayed = response.relayed();
        let token = response.message().get(Attribute::RESERVATION_TOKEN);
        known.token = token.map(<[u8]>::to_vec);
    }
}

fn apply(pair: &mut Pair, known: &mut [ModelClient], step: Step) {
    match step {
        Step::Allocate { client, kind } => allocate(pair, known, client, kind),
        Step::Retransmit => {
            if let Some((route, datagram)) = pair.last.clone() {
                pair.receive(&route, &datagram);
                pair.both(|world| world.responses.pop());
            }
        }
        Step::Refresh {
            client,
            seconds,
            v6,
        } => {
            let mut attributes = vec![(Attribute::LIFETIME, seconds.to_be_bytes().to_vec())];
            if let Some(v6) = v6 {
                let family = vec![1 + u8::from(v6), 0, 0, 0];
                attributes.push((Attribute::REQUESTED_ADDRESS_FAMILY, family));
            }
            let client = &mut known[client].client;
            client.greet(pair);
            client.request(pair, Method::REFRESH, &attributes);
        }
        Step::Permit { client, peer } => {
            let Some(peer) = peer_of(known, peer) else {
                return;
            };
            known[client].client.greet(pair);
            known[client].client.permit(pair, &[&peer]);
        }
        Step::Bind {
            client,
            number,
            peer,
        } => {
            let Some(peer) = peer_of(known, peer) else {
                return;
            };
            known[client].client.greet(pair);
            known[client].client.bind(pair, number, &peer);
        }
        Step::Channel {
            client,
            number,
            len,
        } => {
            let route = known[client].client.route;
            pair.receive(&route, &channel_data(number, &vec![7; len]));
        }
        Step::Send { client, peer } => {
            let Some(peer) = peer_of(known, peer) else {
                return;
            };
            let client = &mut known[client].client;
            let indication = client.send_indication(&peer, b"hello");
            pair.receive(&client.route, &indication);
        }
        Step::Peer { client, peer } => {
            let peer = PEERS[peer];
            let family = peer.starts_with('[');
            let mut relayed = known[client].relayed.iter();
            let Some(&relayed) = relayed.find(|one| one.is_ipv6() == family) else {
                return;
            };
            pair.both(|world| {
                let lives = world.server.table.find_by_relayed(relayed).is_some();
                lives.then(|| world.on_peer(relayed, peer, b"hello"))
            });
        }
        Step::Revoke { client } => {
            let user = ["alice", "bob"][client % 2];
            pair.both(|world| {
                let freed = world.server.revoke(user, &Scope::All);
                world.run_orders();
                freed
            });
        }
        Step::Wait { millis } => {
            pair.both(|world| world.advance(Duration::from_millis(millis)));
        }
        Step::Restart => pair.restart(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_server_behaves_like_one_that_never_stopped(
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let (mut pair, mut known) = (Pair::new(), clients());
        for step in steps {
            apply(&mut pair, &mut known, step);
            pair.check();
        }
    }

    /// With any subset of the sockets nothing panics, and unused sockets are closed.
    #[test]
    fn missing_sockets_end_their_allocations_and_unused_sockets_are_closed(
        steps in prop::collection::vec(step(), 1..60),
        left in prop::collection::vec(any::<bool>(), 40),
        listener in any::<bool>(),
    ) {
        let (mut pair, mut known) = (Pair::new(), clients());
        for step in steps {
            apply(&mut pair, &mut known, step);
        }
        let snapshot = pair.running.server.snapshot();
        let left = RefCell::new(left.into_iter());
        let sockets = snapshot.sockets().map(|(number, _)| number);
        let sockets = sockets.filter(|_| left.borrow_mut().next() == Some(true));
        let numbers = IdMap {
            via: if listener { [(0, 0)].into() } else { [].into() },
            sockets: sockets.map(|number| (number, number)).collect(),
        };
        let mut next = World::with(tight());
        next.sockets = pair.running.sockets.clone();
        for (number, socket) in (0..).zip(&mut next.sockets) {
            if !numbers.sockets.contains_key(&number) {
                *socket = None;
            }
        }
        next.server.restore(snapshot, &numbers);
        next.run_orders();
        prop_assert_eq!(next.open_sockets(), next.server.config.quotas.held());
        next.now = pair.running.now;
        next.advance(Duration::from_secs(4000));
        prop_assert_eq!((next.server.allocations(), next.open_sockets()), (0, 0));
        prop_assert!(next.server.config.directory.is_empty());
    }
}

#[test]
fn allocations_of_revoked_users_are_not_restored() {
    let mut world = World::new();
    world.allocated(ALICE, "alice");
    world.allocated(BOB, "bob");
    let config = config();
    config.revocations.revoke_user("alice");
    let next = world.restarted(&config);
    assert_eq!((next.server.allocations(), next.open_sockets()), (1, 1));
    assert_eq!(next.server.config.quotas.held(), 1);
}

#[test]
fn a_restored_server_removes_permissions_of_newly_denied_peers() {
    let mut world = World::new();
    let (mut alice, _) = world.allocated(ALICE, "alice");
    assert_eq!(alice.permit(&mut world, &["9.9.9.9:1"]).code(), None);
    let mut config = config();
    config.settings.denied_peers = vec!["9.0.0.0/8".parse().unwrap()];
    let mut next = world.restarted(&config);
    next.server.reapply_policy();
    let indication = alice.send_indication("9.9.9.9:1", b"hello");
    let (verdict, _) = next.receive(&alice.route, &indication);
    assert!(matches!(verdict, Verdict::Dropped(_)), "{verdict:?}");
}

#[test]
fn an_allocation_over_a_stream_is_not_restored() {
    let mut world = World::new();
    let mut alice = Client::new(ALICE, "alice");
    alice.route.transport = Transport::Tcp;
    assert_eq!(alice.allocate(&mut world, &[]).code(), None);
    let snapshot = world.server.snapshot();
    assert_eq!(snapshot.allocations(), 0);
    assert_eq!(snapshot.sockets().count(), 0);
}
