//! The edge of one shard, played: it binds and closes sockets, and keeps the books of them.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;

use parlor::clock::Now;
use parlor::turn::{
    AllocationId, HEADROOM, Outcome, Output, Route, Server, Session, TAILROOM, Verdict,
};

/// A relay socket.
#[derive(Clone, Copy)]
pub struct Socket {
    pub address: SocketAddr,
    pub owner: Option<AllocationId>,
}

/// What is to happen to the sockets that are asked for next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Bound,
    Taken,
    Broken,
}

pub struct Edge {
    pub server: Server,
    pub sockets: Vec<Option<Socket>>,
    pub fate: Fate,
    /// Whether sockets are bound when somebody says so, not at once.
    pub slow: bool,
    pub waiting: VecDeque<(AllocationId, SocketAddr, Option<AllocationId>)>,
    /// Responses that came late.
    pub responses: Vec<(Route, Vec<u8>, Outcome)>,
    pub ended: Vec<Session>,
}

/// A verdict, the bytes that it speaks of, and the responses that came out of it.
pub struct Reaction {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
}

impl Edge {
    pub fn new(server: Server, slow: bool) -> Edge {
        Edge {
            server,
            sockets: Vec::new(),
            fate: Fate::Bound,
            slow,
            waiting: VecDeque::new(),
            responses: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Hands bytes in by `give`, in a buffer with the room that was promised and not a byte more.
    pub fn hand_in(
        &mut self,
        now: Now,
        bytes: &[u8],
        give: impl FnOnce(&mut Server, &mut [u8], Range<usize>) -> Verdict,
    ) -> Reaction {
        let range = HEADROOM..HEADROOM + bytes.len();
        let mut buffer = vec![0xee; range.end + TAILROOM];
        buffer[range.clone()].copy_from_slice(bytes);
        let verdict = give(&mut self.server, &mut buffer, range);
        let bytes = match &verdict {
            Verdict::ToPeer { range, .. }
            | Verdict::ToClient { range, .. }
            | Verdict::ToShard { range, .. } => buffer[range.clone()].to_vec(),
            Verdict::Respond(_) => self.server.response().to_vec(),
            _ => Vec::new(),
        };
        self.carry_out(now);
        Reaction { verdict, bytes }
    }

    /// Does what the server orders.
    pub fn carry_out(&mut self, now: Now) {
        let mut orders = 0;
        while let Some(output) = self.server.poll_output() {
            orders += 1;
            assert!(orders < 10_000, "orders without an end");
            match output {
                Output::Bind { id, address, owner } => {
                    self.waiting.push_back((id, address, owner));
                    if !self.slow {
                        self.bind_one(now);
                    }
                }
                Output::Adopt { socket, owner } => self.socket(socket).owner = Some(owner),
                Output::Response {
                    route,
                    bytes,
                    outcome,
                } => {
                    self.responses.push((route, bytes, outcome));
                }
                Output::Ended(session) => self.ended.push(*session),
                Output::AddressLost { .. } => {}
                Output::Unbind { socket } => {
                    let closed = self.sockets[socket as usize].take();
                    assert!(closed.is_some(), "a socket is closed once");
                }
            }
        }
    }

    fn socket(&mut self, socket: u32) -> &mut Socket {
        let socket = self.sockets[socket as usize].as_mut();
        socket.expect("nobody speaks of a socket that is closed")
    }

    /// Binds what was asked for first, or fails to.
    pub fn bind_one(&mut self, now: Now) {
        let Some((id, address, owner)) = self.waiting.pop_front() else {
            return;
        };
        let taken = self.open().any(|socket| socket.address == address);
        let result = match self.fate {
            Fate::Broken => Err(io::ErrorKind::PermissionDenied.into()),
            Fate::Taken => Err(io::ErrorKind::AddrInUse.into()),
            Fate::Bound if taken => Err(io::ErrorKind::AddrInUse.into()),
            Fate::Bound => {
                self.sockets.push(Some(Socket { address, owner }));
                Ok(self.sockets.len() as u32 - 1)
            }
        };
        self.server.handle_bind_result(now, id, result);
    }

    pub fn open(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().flatten()
    }

    pub fn expire(&mut self, now: Now) {
        self.server.handle_timeout(now);
        self.carry_out(now);
        let next = self.server.next_deadline();
        assert!(
            next.is_none_or(|at| at > now.mono),
            "a deadline is left behind"
        );
    }
}
