//! The relay's floor, and a load for it and for any TURN server. `tests/long/relay` runs them side
//! by side and prints the ratios.
//!
//! ```text
//! relay floor 127.0.0.1:3478 [marks]
//! relay load --server 127.0.0.1:3478 --pid PID --of floor|turn|nothing --path hairpin|peer
//!            --allocations N  --lockstep N | --rate R | --window W  [--secs S] [--secret TEXT]
//!            [--size BYTES] [--burst N] [--flood R --sources N]  [--shards N --across yes|no]
//! relay streams --server 127.0.0.1:3478 --pid PID --path up|down|hairpin --clients N --size N
//!               --rate R | --window W  [--secs S] [--secret TEXT] [--tls yes]
//! relay allocate --server 127.0.0.1:3478 --pid PID --of floor|turn --allocations N [--secret TEXT]
//! ```
//!
//! `load` has clients over UDP; the clients of `streams` come over TCP or TLS and send up to peers on UDP,
//! are sent down to by them, or send to each other. A load prints one line of JSON. In *lockstep*, N packets of as many senders are queued, then the
//! server alone has the core, then all are read: with both on one core, a busy machine matters
//! little (root: the load must come before everybody else). At a *rate* packets leave whatever comes
//! back, and with a *window* as long as no more than so many are under way; both tell latencies.
//! In *bursts* each sender sends N packets in a row before it is the next one's turn.
//! A *flood* goes on beside them: requests a second that prove nothing, from so many addresses of
//! 127.0.0.0/8. *Across* pairs clients whose ports belong to different shards of parlor, or to one.

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
        ["floor", address, ref marks @ ..] => {
            let address = address.parse().expect("an IPv4 address and a port");
            floor::serve(address, marks == ["marks"]);
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

    /// Zero where it is not given.
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
