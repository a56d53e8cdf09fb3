//! Many clients doing random things over virtual time; what must hold is checked after each step.

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

const CLIENTS: usize = 6;
const USERS: usize = 3;
const QUOTA: u32 = 2;

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let seconds = prop_oneof![Just(0u32), 1u32..4000];
    prop_oneof![
        4 => (client.clone(), seconds.clone()).prop_map(|(client, seconds)| Step::Allocate { client, seconds }),
        2 => (client.clone(), seconds).prop_map(|(client, seconds)| Step::Refresh { client, seconds }),
        3 => (client.clone(), 0..CLIENTS).prop_map(|(client, peer)| Step::Bind { client, peer }),
        4 => (client, 0..CLIENTS).prop_map(|(client, peer)| Step::Talk { client, peer }),
        1 => (0..USERS).prop_map(|user| Step::Revoke { user }),
        3 => (1u64..900).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

/// What a simple model knows of one client.
#[derive(Clone, Copy, Default)]
struct Known {
    relayed: Option<SocketAddr>,
    expires: u64,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn sockets_quotas_and_expiries_agree_with_a_simple_model(steps in prop::collection::vec(step(), 1..80)) {
        let quotas = Arc::new(Quotas::new(100, QUOTA));
        let mut world = World::with(Settings { quotas, ..settings() });
        let mut clients: Vec<Client> = (0..CLIENTS).map(|i| Client::with(
            &format!("192.88.1.{i}:1000"),
            Credentials::new(&Secret::new("north"), &[]).mint(&format!("user-{}", i % USERS), None, u64::MAX / 2),
        )).collect();
        let mut known = [Known::default(); CLIENTS];

        for step in steps {
            match step {
                Step::Allocate { client, seconds } => {
                    let user = client % USERS;
                    let held = (0..CLIENTS).filter(|i| i % USERS == user && known[*i].relayed.is_some()).count();
                    let lifetime = (Attribute::LIFETIME, seconds.to_be_bytes().to_vec());
                    let answer = clients[client].allocate(&mut world, &[lifetime]);
                    let expected = match known[client].relayed {
                        Some(_) => Some(437),
                        None if held as u32 >= QUOTA => Some(486),
                        None => None,
                    };
                    prop_assert_eq!(answer.code(), expected);
                    if expected.is_none() {
                        known[client].relayed = answer.address(Attribute::XOR_RELAYED_ADDRESS);
                        known[client].expires = world.now.unix + u64::from(answer.lifetime());
                    }
                }
                Step::Refresh { client, seconds } => {
                    clients[client].greet(&mut world);
                    let answer = clients[client].refresh(&mut world, seconds);
                    prop_assert_eq!(answer.code().is_some(), known[client].relayed.is_none());
                    if answer.code().is_none() {
                        known[client].expires = world.now.unix + u64::from(answer.lifetime());
                        if seconds == 0 { known[client].relayed = None; }
                    }
                }
                Step::Bind { client, peer } => {
                    let Some(to) = known[peer].relayed else { continue };
                    clients[client].greet(&mut world);
                    let code = clients[client].bind(&mut world, 0x4000 + peer as u16, &to.to_string()).code();
                    let number_taken = code == Some(400);
                    prop_assert!(code.is_none() || number_taken || known[client].relayed.is_none());
                }
                Step::Talk { client, peer } => {
                    let data = channel_data(0x4000 + peer as u16, b"x");
                    let route = clients[client].route;
                    if let (Verdict::ToClient { route, .. }, _) = world.receive(&route, &data) {
                        let target = (0..CLIENTS).find(|i| clients[*i].route == route);
                        prop_assert!(target.is_some_and(|i| known[i].relayed.is_some()), "a packet for a client without allocation");
                    }
                }
                Step::Revoke { user } => {
                    let freed = world.server.revoke(&format!("user-{user}"), &Scope::All);
                    world.run_orders();
                    let theirs = (0..CLIENTS).filter(|i| i % USERS == user && known[*i].relayed.is_some());
                    prop_assert_eq!(freed, theirs.clone().count());
                    theirs.collect::<Vec<_>>().iter().for_each(|i| known[*i].relayed = None);
                }
                Step::Wait { seconds } => {
                    world.advance(Duration::from_secs(seconds));
                    for client in &mut known {
                        if client.expires <= world.now.unix { client.relayed = None; }
                    }
                }
            }
            let living = known.iter().filter(|client| client.relayed.is_some()).count();
            prop_assert_eq!(world.server.allocations(), living);
            prop_assert_eq!(world.open_sockets(), living, "no orphan port");
            prop_assert_eq!(world.server.settings.quotas.held(), living);
        }
    }
}
