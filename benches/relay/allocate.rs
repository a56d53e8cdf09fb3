//! Creates allocations as fast as one thread of clients can: Allocate, 401, Allocate, ChannelBind.

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

use parlor::clock;
use serde_json::{Value, json};

use super::Options;
use super::floor::{self, CHANNEL};
use super::load::{Process, direct_socket, raise_limits, register, since};
use super::turn::Client;

/// A peer that nothing is sent to.
const PEER: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9);

/// Creates the number of allocations in the options, one after the other, and returns the figures.
pub(crate) fn run(options: &Options) -> Value {
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
            // The same number of round trips and sockets.
            let (socket, _) = direct_socket();
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
    kept.iter_mut().for_each(Client::deallocate);
    figures
}
