//! Sends packets through a server, and measures their cost or latency.

use std::fs;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::thread;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use parlor::clock::{self, Mono};
use serde_json::{Value, json};

use super::Options;
use super::batch::{self, BATCH, Batch};
use super::floor::{self, CHANNEL};
use super::turn::Client;
use super::unauthenticated::Flood;

/// The default size of a packet: 20 ms of encrypted Opus.
const PAYLOAD: usize = 160;
/// The maximum size of a packet.
const MOST: usize = 1400;
const CHANNEL_HEADER: usize = 4;

/// Packets that have not arrived by then are lost.
const LOSS_TIMEOUT: Duration = Duration::from_millis(60);

/// Maximum number of packets sent before the next poll.
const MAX_SENT_PER_POLL: u64 = 64;

/// A sender and receiver.
struct End {
    socket: Rc<UdpSocket>,
    /// The destination; `None` for connected sockets.
    to: Option<SocketAddrV4>,
    /// Whether its packets have a channel header.
    channel: bool,
}

struct Load {
    ends: Vec<End>,
    /// Clients whose allocations end at the end.
    clients: Vec<Client>,
    /// Clients without a partner yet.
    single: Vec<Client>,
    flood: Option<Flood>,
    poll: Poll,
    events: Events,
    batch: Batch,
    next: usize,
    /// Packets that one end sends in a row, and how many of these are left.
    burst: usize,
    left: usize,
    /// The size of each packet.
    size: usize,
    sent: u64,
    received: u64,
    /// The latency of each packet in nanoseconds.
    took: Vec<u64>,
    /// The latency of packets that arrived during the flood.
    took_beside: Vec<u64>,
    flooded: bool,
}

/// Creates the ends, sends as configured, and returns the figures.
pub(crate) fn run(options: &Options) -> Value {
    raise_limits();
    let server = Process(options.number("pid"));
    let (memory, began) = (server.memory(), clock::now().mono);
    let mut load = Load::new(options);
    let setup = since(began);
    let allocations = options.number("allocations");
    let memory = server.memory().saturating_sub(memory) as f64 / allocations.max(1) as f64;

    let span = Duration::from_secs(options.number("secs").max(1) as u64);
    let (spent, began) = (server.spent(), clock::now().mono);
    let lockstep = options.number("lockstep");
    let lost_rounds = match lockstep {
        0 => load.flow(
            options.number("rate") as u64,
            options.number("window") as u64,
            span,
        ),
        packets => load.lockstep(packets, span),
    };
    let (spent, took) = (server.spent() - spent, since(began));
    load.took.sort_unstable();
    load.took_beside.sort_unstable();
    let figures = json!({
        "us_per_packet": spent as f64 / 1000.0 / load.received.max(1) as f64,
        "lost_rounds": lost_rounds,
        "sent": load.sent,
        "flood": load.flood.as_ref().map_or(0, Flood::sent),
        "lost": load.sent - load.received,
        "per_second": load.received as f64 / took,
        "server_busy": spent as f64 / 1e9 / took,
        "p50": quantile(&load.took, 0.5),
        "p99": quantile(&load.took, 0.99),
        "p999": quantile(&load.took, 0.999),
        "p50_beside": quantile(&load.took_beside, 0.5),
        "p99_beside": quantile(&load.took_beside, 0.99),
        "p999_beside": quantile(&load.took_beside, 0.999),
        "setup": setup,
        "kb_per_allocation": memory,
    });
    let clients = load.clients.iter_mut().chain(&mut load.single);
    clients.for_each(Client::deallocate);
    figures
}

impl Load {
    fn new(options: &Options) -> Load {
        let size = match options.number("size") {
            0 => PAYLOAD,
            size => size.clamp(8, MOST),
        };
        let mut load = Load {
            ends: Vec::new(),
            clients: Vec::new(),
            single: Vec::new(),
            flood: Flood::new(options),
            poll: Poll::new().expect("a poller"),
            events: Events::with_capacity(1024),
            batch: Batch::new(),
            next: 0,
            burst: options.number("burst").max(1),
            left: options.number("burst").max(1),
            size,
            sent: 0,
            received: 0,
            took: Vec::new(),
            took_beside: Vec::new(),
            flooded: false,
        };
        let hairpin = options.word("path", "hairpin") == "hairpin";
        let pairs = options.number("allocations").max(2) / if hairpin { 2 } else { 1 };
        for _ in 0..pairs {
            match (options.word("of", "turn"), hairpin) {
                ("turn", true) => load.two_clients(options),
                ("turn", false) => load.client_and_peer(options),
                ("floor", true) => load.two_clients_of_the_floor(options.server()),
                ("floor", false) => load.client_and_peer_of_the_floor(options.server()),
                _ => load.two_direct_sockets(),
            }
        }
        for (index, end) in load.ends.iter().enumerate() {
            end.socket.set_nonblocking(true).expect("a socket");
            let buffer = socket2::SockRef::from(&end.socket).set_recv_buffer_size(1 << 20);
            buffer.expect("a larger buffer");
            let descriptor = end.socket.as_raw_fd();
            let mut source = SourceFd(&descriptor);
            let watched =
                load.poll
                    .registry()
                    .register(&mut source, Token(index), Interest::READABLE);
            watched.expect("a socket to watch");
        }
        load
    }

    fn two_clients(&mut self, options: &Options) {
        let mut one = self.allocate(options);
        let mut other = self.partner(&one, options);
        one.bind(CHANNEL, other.relayed);
        other.bind(CHANNEL, one.relayed);
        [one, other]
            .into_iter()
            .for_each(|client| self.add_client(client));
    }

    /// A client whose port belongs to the same shard as that of `one`, or to another, if requested.
    fn partner(&mut self, one: &Client, options: &Options) -> Client {
        let cross_shard = match options.word("cross-shard", "either") {
            "yes" => true,
            "no" => false,
            _ => return self.allocate(options),
        };
        let shards = options.number("shards");
        // The rule by which parlor assigns ports to shards.
        let shard = |client: &Client| usize::from(client.relayed.port() >> 1) % 256 % shards;
        let fits = |client: &Client| (shard(client) != shard(one)) == cross_shard;
        if let Some(index) = self.single.iter().position(fits) {
            return self.single.swap_remove(index);
        }
        loop {
            let client = self.allocate(options);
            if fits(&client) {
                return client;
            }
            self.single.push(client);
        }
    }

    fn client_and_peer(&mut self, options: &Options) {
        let (peer, address) = direct_socket();
        let mut client = self.allocate(options);
        client.bind(CHANNEL, address);
        let to = Some(client.relayed);
        self.add_client(client);
        self.add(peer, to, false);
    }

    fn allocate(&self, options: &Options) -> Client {
        Client::allocate(options.server(), options.word("secret", ""))
    }

    fn two_clients_of_the_floor(&mut self, server: SocketAddrV4) {
        let ((one, one_at), (other, other_at)) = (direct_socket(), direct_socket());
        for (socket, to) in [(one, other_at), (other, one_at)] {
            register(&socket, server, floor::TO_CLIENT, to);
            self.add(socket, None, true);
        }
    }

    fn client_and_peer_of_the_floor(&mut self, server: SocketAddrV4) {
        let ((client, _), (peer, address)) = (direct_socket(), direct_socket());
        let relayed = register(&client, server, floor::TO_PEER, address);
        self.add(client, None, true);
        self.add(peer, Some(relayed), false);
    }

    /// Two sockets without a server: the cost of the kernel and of this load.
    fn two_direct_sockets(&mut self) {
        let ((one, one_at), (other, other_at)) = (direct_socket(), direct_socket());
        self.add(one, Some(other_at), true);
        self.add(other, Some(one_at), true);
    }

    fn add_client(&mut self, client: Client) {
        self.add(client.socket.clone(), None, true);
        self.clients.push(client);
    }

    fn add(&mut self, socket: Rc<UdpSocket>, to: Option<SocketAddrV4>, channel: bool) {
        self.ends.push(End {
            socket,
            to,
            channel,
        });
    }

    /// Returns how many rounds lost a packet.
    fn lockstep(&mut self, packets: usize, span: Duration) -> u64 {
        batch::set_realtime_priority();
        let (began, mut losses) = (clock::now().mono, 0);
        // Usually long enough for the server to handle all packets.
        let pause = Duration::from_micros(150 + 8 * packets as u64);
        while clock::now().mono < began + span {
            (0..packets).for_each(|_| self.send());
            let sent = clock::now().mono;
            while self.received < self.sent && clock::now().mono < sent + LOSS_TIMEOUT {
                thread::sleep(pause);
                self.receive(Some(Duration::ZERO));
            }
            if self.received < self.sent {
                losses += 1;
                self.sent = self.received;
            }
        }
        losses
    }

    /// Sends `rate` packets a second, or as many as keep at most `window` packets in flight.
    fn flow(&mut self, rate: u64, window: u64, span: Duration) -> u64 {
        let began = clock::now().mono;
        let (mut progress, mut lost) = (began, 0);
        loop {
            let now = clock::now().mono;
            let past = now.since(began);
            if past > span {
                break;
            }
            let due = match window {
                0 => (past.as_nanos() as u64).saturating_mul(rate) / 1_000_000_000,
                window => self.received + lost + window,
            };
            for _ in self.sent..due.min(self.sent + MAX_SENT_PER_POLL) {
                self.send();
            }
            if let Some(flood) = &mut self.flood {
                flood.keep_up(past);
                self.flooded = Flood::is_on(past);
            }
            let before = self.received;
            self.receive(Some(Duration::ZERO));
            if self.received > before {
                progress = now;
            } else if window > 0 && now > progress + LOSS_TIMEOUT {
                (lost, progress) = (self.sent - self.received, now);
            }
        }
        let ended = clock::now().mono;
        while self.received < self.sent && clock::now().mono < ended + LOSS_TIMEOUT {
            self.receive(Some(LOSS_TIMEOUT));
        }
        0
    }

    /// The next end sends a packet with a timestamp.
    fn send(&mut self) {
        let end = &self.ends[self.next];
        self.left -= 1;
        if self.left == 0 {
            self.next = (self.next + 1) % self.ends.len();
            self.left = self.burst;
        }
        let mut packet = [0; CHANNEL_HEADER + MOST];
        let packet = &mut packet[..CHANNEL_HEADER + self.size];
        packet[..2].copy_from_slice(&CHANNEL.to_be_bytes());
        packet[2..4].copy_from_slice(&(self.size as u16).to_be_bytes());
        packet[4..12].copy_from_slice(&clock::now().mono.0.to_be_bytes());
        let bytes = if end.channel {
            &packet[..]
        } else {
            &packet[CHANNEL_HEADER..]
        };
        // A packet that cannot be sent counts as lost.
        let _ = match end.to {
            Some(to) => end.socket.send_to(bytes, to),
            None => end.socket.send(bytes),
        };
        self.sent += 1;
    }

    /// Receives all pending packets.
    fn receive(&mut self, wait: Option<Duration>) {
        self.poll.poll(&mut self.events, wait).expect("events");
        for event in &self.events {
            let end = &self.ends[event.token().0];
            let took = if self.flooded {
                &mut self.took_beside
            } else {
                &mut self.took
            };
            loop {
                let count = self.batch.receive(&end.socket, 0);
                let now = clock::now().mono;
                for slot in 0..count {
                    let start = if end.channel { CHANNEL_HEADER } else { 0 };
                    let stamp = self.batch.datagram(slot).get(start..start + 8);
                    let stamp = stamp
                        .and_then(|stamp| stamp.try_into().ok())
                        .map(u64::from_be_bytes);
                    took.extend(stamp.map(|sent| now.0.saturating_sub(sent)));
                }
                self.received += count as u64;
                if count < BATCH {
                    break;
                }
            }
        }
    }
}

pub(crate) fn direct_socket() -> (Rc<UdpSocket>, SocketAddrV4) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    match socket.local_addr() {
        Ok(SocketAddr::V4(address)) => (Rc::new(socket), address),
        other => panic!("an address of IPv4: {other:?}"),
    }
}

/// Registers a socket at the floor with its destination, and returns the relayed address.
pub(crate) fn register(
    socket: &UdpSocket,
    server: SocketAddrV4,
    kind: u8,
    to: SocketAddrV4,
) -> SocketAddrV4 {
    socket.connect(server).expect("a connected socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("a socket with a timeout");
    socket
        .send(&floor::write(kind, to))
        .expect("a request sent");
    let mut answer = [0; floor::REQUEST];
    let len = socket.recv(&mut answer).expect("an answer of the floor");
    assert_eq!(len, answer.len(), "not an answer of the floor");
    floor::read(&answer).1
}

/// The latency, in microseconds, that this share of the sorted ones does not exceed.
pub(crate) fn quantile(took: &[u64], share: f64) -> Option<f64> {
    let index = (took.len() as f64 * share) as usize;
    took.get(index).map(|nanos| *nanos as f64 / 1000.0)
}

/// Raises the descriptor limit to the maximum.
pub(crate) fn raise_limits() {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit of descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("more descriptors");
}

pub(crate) fn since(began: Mono) -> f64 {
    clock::now().mono.since(began).as_secs_f64()
}

/// The process of the server, by its id; 0 for none.
pub(crate) struct Process(pub usize);

impl Process {
    /// The CPU time of all threads in nanoseconds.
    pub(crate) fn spent(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.0))
            .into_iter()
            .flatten()
            .flatten();
        let spent = threads.filter_map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        spent.sum()
    }

    /// The resident memory in KB.
    fn memory(&self) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let figure = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        figure.unwrap_or(0)
    }
}
