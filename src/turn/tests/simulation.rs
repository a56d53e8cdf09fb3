//! Random steps of many clients in virtual time, with one and two relayed addresses and shards. The
//! invariants are checked after each step.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Allocate {
        client: usize,
        seconds: u32,
        both: bool,
    },
    /// For one family, or for all.
    Refresh {
        client: usize,
        seconds: u32,
        family: Option<usize>,
    },
    Bind {
        client: usize,
        peer: usize,
        family: usize,
    },
    SendData {
        client: usize,
        peer: usize,
        family: usize,
    },
    Revoke {
        user: usize,
    },
    Wait {
        seconds: u64,
    },
    /// Restores every shard in another process.
    Restart,
}

const CLIENTS: usize = 5;
const USERS: usize = 2;
/// Relayed addresses of a user.
const QUOTA: usize = 3;

const FIRST_PORT: u16 = 50_000;

/// IPv4 and IPv6, counted from 0.
const FAMILIES: usize = 2;

/// The lifetimes of permissions and channels in seconds (RFC 8656 sections 9 and 12).
const PERMISSION: u64 = 300;
const CHANNEL: u64 = 600;

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let families = || 0..FAMILIES;
    let family = || prop_oneof![2 => Just(None), 1 => families().prop_map(Some)];
    let whom = || (0..CLIENTS, 0..CLIENTS, families());
    let seconds = prop_oneof![Just(0u32), 1u32..4000];
    prop_oneof![
        6 => (client.clone(), seconds.clone(), any::<bool>())
            .prop_map(|(client, seconds, both)| Step::Allocate { client, seconds, both }),
        3 => (client, seconds, family())
            .prop_map(|(client, seconds, family)| Step::Refresh { client, seconds, family }),
        10 => whom().prop_map(|(client, peer, family)| Step::Bind { client, peer, family }),
        14 => whom().prop_map(|(client, peer, family)| Step::SendData { client, peer, family }),
        1 => (0..USERS).prop_map(|user| Step::Revoke { user }),
        2 => (1u64..400).prop_map(|seconds| Step::Wait { seconds }),
        1 => Just(Step::Restart),
    ]
}

/// Shards behind one address. Which of them the kernel hands a datagram to is not theirs to choose.
struct Fixture {
    shards: Vec<World>,
    /// Bits that say whom the kernel asks next.
    random: u64,
}

impl Fixture {
    fn new(shards: ShardId, ports: u16, random: u64) -> Fixture {
        let config = Fixture::config_for(shards, ports);
        let shards = (0..shards).map(|shard| World::of_shard(config.clone(), shard));
        Fixture {
            shards: shards.collect(),
            random,
        }
    }

    fn config_for(shards: ShardId, ports: u16) -> Config {
        Config {
            quotas: Arc::new(Quotas::new(100, QUOTA as u32, 100)),
            directory: Arc::new(Directory::new(shards)),
            room_relays: None,
            ports: PortRange {
                first: FIRST_PORT,
                last: FIRST_PORT + ports - 1,
            },
            ..config()
        }
    }

    fn restart(&mut self) {
        let PortRange { first, last } = self.config().ports;
        let shards = self.shards.len() as ShardId;
        let config = Fixture::config_for(shards, last - first + 1);
        for shard in &mut self.shards {
            *shard = shard.restarted(&config);
        }
    }

    fn now(&self) -> u64 {
        self.shards[0].now.unix
    }

    fn shard_of(&self, relayed: SocketAddr) -> usize {
        self.config().directory.shard_of_port(relayed.port()).into()
    }

    fn config(&self) -> &Config {
        &self.shards[0].server.config
    }

    fn advance(&mut self, seconds: u64) {
        let span = Duration::from_secs(seconds);
        self.shards.iter_mut().for_each(|shard| shard.advance(span));
    }

    /// Passes a datagram to any shard, and to the shard that it is redirected to.
    fn receive(&mut self, route: &Route, datagram: &[u8]) -> (usize, Verdict, Vec<u8>) {
        self.random = self.random.rotate_right(1);
        let receiver = self.random as usize % self.shards.len();
        match self.shards[receiver].receive(route, datagram) {
            (Verdict::Redirect { shard }, _) => {
                let shard = usize::from(shard);
                assert_ne!(shard, receiver, "redirected to itself");
                let (verdict, bytes) = self.shards[shard].receive(route, datagram);
                let back = matches!(verdict, Verdict::Redirect { .. });
                assert!(!back, "redirected twice");
                (shard, verdict, bytes)
            }
            (verdict, bytes) => (receiver, verdict, bytes),
        }
    }

    /// Returns the client that a datagram reaches, and the received bytes.
    fn deliver(&mut self, route: &Route, datagram: &[u8]) -> Option<(Route, Vec<u8>)> {
        let (_, verdict, bytes) = self.receive(route, datagram);
        let (verdict, bytes) = match verdict {
            Verdict::ToShard {
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

impl Responder for Fixture {
    fn response(&mut self, route: &Route, request: &[u8]) -> Vec<u8> {
        match self.receive(route, request) {
            (_, Verdict::Respond(_), bytes) => bytes,
            (shard, Verdict::Queued, _) => {
                self.shards[shard]
                    .responses
                    .pop()
                    .expect("a late response")
                    .1
            }
            (_, other, _) => panic!("no response: {other:?}"),
        }
    }
}

/// The model's state of one client, for each family.
#[derive(Clone, Default)]
struct ModelClient([ModelAddress; FAMILIES]);

/// A relayed address with its permission and channels. All relayed addresses of a family have the
/// same IP address, so any channel is a permission for all.
#[derive(Clone, Default)]
struct ModelAddress {
    relayed: Option<SocketAddr>,
    expires: u64,
    permitted_until: u64,
    /// By channel number: the peer and the expiry.
    channels: BTreeMap<u16, (SocketAddr, u64)>,
}

impl ModelClient {
    fn addresses(&self) -> usize {
        self.0.iter().filter(|has| has.relayed.is_some()).count()
    }

    fn is_allocated(&self) -> bool {
        self.addresses() > 0
    }

    /// Returns the relayed addresses that a Refresh for `family`, or for all, refers to.
    fn in_family(&mut self, family: Option<usize>) -> impl Iterator<Item = &mut ModelAddress> {
        let all = self.0.iter_mut().enumerate();
        let matching = all.filter(move |(index, _)| family.is_none_or(|family| family == *index));
        matching.map(|(_, has)| has)
    }

    fn remove_expired(&mut self, now: u64) {
        for has in &mut self.0 {
            has.channels.retain(|_, (_, until)| *until > now);
            if has.expires <= now {
                *has = ModelAddress::default();
            }
        }
    }
}

impl ModelAddress {
    /// Returns whether a ChannelBind would bind a number to two peers, or a peer to two numbers.
    fn conflicts_with(&self, number: u16, peer: SocketAddr) -> bool {
        let mut bound = self.channels.iter();
        bound.any(|(known, (to, _))| (*known == number) != (*to == peer))
    }

    fn bind(&mut self, number: u16, peer: SocketAddr, now: u64) {
        self.permitted_until = now + PERMISSION;
        self.channels.insert(number, (peer, now + CHANNEL));
    }
}

/// Returns the number of free relay ports of a family, by shard.
fn ports_left(fixture: &Fixture, known: &[ModelClient], ports: u16, family: usize) -> Vec<usize> {
    let mut left = vec![0; fixture.shards.len()];
    let held = |address: &SocketAddr| {
        let mut all = known.iter();
        all.any(|one| {
            one.0[family]
                .relayed
                .is_some_and(|a| a.port() == address.port())
        })
    };
    for port in FIRST_PORT..FIRST_PORT + ports {
        let address = SocketAddr::from(([0; 4], port));
        left[fixture.shard_of(address)] += usize::from(!held(&address));
    }
    left
}

/// Returns the relayed addresses, indexed by family.
fn by_family(relayed: &[SocketAddr]) -> [Option<SocketAddr>; FAMILIES] {
    let of = |v4| relayed.iter().find(|address| address.is_ipv4() == v4);
    [true, false].map(|v4| of(v4).copied())
}

/// Returns the channel number for this peer.
fn number_for(peer: usize, family: usize) -> u16 {
    0x4000 + (FAMILIES * peer + family) as u16
}

/// Returns the client that must receive the data of `client` on channel `number`.
fn listener(
    known: &[ModelClient],
    client: usize,
    (number, family): (u16, usize),
    now: u64,
) -> Option<usize> {
    let sender = &known[client].0[family];
    sender.relayed?;
    let (to, _) = sender.channels.get(&number)?;
    let mut all = known.iter();
    let listener = all.position(|one| one.0[family].relayed == Some(*to))?;
    let both = [sender, &known[listener].0[family]];
    both.iter()
        .all(|one| one.permitted_until > now)
        .then_some(listener)
}

/// Returns whether the listener received the data: on its own channel if it has one, otherwise in a
/// Data indication.
fn was_received(sender: &ModelAddress, listener: &ModelAddress, data: &[u8], got: &[u8]) -> bool {
    let from = sender.relayed;
    let mut channels = listener.channels.iter();
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
        random in any::<u64>(),
        steps in prop::collection::vec(step(), 1..160),
    ) {
        let mut fixture = Fixture::new(shards, ports, random);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|i| Client::with(
            &format!("192.88.1.{i}:1000"),
            Credentials::new(&Secret::new("north"), &[]).mint(&format!("user-{}", i % USERS), None, 4_000_000_000),
        )).collect();
        let mut known = vec![ModelClient::default(); CLIENTS];

        for step in steps {
            let now = fixture.now();
            match step {
                Step::Allocate { client, seconds, both } => {
                    let theirs = (0..CLIENTS).filter(|i| i % USERS == client % USERS);
                    let held: usize = theirs.map(|i| known[i].addresses()).sum();
                    let mut attributes = vec![(Attribute::LIFETIME, seconds.to_be_bytes().to_vec())];
                    if both {
                        attributes.push((Attribute::ADDITIONAL_ADDRESS_FAMILY, vec![2, 0, 0, 0]));
                    }
                    let response = clients[client].allocate(&mut fixture, &attributes);
                    // The free ports of a family: of each shard, and of all shards.
                    let left = |family| ports_left(&fixture, &known, ports, family);
                    let of_all = |family| left(family).iter().sum::<usize>();
                    let may_have_both = both && held + 1 < QUOTA;
                    let expected = if known[client].is_allocated() {
                        Some(437)
                    } else if held >= QUOTA {
                        Some(486)
                    } else if of_all(0) == 0 && !(may_have_both && of_all(1) > 0) {
                        // No shard has a free port.
                        Some(508)
                    } else {
                        None
                    };
                    prop_assert_eq!(response.code(), expected);
                    if expected.is_none() {
                        let given = by_family(&response.relayed());
                        prop_assert_eq!(given[0].is_some(), of_all(0) > 0);
                        // Both ports belong to the shard with the IPv4 port.
                        let shard = given[0].map(|v4| fixture.shard_of(v4));
                        let free = shard.map_or(of_all(1), |shard| left(1)[shard]);
                        prop_assert_eq!(given[1].is_some(), may_have_both && free > 0);
                        let missed = response.message().get(Attribute::ADDRESS_ERROR_CODE).is_some();
                        prop_assert_eq!(missed, both && given.contains(&None));
                        for (has, relayed) in known[client].0.iter_mut().zip(given) {
                            has.relayed = relayed;
                            has.expires = now + u64::from(response.lifetime());
                        }
                    }
                }
                Step::Refresh { client, seconds, family } => {
                    clients[client].greet(&mut fixture);
                    let mut attributes = vec![(Attribute::LIFETIME, seconds.to_be_bytes().to_vec())];
                    if let Some(family) = family {
                        let value = vec![1 + family as u8, 0, 0, 0];
                        attributes.push((Attribute::REQUESTED_ADDRESS_FAMILY, value));
                    }
                    let response = clients[client].request(&mut fixture, Method::REFRESH, &attributes);
                    let known = &mut known[client];
                    let expected = if !known.is_allocated() {
                        Some(437)
                    } else if known.in_family(family).all(|has| has.relayed.is_none()) {
                        Some(443)
                    } else {
                        None
                    };
                    prop_assert_eq!(response.code(), expected);
                    if expected.is_none() {
                        for has in known.in_family(family) {
                            has.expires = now + u64::from(response.lifetime());
                        }
                        known.remove_expired(now);
                    }
                }
                Step::Bind { client, peer, family } => {
                    let Some(to) = known[peer].0[family].relayed else { continue };
                    let number = number_for(peer, family);
                    clients[client].greet(&mut fixture);
                    let code = clients[client].bind(&mut fixture, number, &to.to_string()).code();
                    let has = &mut known[client].0[family];
                    let has_conflict = has.conflicts_with(number, to);
                    let has_none = has.relayed.is_none();
                    let expected = if !known[client].is_allocated() {
                        Some(437)
                    } else if has_conflict {
                        Some(400)
                    } else if has_none {
                        Some(443)
                    } else {
                        None
                    };
                    prop_assert_eq!(code, expected);
                    if code.is_none() { known[client].0[family].bind(number, to, now); }
                }
                Step::SendData { client, peer, family } => {
                    let number = number_for(peer, family);
                    let data = format!("from {client}");
                    let route = clients[client].route;
                    let arrived = fixture.deliver(&route, &channel_data(number, data.as_bytes()));
                    let expected = listener(&known, client, (number, family), now);
                    prop_assert_eq!(arrived.as_ref().map(|(to, _)| *to), expected.map(|i| clients[i].route));
                    if let (Some((_, got)), Some(listener)) = (arrived, expected) {
                        let [from, to] = [client, listener].map(|i| &known[i].0[family]);
                        prop_assert!(was_received(from, to, data.as_bytes(), &got));
                    }
                }
                Step::Revoke { user } => {
                    let freed = fixture.revoke(&format!("user-{user}"));
                    let theirs = (0..CLIENTS).filter(|i| i % USERS == user && known[*i].is_allocated());
                    prop_assert_eq!(freed, theirs.clone().count());
                    theirs.collect::<Vec<_>>().iter().for_each(|i| known[*i] = ModelClient::default());
                }
                Step::Restart => fixture.restart(),
                Step::Wait { seconds } => {
                    fixture.advance(seconds);
                    known.iter_mut().for_each(|client| client.remove_expired(fixture.now()));
                }
            }
            let living = known.iter().filter(|client| client.is_allocated()).count();
            prop_assert_eq!(fixture.allocations(), living);
            let addresses: usize = known.iter().map(ModelClient::addresses).sum();
            prop_assert_eq!(fixture.open_sockets(), addresses, "no orphan port");
            prop_assert_eq!(fixture.config().quotas.held(), addresses);
        }
        fixture.advance(4000);
        prop_assert_eq!((fixture.allocations(), fixture.open_sockets()), (0, 0));
        prop_assert!(fixture.config().directory.is_empty(), "the directory has entries of ended allocations");
    }
}
