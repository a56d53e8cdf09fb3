//! A flood of unauthenticated requests: Binding and Allocate in alternation. It is on and off for half a second
//! each, so that other load of the machine affects both halves equally.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use parlor::stun::{Attribute, Class, Method, Writer};

use super::Options;

/// Number of sockets if all requests come from one address.
const PORTS_OF_ONE: usize = 64;

/// Receive buffer size of a socket, whose responses are not read.
const LITTLE: usize = 1;

/// The position of the transaction id in a request.
const TRANSACTION: std::ops::Range<usize> = 8..20;

/// The duration of each half, off and on.
const HALF: Duration = Duration::from_millis(500);

pub(crate) struct Flood {
    sockets: Vec<UdpSocket>,
    requests: [Vec<u8>; 2],
    /// Requests a second.
    rate: u64,
    sent: u64,
}

impl Flood {
    /// A flood of `--flood` requests a second from `--sources` addresses of 127.0.0.0/8; `None` without these
    /// options.
    pub(crate) fn new(options: &Options) -> Option<Flood> {
        let rate = options.number("flood") as u64;
        let sources = options.number("sources").max(1);
        let count = if sources == 1 { PORTS_OF_ONE } else { sources };
        let address = |index: usize| match (sources, index as u16) {
            (1, _) => Ipv4Addr::new(127, 0, 0, 2),
            (_, index) => Ipv4Addr::new(127, 1, (index >> 8) as u8, index as u8),
        };
        (rate > 0).then(|| Flood {
            sockets: (0..count)
                .map(|index| source_socket(address(index), options))
                .collect(),
            requests: [
                request(Method::BINDING, &[]),
                request(Method::ALLOCATE, &[17, 0, 0, 0]),
            ],
            rate,
            sent: 0,
        })
    }

    /// Sends one request if it is due, `past` the start. It sends only one, so that the measured packets do not
    /// wait.
    pub(crate) fn keep_up(&mut self, past: Duration) {
        let (rounds, rest) = halves(past);
        let flooded = rounds * HALF.as_nanos() as u64 + rest.saturating_sub(HALF).as_nanos() as u64;
        let due = flooded.saturating_mul(self.rate) / 1_000_000_000;
        if self.sent >= due {
            return;
        }
        let request = &mut self.requests[self.sent as usize % 2];
        request[TRANSACTION][..8].copy_from_slice(&self.sent.to_be_bytes());
        let socket = &self.sockets[self.sent as usize / 2 % self.sockets.len()];
        // A request that cannot be sent is lost, as on a congested link.
        let _ = socket.send(request);
        self.sent += 1;
    }

    /// Whether the flood is on.
    pub(crate) fn is_on(past: Duration) -> bool {
        halves(past).1 >= HALF
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }
}

/// The number of complete periods, and the time since the last one.
fn halves(past: Duration) -> (u64, Duration) {
    let rounds = past.as_nanos() / (2 * HALF).as_nanos();
    (rounds as u64, past - 2 * HALF * rounds as u32)
}

fn source_socket(address: Ipv4Addr, options: &Options) -> UdpSocket {
    let socket = UdpSocket::bind((address, 0)).expect("a free port of 127.0.0.0/8");
    socket
        .connect(options.server())
        .expect("a connected socket");
    socket.set_nonblocking(true).expect("a socket");
    let buffer = socket2::SockRef::from(&socket).set_recv_buffer_size(LITTLE);
    buffer.expect("a smaller buffer");
    socket
}

fn request(method: Method, transport: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let writer = Writer::new(&mut out, method, Class::Request, [0; 12]);
    if !transport.is_empty() {
        let _ = writer.attribute(Attribute::REQUESTED_TRANSPORT, transport);
    }
    out
}
