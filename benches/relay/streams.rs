//! Sends packets of clients over TCP or TLS through a TURN server, and measures their cost.

use std::io;
use std::net::{SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use parlor::clock::{self, Mono};
use parlor::relay::framer::next_frame;
use serde_json::{Value, json};

use super::Options;
use super::batch::{BATCH, Batch};
use super::floor::CHANNEL;
use super::load::{Process, direct_socket, quantile, since};
use super::stream_io::{StreamTransport, Tls};
use super::turn::Client;

const CHANNEL_HEADER: usize = 4;

/// Packets that have not arrived by then are lost.
const LOSS_TIMEOUT: Duration = Duration::from_millis(200);

/// Number of packets in a write, if no rate is set.
const BURST: u64 = 16;

/// A sender, a receiver, or both.
enum End<W> {
    Client {
        stream: Rc<W>,
        /// The start of an incomplete frame.
        partial: Vec<u8>,
    },
    Peer {
        socket: Rc<UdpSocket>,
        to: SocketAddrV4,
    },
}

struct Streams<W> {
    ends: Vec<End<W>>,
    /// The senders, which take turns.
    senders: Vec<usize>,
    /// Clients whose allocations end at the end.
    clients: Vec<Client<W>>,
    poll: Poll,
    events: Events,
    batch: Batch,
    buffer: Vec<u8>,
    outbound: Vec<u8>,
    size: usize,
    next: usize,
    sent: u64,
    received: u64,
    /// The latency of each packet in nanoseconds.
    took: Vec<u64>,
}

/// Creates the ends, sends as configured, and returns the figures.
pub(crate) fn run(options: &Options) -> Value {
    match options.word("tls", "no") {
        "yes" => run_over::<Tls>(options),
        _ => run_over::<TcpStream>(options),
    }
}

fn run_over<W: StreamTransport>(options: &Options) -> Value {
    let server = Process(options.number("pid"));
    let mut streams = Streams::<W>::new(options);
    let span = Duration::from_secs(options.number("secs").max(1) as u64);
    let (rate, window) = (options.number("rate"), options.number("window"));
    let (spent, began) = (server.spent(), clock::now().mono);
    streams.flow(rate as u64, window as u64, span);
    let (spent, took) = (server.spent() - spent, since(began));
    streams.took.sort_unstable();
    let figures = json!({
        "us_per_packet": spent as f64 / 1000.0 / streams.received.max(1) as f64,
        "sent": streams.sent,
        "lost": streams.sent - streams.received,
        "per_second": streams.received as f64 / took,
        "server_busy": spent as f64 / 1e9 / took,
        "p50": quantile(&streams.took, 0.5),
        "p99": quantile(&streams.took, 0.99),
    });
    streams.clients.iter_mut().for_each(Client::deallocate);
    figures
}

impl<W: StreamTransport> Streams<W> {
    fn new(options: &Options) -> Streams<W> {
        let mut streams = Streams {
            ends: Vec::new(),
            senders: Vec::new(),
            clients: Vec::new(),
            poll: Poll::new().expect("a poller"),
            events: Events::with_capacity(1024),
            batch: Batch::new(),
            buffer: vec![0; 256 * 1024],
            outbound: Vec::new(),
            size: options.number("size").max(16),
            next: 0,
            sent: 0,
            received: 0,
            took: Vec::new(),
        };
        let path = options.word("path", "hairpin");
        let clients = options.number("clients").max(2);
        match path {
            "hairpin" => (0..clients / 2).for_each(|_| streams.two_clients(options)),
            _ => (0..clients).for_each(|_| streams.client_and_peer(options)),
        }
        let sends = |end: &End<W>| match end {
            End::Client { .. } => path != "down",
            End::Peer { .. } => path == "down",
        };
        let senders = streams.ends.iter().enumerate();
        streams.senders = senders
            .filter_map(|(index, end)| sends(end).then_some(index))
            .collect();
        streams.watch();
        streams
    }

    fn two_clients(&mut self, options: &Options) {
        let [mut one, mut other] = [(); 2].map(|()| allocate(options));
        one.bind(CHANNEL, other.relayed);
        other.bind(CHANNEL, one.relayed);
        self.add(one);
        self.add(other);
    }

    fn client_and_peer(&mut self, options: &Options) {
        let (socket, address) = direct_socket();
        let mut client = allocate(options);
        client.bind(CHANNEL, address);
        let to = client.relayed;
        self.add(client);
        self.ends.push(End::Peer { socket, to });
    }

    fn add(&mut self, client: Client<W>) {
        self.ends.push(End::Client {
            stream: client.socket.clone(),
            partial: Vec::new(),
        });
        self.clients.push(client);
    }

    fn watch(&self) {
        for (index, end) in self.ends.iter().enumerate() {
            let descriptor = match end {
                End::Client { stream, .. } => {
                    let socket = stream.socket();
                    socket.set_nonblocking(true).expect("a stream");
                    socket.as_raw_fd()
                }
                End::Peer { socket, .. } => {
                    socket.set_nonblocking(true).expect("a socket");
                    let buffer = socket2::SockRef::from(&**socket).set_recv_buffer_size(1 << 20);
                    buffer.expect("a larger buffer");
                    socket.as_raw_fd()
                }
            };
            let (registry, interest) = (self.poll.registry(), Interest::READABLE);
            registry
                .register(&mut SourceFd(&descriptor), Token(index), interest)
                .expect("a socket to watch");
        }
    }

    /// Sends `rate` packets a second one by one, or many as long as at most `window` packets are in flight.
    fn flow(&mut self, rate: u64, window: u64, span: Duration) {
        let began = clock::now().mono;
        let (mut progress, mut lost) = (began, 0);
        loop {
            let now = clock::now().mono;
            let past = now.since(began);
            if past > span {
                break;
            }
            if window == 0 {
                let due = (past.as_nanos() as u64).saturating_mul(rate) / 1_000_000_000;
                (self.sent..due).for_each(|_| self.send(1));
            } else {
                while self.sent + BURST <= self.received + lost + window {
                    self.send(BURST);
                }
            }
            let before = self.received;
            self.receive(Duration::ZERO);
            if self.received > before {
                progress = now;
            } else if window > 0 && now > progress + LOSS_TIMEOUT {
                (lost, progress) = (self.sent - self.received, now);
            }
        }
        let ended = clock::now().mono;
        while self.received < self.sent && clock::now().mono < ended + LOSS_TIMEOUT {
            self.receive(LOSS_TIMEOUT);
        }
    }

    /// The next sender sends this many packets with timestamps; over TCP in one write.
    fn send(&mut self, packets: u64) {
        let end = &self.ends[self.senders[self.next]];
        self.next = (self.next + 1) % self.senders.len();
        self.outbound.clear();
        for _ in 0..packets {
            self.outbound.extend(CHANNEL.to_be_bytes());
            self.outbound.extend((self.size as u16).to_be_bytes());
            self.outbound.extend(clock::now().mono.0.to_be_bytes());
            let padded = self.outbound.len() - 8 + self.size.next_multiple_of(4);
            self.outbound.resize(padded, 0);
        }
        match end {
            End::Client { stream, .. } => stream.write_all(&self.outbound),
            End::Peer { socket, to } => {
                let frames = self.outbound.chunks(self.outbound.len() / packets as usize);
                for frame in frames {
                    // A packet that cannot be sent counts as lost.
                    let _ = socket.send_to(&frame[CHANNEL_HEADER..][..self.size], to);
                }
            }
        }
        self.sent += packets;
    }

    /// Receives all pending packets.
    fn receive(&mut self, wait: Duration) {
        self.poll
            .poll(&mut self.events, Some(wait))
            .expect("events");
        for event in &self.events {
            let arrived = match &mut self.ends[event.token().0] {
                End::Client { stream, partial } => {
                    read_all(&**stream, partial, &mut self.buffer, &mut self.took)
                }
                End::Peer { socket, .. } => receive_all(socket, &mut self.batch, &mut self.took),
            };
            self.received += arrived;
        }
    }
}

fn allocate<W: StreamTransport>(options: &Options) -> Client<W> {
    Client::allocate(options.server(), options.word("secret", ""))
}

/// Reads all pending packets, and returns their number.
fn read_all(
    stream: &impl StreamTransport,
    partial: &mut Vec<u8>,
    buffer: &mut [u8],
    took: &mut Vec<u64>,
) -> u64 {
    let mut packets = 0;
    loop {
        let start = partial.len();
        buffer[..start].copy_from_slice(partial);
        let end = match stream.read(&mut buffer[start..]) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(count) => start + count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return packets,
            Err(error) => panic!("the server closed the connection: {error}"),
        };
        let now = clock::now().mono;
        let mut rest = &buffer[..end];
        while let Some(frame) = next_frame(rest).expect("frames of TURN") {
            record_latency(&rest[CHANNEL_HEADER..frame.len], now, took);
            rest = &rest[frame.padded..];
            packets += 1;
        }
        partial.clear();
        partial.extend(rest);
        if end < buffer.len() {
            return packets;
        }
    }
}

fn receive_all(socket: &UdpSocket, batch: &mut Batch, took: &mut Vec<u64>) -> u64 {
    let mut packets = 0;
    loop {
        let count = batch.receive(socket, 0);
        let now = clock::now().mono;
        (0..count).for_each(|slot| record_latency(batch.datagram(slot), now, took));
        packets += count as u64;
        if count < BATCH {
            return packets;
        }
    }
}

/// Records the latency of a packet by its timestamp.
fn record_latency(payload: &[u8], now: Mono, took: &mut Vec<u64>) {
    if let Some(stamp) = payload.first_chunk::<8>() {
        took.push(now.0.saturating_sub(u64::from_be_bytes(*stamp)));
    }
}
