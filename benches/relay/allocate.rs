//! Allocations as fast as one thread of clients gets them: Allocate, 401, Allocate, ChannelBind.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use parlor::clock;
use serde_json::{Value, json};

use super::Options;
use super::floor::{self, CHANNEL};
use super::load::{Process, raise_limits, register, since, stranger};
use super::turn::Client;

/// Nothing is ever sent there.
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);

/// Makes as many as the options say, one after the other, and tells what they took.
pub fn run(options: &Options) -> Value {
    raise_limits();
    let count = options.number("allocations").max(1);
    let (server, load) = (
        Process(options.number("pid")),
        Process(std::process::id() as usize),
    );
    let before = [server.spent(), load.spent()];
    let (began, mut kept, mut sockets) = (clock::now().mono, Vec::new(), Vec::new());
    for _ in 0..count {
        if options.word("of", "turn") == "floor" {
            // As many round trips, and as many sockets.
            let (socket, _) = stranger();
            for kind in [floor::TO_CLIENT, floor::TO_PEER, floor::TO_CLIENT] {
                register(&socket, options.server(), kind, PEER);
            }
            sockets.push(socket);
        } else {
            let (server, secret) = (options.server(), options.word("secret", ""));
            let mut client = Client::<UdpSocket>::allocate(server, secret);
            client.bind(CHANNEL, PEER);
            kept.push(client);
        }
    }
    let took = since(began);
    let each = |spent: u64| spent as f64 / 1000.0 / count as f64;
    let figures = json!({
        "per_second": count as f64 / took,
        "seconds": took,
        "server_us": each(server.spent() - before[0]),
        "load_us": each(load.spent() - before[1]),
    });
    kept.iter_mut().for_each(Client::give_back);
    figures
}
