//! A minimal relay (the *floor*), and load generators for it and for any TURN server. `tests/long/relay` runs
//! them in the same run, and prints the ratios.
//!
//! ```text
//! relay floor 127.0.0.1:3478 [tos]
//! relay load --server 127.0.0.1:3478 --pid PID --of floor|turn|nothing --path hairpin|peer
//!            --allocations N  --lockstep N | --rate R | --window W  [--secs S] [--secret TEXT]
//!            [--size BYTES] [--burst N] [--flood R --sources N]  [--shards N --cross-shard yes|no]
//! relay streams --server 127.0.0.1:3478 --pid PID --path up|down|hairpin --clients N --size N
//!               --rate R | --window W  [--secs S] [--secret TEXT] [--tls yes]
//! relay allocate --server 127.0.0.1:3478 --pid PID --of floor|turn --allocations N [--secret TEXT]
//! ```
//!
//! The clients of `load` use UDP. Those of `streams` use TCP or TLS: they send to UDP peers (up), receive
//! from them (down), or send to each other. A load prints one line of JSON.
//!
//! - *lockstep*: N senders queue a packet each, then the server alone uses the core, then all packets are read.
//!   With both on one core, a busy machine matters little. Needs root: the load runs with real-time priority.
//! - *rate*: packets are sent at a fixed rate. *window*: at most W packets are in flight. Both measure latency.
//! - *burst*: each sender sends N packets in a row.
//! - *flood*: unauthenticated requests a second, from N addresses of 127.0.0.0/8, in addition.
//! - *cross-shard*: pairs clients whose ports belong to different shards of parlor, or to the same one.

mod allocate;
mod batch;
mod floor;
mod load;
mod stream_io;
mod streams;
mod turn;
mod unauthenticated;

use std::collections::HashMap;
use std::env;
use std::net::SocketAddrV4;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["floor", address, ref tos @ ..] => {
            let address = address.parse().expect("an IPv4 address and a port");
            floor::serve(address, tos == ["tos"]);
        }
        ["streams", ref options @ ..] => println!("{}", streams::run(&Options::read(options))),
        ["allocate", ref options @ ..] => println!("{}", allocate::run(&Options::read(options))),
        ["load", ref options @ ..] => println!("{}", load::run(&Options::read(options))),
        _ => panic!("see benches/relay/main.rs; `tests/long/relay` is the way to run this"),
    }
}

/// `--name value` …
pub struct Options<'a>(HashMap<&'a str, &'a str>);

impl<'a> Options<'a> {
    fn read(words: &[&'a str]) -> Options<'a> {
        let pairs = words.chunks(2).map(|pair| match pair {
            [name, value] => (name.trim_start_matches("--"), *value),
            _ => panic!("{pair:?} has no value"),
        });
        Options(pairs.collect())
    }

    pub fn word(&self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).copied().unwrap_or(default)
    }

    /// The value of a numeric option; zero if it is not given.
    pub fn number(&self, name: &str) -> usize {
        let given = self.word(name, "0");
        given
            .parse()
            .unwrap_or_else(|_| panic!("--{name} {given}: not a number"))
    }

    pub fn server(&self) -> SocketAddrV4 {
        self.word("server", "127.0.0.1:3478")
            .parse()
            .expect("an IPv4 address and a port")
    }
}
