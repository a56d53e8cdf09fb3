//! Thousands of short allocations over UDP and TCP, each with data. Afterwards the daemon has the same
//! resources as before. `SOAK_SECONDS` sets the duration (`tests/long/soak`: an hour).

use std::time::Duration;

use parlor::clock::now;
use parlor::stun::{Attribute, Method};

use crate::support::Daemon;
use crate::support::turn::{Client, Wire, both_hear_each_other, connected};
use crate::{Deadline, metric, open_relay};

/// Pairs of clients at a time.
const PAIRS: usize = 60;

/// Allowed growth of memory in KiB: the allocator does not return all free memory.
const SLACK: u64 = 3 * 1024;

/// The resources of a daemon.
#[derive(Debug, Clone, Copy)]
struct Held {
    descriptors: usize,
    resident: u64,
}

impl Held {
    fn by(daemon: &Daemon) -> Held {
        let process = daemon.pid();
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.split_whitespace().next());
        Held {
            descriptors: open.count(),
            resident: resident.expect("VmRSS").parse().expect("a number"),
        }
    }
}

/// A round: pairs of new users allocate, exchange data and leave in different ways.
fn round(daemon: &Daemon, number: u64) -> u64 {
    let server = daemon.turn();
    let client = |index: usize, side: &str| {
        let user = format!("{side}-{number}-{index}");
        match index % 3 {
            0 => Client::tcp(server, &user),
            _ => Client::udp(server, &user, None),
        }
    };
    let mut pairs: Vec<(Client, Client)> = (0..PAIRS)
        .map(|index| connected(client(index, "alice"), client(index + 1, "bob")))
        .collect();
    for (alice, bob) in &mut pairs {
        let streams = [&alice.wire, &bob.wire].map(|wire| matches!(wire, Wire::Tcp(_)));
        both_hear_each_other(alice, bob, streams[0] || streams[1]);
    }
    for (alice, bob) in pairs {
        for mut client in [alice, bob] {
            // The end of a stream ends its allocation; half of them end it explicitly before.
            let is_stream = matches!(client.wire, Wire::Tcp(_));
            if !is_stream || number.is_multiple_of(2) {
                let zero = [(Attribute::LIFETIME, vec![0; 4])];
                assert_eq!(client.request(Method::REFRESH, &zero).code(), None);
            }
        }
    }
    2 * PAIRS as u64
}

/// Waits until there are no allocations and `descriptors` open descriptors.
fn wait_until_idle(daemon: &Daemon, descriptors: Option<usize>) -> Held {
    let deadline = Deadline::new();
    loop {
        let allocations = metric(daemon, "parlor_turn_allocations");
        let held = Held::by(daemon);
        let closed = descriptors.is_none_or(|descriptors| held.descriptors <= descriptors);
        if allocations == 0 && closed {
            return held;
        }
        deadline.check(&format!(
            "{allocations} allocations and {} descriptors to go",
            held.descriptors
        ));
        std::thread::yield_now();
    }
}

#[test]
fn after_a_soak_memory_descriptors_and_ports_are_as_before() {
    let daemon = open_relay()
        .env("PARLOR_TURN__MAX_STREAMS_PER_ADDRESS", "1000")
        .start();
    let seconds = std::env::var("SOAK_SECONDS").map_or(60, |s| s.parse().expect("SOAK_SECONDS"));
    let before = wait_until_idle(&daemon, None);
    // The first round allocates memory that stays.
    let mut number = 0;
    let warm_until = now().mono + Duration::from_secs(seconds / 6);
    while now().mono < warm_until {
        round(&daemon, number);
        number += 1;
    }
    let warm = wait_until_idle(&daemon, Some(before.descriptors));
    let until = now().mono + Duration::from_secs(seconds);
    let mut made = 0;
    while now().mono < until {
        made += round(&daemon, number);
        number += 1;
    }
    let after = wait_until_idle(&daemon, Some(before.descriptors));
    eprintln!("{made} allocations in {seconds} s: {before:?}, warm {warm:?}, then {after:?}");
    assert!(made >= 1000, "only {made} allocations in {seconds} s");
    assert!(
        after.resident <= warm.resident + SLACK,
        "{} KiB became {} KiB in {made} allocations",
        warm.resident,
        after.resident
    );
}
