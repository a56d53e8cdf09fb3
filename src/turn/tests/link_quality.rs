//! The quality of links, and paths that have died, as the server reports them.

use super::*;

const INTERVAL: Duration = Duration::from_millis(20);

/// Two clients of this relay that send media to each other over channels.
struct Call {
    world: World,
    clients: [Client; 2],
    relayed: [SocketAddr; 2],
    sequence: u16,
}

impl Call {
    fn new(settings: Settings) -> Call {
        let mut world = World::with(Config {
            settings,
            ..config()
        });
        let (mut alice, at_alice) = world.allocated("192.88.1.1:1000", "alice");
        let (mut bob, at_bob) = world.allocated("192.88.1.2:1000", "bob");
        for (client, peer) in [(&mut alice, at_bob), (&mut bob, at_alice)] {
            let bound = client.bind(&mut world, 0x4000, &peer.to_string());
            assert_eq!(bound.code(), None);
        }
        Call {
            world,
            clients: [alice, bob],
            relayed: [at_alice, at_bob],
            sequence: 0,
        }
    }

    /// Continues for a time. `arrives` says which packets of a client reach the relay.
    fn run(&mut self, time: Duration, arrives: impl Fn(usize, u16) -> bool) {
        for _ in 0..time.as_millis() / INTERVAL.as_millis() {
            self.world.advance(INTERVAL);
            self.sequence = self.sequence.wrapping_add(1);
            for sender in 0..2 {
                if arrives(sender, self.sequence) {
                    let media = media(sender as u32, self.sequence);
                    self.send(sender, &media);
                }
            }
        }
    }

    fn send(&mut self, sender: usize, data: &[u8]) {
        let route = self.clients[sender].route;
        let message = channel_data(0x4000, data);
        let (verdict, _) = self.world.receive(&route, &message);
        assert!(matches!(verdict, Verdict::ToClient { .. }), "{verdict:?}");
    }

    fn quality(&self, client: usize) -> Option<Quality> {
        let page = self.world.server.sessions(self.world.now.mono, 0);
        let route = self.clients[client].route;
        let mut sessions = page.sessions.into_iter();
        sessions.find(|one| one.client == route.client)?.quality
    }
}

fn media(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 111];
    packet.extend(sequence.to_be_bytes());
    packet.extend((960 * u32::from(sequence)).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.resize(160, 0);
    packet
}

fn check(kind: [u8; 2]) -> Vec<u8> {
    [&kind[..], &[0, 0], &crate::stun::COOKIE, &[9; 12]].concat()
}

fn everything(_: usize, _: u16) -> bool {
    true
}

#[test]
fn each_link_has_its_own_loss() {
    let mut call = Call::new(settings());
    let alice_loses_a_twentieth = |sender, sequence| sender == 1 || sequence % 20 != 0;
    call.run(Duration::from_secs(8), alice_loses_a_twentieth);
    let report = |call: &mut Call, lost| {
        let (now, jitter) = (call.world.now, Duration::ZERO);
        let reports = [StreamReport {
            ssrc: 0,
            lost,
            jitter,
        }];
        call.world
            .server
            .record_reports(now, call.relayed[1], &reports);
    };
    report(&mut call, 20);
    call.run(Duration::from_secs(8), alice_loses_a_twentieth);
    // Bob misses 30 more than the 20 that were lost before the relay.
    report(&mut call, 70);
    let [alice, bob] = [0, 1].map(|client| call.quality(client).unwrap());
    assert_eq!(alice.up.total.map(|loss| loss.lost), Some(39));
    assert_eq!(bob.up.total.map(|loss| loss.lost), Some(0));
    assert_eq!(
        bob.down.total,
        Some(Loss {
            expected: 380,
            lost: 30
        })
    );
    assert_eq!(alice.down.total, None, "it has not reported");
    assert!((63..=65).contains(&bob.up.kbps), "{}", bob.up.kbps);
    assert!(bob.down.kbps < bob.up.kbps);
}

#[test]
fn the_round_trip_of_each_client_is_measured_with_the_checks_of_its_peer() {
    let mut call = Call::new(settings());
    call.send(0, &check([0, 1]));
    call.world.advance(Duration::from_millis(35));
    call.send(1, &check([1, 1]));
    let [alice, bob] = [0, 1].map(|client| call.quality(client).unwrap());
    assert_eq!(alice.round_trip, None);
    assert_eq!(bob.round_trip, Some(Duration::from_millis(35)));
}

#[test]
fn a_client_that_goes_silent_in_a_call_is_reported_until_it_is_back() {
    let mut call = Call::new(settings());
    call.run(Duration::from_secs(5), everything);
    assert_eq!(call.world.path_changes, []);
    call.run(Duration::from_millis(760), |sender, _| sender == 1);
    let mut change = PathChange {
        user: "alice".into(),
        room: None,
        client: call.clients[0].route.client,
        is_lost: true,
    };
    assert_eq!(call.world.path_changes, [change.clone()]);
    assert!(call.quality(0).unwrap().path_lost);
    call.run(Duration::from_secs(1), everything);
    change.is_lost = false;
    assert_eq!(call.world.path_changes[1..], [change]);
}

#[test]
fn a_client_that_still_refreshes_is_not_reported() {
    let mut call = Call::new(settings());
    call.run(Duration::from_secs(5), everything);
    for _ in 0..10 {
        call.run(Duration::from_millis(500), |sender, _| sender == 1);
        let [alice, _] = &mut call.clients;
        assert_eq!(alice.permit(&mut call.world, &["8.8.8.8:1"]).code(), None);
    }
    assert_eq!(call.world.path_changes, []);
}

#[test]
fn with_quality_off_nothing_is_measured_and_a_reload_forgets_what_was() {
    let off = || Settings {
        quality: false,
        ..settings()
    };
    let mut call = Call::new(off());
    call.run(Duration::from_secs(2), everything);
    assert_eq!(call.quality(0), None);

    let mut call = Call::new(settings());
    call.run(Duration::from_secs(5), everything);
    assert!(call.quality(0).is_some());
    call.world.server.reconfigure(off());
    assert_eq!(call.quality(0), None);
    call.run(Duration::from_secs(2), |sender, _| sender == 1);
    assert_eq!(
        (call.quality(0), &call.world.path_changes[..]),
        (None, &[][..])
    );
}

#[test]
fn an_allocation_expires_although_its_path_is_checked_first() {
    let mut call = Call::new(settings());
    call.run(Duration::from_secs(5), everything);
    call.world.advance(Duration::from_secs(600));
    assert_eq!(call.world.server.allocations(), 0);
    assert_eq!(call.world.server.next_deadline(), None);
}

/// Sends data on Alice's channel from another port, as after a NAT rebinding.
fn send_from(call: &mut Call, address: &str, channel: u16) -> Verdict {
    let mut route = call.clients[0].route;
    route.client = address.parse().unwrap();
    let message = channel_data(channel, &media(0, call.sequence));
    call.world.receive(&route, &message).0
}

#[test]
fn data_from_another_port_of_a_silent_client_shows_a_rebinding_at_once() {
    let mut call = Call::new(settings());
    call.run(Duration::from_secs(5), everything);
    call.run(Duration::from_millis(120), |sender, _| sender == 1);
    for (address, channel) in [("192.88.1.9:2000", 0x4000), ("192.88.1.1:2000", 0x4001)] {
        let verdict = send_from(&mut call, address, channel);
        assert_eq!(verdict, Verdict::Dropped(DropReason::NoAllocation));
        assert_eq!(call.world.path_changes, [], "{address} {channel:#x}");
        call.run(Duration::from_millis(60), |sender, _| sender == 1);
    }
    send_from(&mut call, "192.88.1.1:2000", 0x4000);
    let changes = call.world.path_changes.iter();
    let changes: Vec<_> = changes.map(|one| (&*one.user, one.is_lost)).collect();
    assert_eq!(changes, [("alice", true)]);
    call.run(Duration::from_secs(2), |sender, _| sender == 1);
    send_from(&mut call, "192.88.1.1:2000", 0x4000);
    assert_eq!(call.world.path_changes.len(), 1, "it is reported once");
    call.run(Duration::from_secs(1), everything);
    assert_eq!(call.world.path_changes.len(), 2, "and restored");
}

#[test]
fn data_from_another_port_of_an_active_clients_address_shows_nothing() {
    let mut call = Call::new(settings());
    for _ in 0..100 {
        call.run(Duration::from_millis(100), everything);
        send_from(&mut call, "192.88.1.1:2000", 0x4000);
    }
    assert_eq!(call.world.path_changes, []);
}
