//! Many clients doing random things over virtual time, with one shard and with two; what must hold
//! is checked after each step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Allocate { client: usize, seconds: u32 },
    Refresh { client: usize, seconds: u32 },
    Bind { client: usize, peer: usize },
    Talk { client: usize, peer: usize },
    Revoke { user: usize },
    Wait { seconds: u64 },
}

const CLIENTS: usize = 5;
const USERS: usize = 2;
const QUOTA: u32 = 2;
const FIRST_PORT: u16 = 50_000;

/// How long permissions and channels live, in seconds (RFC 8656 sections 9 and 12).
const PERMISSION: u64 = 300;
const CHANNEL: u64 = 600;

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let seconds = prop_oneof![Just(0u32), 1u32..4000];
    prop_oneof![
        6 => (client.clone(), seconds.clone()).prop_map(|(client, seconds)| Step::Allocate { client, seconds }),
        2 => (client.clone(), seconds).prop_map(|(client, seconds)| Step::Refresh { client, seconds }),
        8 => (client.clone(), 0..CLIENTS).prop_map(|(client, peer)| Step::Bind { client, peer }),
        12 => (client, 0..CLIENTS).prop_map(|(client, peer)| Step::Talk { client, peer }),
        1 => (0..USERS).prop_map(|user| Step::Revoke { user }),
        2 => (1u64..400).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// Shards behind one address. Which of them the kernel hands a datagram to is not theirs to choose.
struct House {
    shards: Vec<World>,
    /// Bits that say whom the kernel asks next.
    whim: u64,
}

impl House {
    fn new(shards: ShardId, ports: u16, whim: u64) -> House {
        let quotas = Arc::new(Quotas::new(100, QUOTA));
        let directory = Arc::new(Directory::new(shards));
        let shared = Settings {
            quotas,
            directory,
            ports: PortRange {
                first: FIRST_PORT,
                last: FIRST_PORT + ports - 1,
            },
            ..settings()
        };
        let shards = (0..shards).map(|shard| World::of_shard(shared.clone(), shard));
        House {
            shards: shards.collect(),
            whim,
        }
    }

    fn now(&self) -> u64 {
        self.shards[0].now.unix
    }

    fn settings(&self) -> &Settings {
        &self.shards[0].server.settings
    }

    fn advance(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.shards.iter_mut().for_each(|shard| shard.advance(span));
    }

    /// Hands a datagram to any shard, and to the one that it is passed on to.
    fn receive(&mut self, route: &Route, datagram: &[u8]) -> (usize, Verdict, Vec<u8>) {
        self.whim = self.whim.rotate_right(1);
        let asked = self.whim as usize % self.shards.len();
        match self.shards[asked].receive(route, datagram) {
            (Verdict::PassOn { shard }, _) => {
                let shard = usize::from(shard);
                assert_ne!(shard, asked, "passed on to itself");
                let (verdict, bytes) = self.shards[shard].receive(route, datagram);
                let back = matches!(verdict, Verdict::PassOn { .. });
                assert!(!back, "nobody wants it");
                (shard, verdict, bytes)
            }
            (verdict, bytes) => (asked, verdict, bytes),
        }
    }

    /// Which client a datagram arrives at in the end, and as what.
    fn deliver(&mut self, route: &Route, datagram: &[u8]) -> Option<(Route, Vec<u8>)> {
        let (_, verdict, bytes) = self.receive(route, datagram);
        let (verdict, bytes) = match verdict {
            Verdict::Across {
                shard, from, to, ..
            } => self.shards[usize::from(shard)].across(from, to, &bytes),
            verdict => (verdict, bytes),
        };
        match verdict {
            Verdict::ToClient { route, .. } => Some((route, bytes)),
            Verdict::Dropped(_) => None,
            other => panic!("neither delivered nor dropped: {other:?}"),
        }
    }

    fn revoke(&mut self, user: &str) -> usize {
        let shards = self.shards.iter_mut();
        let freed = shards.map(|shard| {
            let freed = shard.server.revoke(user, &Scope::All);
            shard.run_orders();
            freed
        });
        freed.sum()
    }

    fn allocations(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| shard.server.allocations()).sum()
    }

    fn open_sockets(&self) -> usize {
        self.shards.iter().map(World::open_sockets).sum()
    }
}

impl Asked for House {
    fn answer(&mut self, route: &Route, request: &[u8]) -> Vec<u8> {
        match self.receive(route, request) {
            (_, Verdict::Answer(_), bytes) => bytes,
            (shard, Verdict::Queued, _) => {
                self.shards[shard].answers.pop().expect("a late answer").1
            }
            (_, other, _) => panic!("no answer: {other:?}"),
        }
    }
}

/// What a simple model knows of one client. All relayed addresses have the same IP, so that any
/// channel is a permission for all.
#[derive(Clone, Default)]
struct Known {
    relayed: Option<SocketAddr>,
    expires: u64,
    permitted_until: u64,
    /// By their numbers: to whom, and until when.
    channels: BTreeMap<u16, (SocketAddr, u64)>,
}

impl Known {
    fn forget_at(&mut self, now: u64) {
        self.channels.retain(|_, (_, until)| *until > now);
        if self.expires <= now {
            *self = Known::default();
        }
    }

    /// Whether a ChannelBind would tie a number to two peers, or a peer to two numbers.
    fn clashes(&self, number: u16, peer: SocketAddr) -> bool {
        let mut bound = self.channels.iter();
        bound.any(|(known, (to, _))| (*known == number) != (*to == peer))
    }

    fn bind(&mut self, number: u16, peer: SocketAddr, now: u64) {
        self.permitted_until = now + PERMISSION;
        self.channels.insert(number, (peer, now + CHANNEL));
    }
}

fn living(known: &[Known]) -> usize {
    let living = known.iter().filter(|client| client.relayed.is_some());
    living.count()
}

/// Who must hear what `client` says on channel `number`.
fn listener(known: &[Known], client: usize, number: u16, now: u64) -> Option<usize> {
    let sender = &known[client];
    sender.relayed?;
    let (to, _) = sender.channels.get(&number)?;
    let listener = known.iter().position(|one| one.relayed == Some(*to))?;
    let both = [sender, &known[listener]];
    both.iter()
        .all(|one| one.permitted_until > now)
        .then_some(listener)
}

/// What the listener gets: on its own channel where it has one, else as a Data indication.
fn heard(known: &[Known], speaker: usize, listener: usize, data: &[u8], got: &[u8]) -> bool {
    let from = known[speaker].relayed;
    let mut channels = known[listener].channels.iter();
    match channels.find(|(_, (to, _))| Some(*to) == from) {
        Some((number, _)) => got == channel_data(*number, data),
        None => {
            let message = Message::parse(got).expect("a Data indication");
            message.get(Attribute::DATA) == Some(data)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn sockets_quotas_expiries_and_deliveries_agree_with_a_simple_model(
        shards in 1..=2u8,
        // Too few for all, or more than enough.
        ports in prop_oneof![1..=4u16, Just(10_000)],
        whim in any::<u64>(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut house = House::new(shards, ports, whim);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|i| Client::with(
            &format!("192.88.1.{i}:1000"),
            Credentials::new(&Secret::new("north"), &[]).mint(&format!("user-{}", i % USERS), None, u64::MAX / 2),
        )).collect();
        let mut known = vec![Known::default(); CLIENTS];

        for step in steps {
            let now = house.now();
            match step {
                Step::Allocate { client, seconds } => {
                    let user = client % USERS;
                    let held = (0..CLIENTS).filter(|i| i % USERS == user && known[*i].relayed.is_some()).count();
                    let lifetime = (Attribute::LIFETIME, seconds.to_be_bytes().to_vec());
                    let answer = clients[client].allocate(&mut house, &[lifetime]);
                    let expected = match known[client].relayed {
                        Some(_) => Some(437),
                        None if held as u32 >= QUOTA => Some(486),
                        // Whichever shard has the last one.
                        None if living(&known) >= usize::from(ports) => Some(508),
                        None => None,
                    };
                    prop_assert_eq!(answer.code(), expected);
                    if expected.is_none() {
                        known[client].relayed = answer.address(Attribute::XOR_RELAYED_ADDRESS);
                        known[client].expires = now + u64::from(answer.lifetime());
                    }
                }
                Step::Refresh { client, seconds } => {
                    clients[client].greet(&mut house);
                    let answer = clients[client].refresh(&mut house, seconds);
                    prop_assert_eq!(answer.code().is_some(), known[client].relayed.is_none());
                    if answer.code().is_none() {
                        known[client].expires = now + u64::from(answer.lifetime());
                        known[client].forget_at(now);
                    }
                }
                Step::Bind { client, peer } => {
                    let Some(to) = known[peer].relayed else { continue };
                    let number = 0x4000 + peer as u16;
                    clients[client].greet(&mut house);
                    let code = clients[client].bind(&mut house, number, &to.to_string()).code();
                    let expected = match known[client].relayed {
                        None => Some(437),
                        Some(_) if known[client].clashes(number, to) => Some(400),
                        Some(_) => None,
                    };
                    prop_assert_eq!(code, expected);
                    if code.is_none() { known[client].bind(number, to, now); }
                }
                Step::Talk { client, peer } => {
                    let number = 0x4000 + peer as u16;
                    let data = format!("from {client}");
                    let route = clients[client].route;
                    let arrived = house.deliver(&route, &channel_data(number, data.as_bytes()));
                    let expected = listener(&known, client, number, now);
                    prop_assert_eq!(arrived.as_ref().map(|(to, _)| *to), expected.map(|i| clients[i].route));
                    if let (Some((_, got)), Some(listener)) = (arrived, expected) {
                        prop_assert!(heard(&known, client, listener, data.as_bytes(), &got));
                    }
                }
                Step::Revoke { user } => {
                    let freed = house.revoke(&format!("user-{user}"));
                    let theirs = (0..CLIENTS).filter(|i| i % USERS == user && known[*i].relayed.is_some());
                    prop_assert_eq!(freed, theirs.clone().count());
                    theirs.collect::<Vec<_>>().iter().for_each(|i| known[*i] = Known::default());
                }
                Step::Wait { seconds } => {
                    house.advance(seconds);
                    known.iter_mut().for_each(|client| client.forget_at(house.now()));
                }
            }
            let living = living(&known);
            prop_assert_eq!(house.allocations(), living);
            prop_assert_eq!(house.open_sockets(), living, "no orphan port");
            prop_assert_eq!(house.settings().quotas.held(), living);
        }
        house.advance(4000);
        prop_assert_eq!((house.allocations(), house.open_sockets()), (0, 0));
        prop_assert!(house.settings().directory.is_empty(), "the directory remembers the dead");
    }
}
