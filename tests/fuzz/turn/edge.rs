//! A simulated caller of one shard's server: it binds and closes sockets, and records them.

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

/// The result of the next bind commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BindOutcome {
    Bound,
    Taken,
    Broken,
}

pub struct Edge {
    pub server: Server,
    pub sockets: Vec<Option<Socket>>,
    pub bind_outcome: BindOutcome,
    /// Whether sockets are bound by a step of their own, not at once.
    pub slow: bool,
    pub waiting: VecDeque<(AllocationId, SocketAddr, Option<AllocationId>)>,
    /// Responses from [`Output::Response`].
    pub responses: Vec<(Route, Vec<u8>, Outcome)>,
    pub ended: Vec<Session>,
}

/// A verdict, and the bytes to send.
pub struct Reaction {
    pub verdict: Verdict,
    pub bytes: Vec<u8>,
}

impl Edge {
    pub fn new(server: Server, slow: bool) -> Edge {
        Edge {
            server,
            sockets: Vec::new(),
            bind_outcome: BindOutcome::Bound,
            slow,
            waiting: VecDeque::new(),
            responses: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Passes bytes to the server by `give`, in a buffer with the required headroom and tailroom.
    pub fn handle(
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
        self.process_outputs(now);
        Reaction { verdict, bytes }
    }

    /// Executes the server's commands.
    pub fn process_outputs(&mut self, now: Now) {
        let mut commands = 0;
        while let Some(output) = self.server.poll_output() {
            commands += 1;
            assert!(commands < 10_000, "endless commands");
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
                Output::AddressLost { .. } | Output::PathChanged(_) => {}
                Output::Unbind { socket } => {
                    let closed = self.sockets[socket as usize].take();
                    assert!(closed.is_some(), "a socket is closed once");
                }
            }
        }
    }

    fn socket(&mut self, socket: u32) -> &mut Socket {
        let socket = self.sockets[socket as usize].as_mut();
        socket.expect("a command names an open socket")
    }

    /// Answers the oldest bind command.
    pub fn bind_one(&mut self, now: Now) {
        let Some((id, address, owner)) = self.waiting.pop_front() else {
            return;
        };
        let taken = self.open().any(|socket| socket.address == address);
        let result = match self.bind_outcome {
            BindOutcome::Broken => Err(io::ErrorKind::PermissionDenied.into()),
            BindOutcome::Taken => Err(io::ErrorKind::AddrInUse.into()),
            BindOutcome::Bound if taken => Err(io::ErrorKind::AddrInUse.into()),
            BindOutcome::Bound => {
                self.sockets.push(Some(Socket { address, owner }));
                Ok(self.sockets.len() as u32 - 1)
            }
        };
        self.server.handle_bind_result(now, id, result);
    }

    pub fn open(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().flatten()
    }

    pub fn handle_timeout(&mut self, now: Now) {
        self.server.handle_timeout(now);
        self.process_outputs(now);
        let next = self.server.next_deadline();
        assert!(
            next.is_none_or(|at| at > now.mono),
            "a passed deadline remains"
        );
    }
}
