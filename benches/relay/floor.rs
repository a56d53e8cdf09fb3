//! The minimum that a relay can do: look up the destination of a datagram, and forward it. There is no STUN,
//! no permission, no time, and no authentication.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::socket::{setsockopt, sockopt};

use super::batch::{BATCH, Batch};

/// The kind of a request: send to another client, or to a peer from a socket of its own. The address
/// follows.
pub(crate) const TO_CLIENT: u8 = b'C';
pub(crate) const TO_PEER: u8 = b'P';

/// The length of a request, and of its response with the relayed address.
pub(crate) const REQUEST: usize = 7;

/// The channel number before data from a peer.
pub(crate) const CHANNEL: u16 = 0x4001;

const MAIN: Token = Token(usize::MAX);

/// The destination of the data of a client.
enum Route {
    Client(SocketAddrV4),
    /// To the peer of this socket.
    Peer(usize, SocketAddrV4),
}

struct Floor {
    main: UdpSocket,
    poll: Poll,
    routes: HashMap<SocketAddrV4, Route>,
    /// The sockets for peers, each with its client.
    relays: Vec<(UdpSocket, SocketAddrV4)>,
    tos: bool,
}

/// Forwards until it is killed. With `tos`, the kernel reports DSCP and ECN of each datagram, like for a relay
/// that preserves them.
pub(crate) fn serve(address: SocketAddrV4, tos: bool) {
    let main = socket(address, tos);
    socket2::SockRef::from(&main)
        .set_recv_buffer_size(4 << 20)
        .expect("a larger buffer");
    let mut floor = Floor {
        main,
        poll: Poll::new().expect("a poller"),
        routes: HashMap::new(),
        relays: Vec::new(),
        tos,
    };
    floor
        .watch(floor.main.as_raw_fd(), MAIN)
        .expect("a socket to watch");
    let (mut batch, mut events) = (Batch::new(), Events::with_capacity(256));
    loop {
        floor.poll.poll(&mut events, None).expect("events");
        let mut used = 0;
        for event in &events {
            match event.token() {
                MAIN => {
                    batch.send(&floor.main);
                    floor.serve_clients(&mut batch);
                    used = 0;
                }
                Token(relay) => used = floor.serve_peer(&mut batch, relay, used),
            }
        }
        batch.send(&floor.main);
    }
}

impl Floor {
    fn serve_clients(&mut self, batch: &mut Batch) {
        loop {
            let count = batch.receive(&self.main, 0);
            for slot in 0..count {
                let from = batch.from(slot);
                if batch.datagram(slot).len() == REQUEST {
                    let answer = self.register(from, batch.datagram(slot));
                    self.main.send_to(&answer, from).expect("an answer");
                    continue;
                }
                match self.routes.get(&from) {
                    Some(Route::Client(to)) => batch.queue(slot, *to, false),
                    Some(Route::Peer(relay, to)) => {
                        let payload = &batch.datagram(slot)[4..];
                        // As in any relay, data that cannot be sent is lost.
                        let _ = self.relays[*relay].0.send_to(payload, *to);
                    }
                    None => {}
                }
            }
            batch.send(&self.main);
            // The poller is edge-triggered: everything has been read.
            if count < BATCH {
                return;
            }
        }
    }

    /// Receives into the slots from `used` on, and returns how many are used then.
    fn serve_peer(&mut self, batch: &mut Batch, relay: usize, mut used: usize) -> usize {
        loop {
            if used == BATCH {
                batch.send(&self.main);
                used = 0;
            }
            let (socket, client) = &self.relays[relay];
            let count = batch.receive(socket, used);
            for slot in used..used + count {
                batch.put_channel(slot, CHANNEL);
                batch.queue(slot, *client, true);
            }
            used += count;
            if used < BATCH {
                return used;
            }
        }
    }

    fn register(&mut self, client: SocketAddrV4, request: &[u8]) -> [u8; REQUEST] {
        let (kind, to) = read(request);
        let mut relayed = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        let route = if kind == TO_CLIENT {
            Route::Client(to)
        } else {
            let socket = socket(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0), self.tos);
            if let Ok(SocketAddr::V4(address)) = socket.local_addr() {
                relayed = address;
            }
            let index = self.relays.len();
            self.watch(socket.as_raw_fd(), Token(index))
                .expect("a socket to watch");
            self.relays.push((socket, client));
            Route::Peer(index, to)
        };
        self.routes.insert(client, route);
        write(kind, relayed)
    }

    fn watch(&self, socket: i32, token: Token) -> io::Result<()> {
        self.poll
            .registry()
            .register(&mut SourceFd(&socket), token, Interest::READABLE)
    }
}

fn socket(address: SocketAddrV4, tos: bool) -> UdpSocket {
    let socket = UdpSocket::bind(address).expect("a free port");
    setsockopt(&socket, sockopt::IpRecvTos, &tos).expect("a socket with TOS");
    socket
}

/// Encodes a request or a response.
pub(crate) fn write(kind: u8, address: SocketAddrV4) -> [u8; REQUEST] {
    let [a, b, c, d] = address.ip().octets();
    let [high, low] = address.port().to_be_bytes();
    [kind, a, b, c, d, high, low]
}

/// Decodes the kind and the address.
pub(crate) fn read(bytes: &[u8]) -> (u8, SocketAddrV4) {
    let [kind, a, b, c, d, high, low] = bytes.try_into().expect("seven bytes");
    let port = u16::from_be_bytes([high, low]);
    (kind, SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}
