//! The relay of the real binary, over real sockets: a client of our own, the `turn` crate's, and
//! coturn's tools.

#[path = "../support/mod.rs"]
mod support;

mod certificates;
mod coturn;
mod credentials;
mod differential;
#[cfg(target_os = "linux")]
mod drops;
mod dscp;
mod fail2ban;
mod families;
#[cfg(target_os = "linux")]
mod gso;
#[cfg(target_os = "linux")]
mod host_addresses;
#[cfg(target_os = "linux")]
mod icmp;
mod internal;
mod nat_discovery;
mod new_peers;
mod proxy_protocol;
mod quality;
mod relay;
mod scope;
mod shards;
mod soak;
mod streams;
mod tls;
mod top;
mod traffic;
mod turn_crate;
mod unauthenticated;

use support::turn::SECRET;
use support::{Builder, Daemon};

/// A relay that lets its clients talk to this host's loopback.
fn open_relay() -> Builder {
    Builder::new()
        .env("PARLOR_TURN__SECRET", SECRET)
        .env("PARLOR_TURN__ALLOWED_PEERS", "127.0.0.0/8,::1/128")
        .env("PARLOR_TURN__UNAUTHENTICATED_RATE", "0")
}

fn metric(daemon: &Daemon, name: &str) -> u64 {
    let text = support::http::Client::new(daemon.metrics())
        .get("/metrics")
        .body;
    let text = String::from_utf8(text).expect("text");
    let line = text.lines().find(|line| line.starts_with(name));
    let value = line.and_then(|line| line.rsplit(' ').next());
    value.expect(name).parse().expect("a number")
}

/// Gives up on waiting for something after the deadline of all tests.
struct Deadline(parlor::clock::Mono);

impl Deadline {
    fn new() -> Deadline {
        Deadline(parlor::clock::now().mono + support::DEADLINE)
    }

    /// Fails with what was waited for, when it has taken too long.
    fn check(&self, waiting_for: &str) {
        let left = parlor::clock::now().mono < self.0;
        assert!(left, "waited too long: {waiting_for}");
    }
}
