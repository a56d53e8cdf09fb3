//! One TURN client: requests an allocation and a channel to the other client of its pair, retransmits, and
//! recognizes media.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::{Registry, Token};
use uuid::Uuid;

use crate::clock::Mono;
use crate::credential::{Minted, long_term_key};
use crate::stun::{
    Attribute, CHANNEL_HEADER, ChannelData, Class, IntegrityKey, Message, Method, TransactionId,
    Writer, decode_xor_address,
};

use super::connection::Connection;
use super::target::Target;

/// All clients bind the same channel number: channel numbers are per allocation.
pub(super) const CHANNEL: u16 = 0x4000;

/// Delays before each retransmission (RFC 8489 section 6.2.1, but at most four seconds: a server may limit
/// the rate of responses to unauthenticated clients).
const RETRANSMIT_DELAYS_MS: [u64; 7] = [500, 1000, 2000, 4000, 4000, 4000, 4000];

/// Maximum number of restarts with a new nonce or from another port.
const MAX_RESTARTS: u8 = 3;

pub(super) struct Client {
    connection: Connection,
    minted: Minted,
    session: Option<Session>,
    pub relayed: Option<SocketAddr>,
    pending: Option<PendingRequest>,
    restarts: u8,
    abandoned: bool,
}

/// The authentication parameters of the server's challenge.
struct Session {
    key: IntegrityKey,
    realm: String,
    nonce: Vec<u8>,
}

/// A request without a response yet.
struct PendingRequest {
    step: Step,
    transaction: TransactionId,
    bytes: Vec<u8>,
    attempts: usize,
    retransmit_at: Mono,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Allocate,
    Bind(SocketAddr),
    Release,
}

/// The result of a received message.
#[derive(Debug)]
pub(super) enum ClientEvent {
    Nothing,
    Allocated,
    /// The channel is bound.
    Ready,
    Released,
    /// The server still has an allocation for this port: reopen from another.
    Stale,
    Failed(ClientError),
}

/// Why a client or a packet failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ClientError {
    /// An error response.
    Code(u16),
    Timeout,
    Descriptors,
    Refused,
    Disconnected,
    BufferFull,
    Unreachable,
    NotTurn,
    Other,
}

impl Client {
    /// Opens a socket and requests an allocation.
    pub(super) fn open(
        target: Target,
        minted: Minted,
        registry: &Registry,
        token: Token,
        now: Mono,
    ) -> Result<Client, ClientError> {
        let mut client = Client {
            connection: Connection::open(target, registry, token)?,
            minted,
            session: None,
            relayed: None,
            pending: None,
            restarts: 0,
            abandoned: false,
        };
        client.send_request(Step::Allocate, target.address, now)?;
        Ok(client)
    }

    /// Starts again from another port.
    pub(super) fn reopen(
        &mut self,
        target: Target,
        registry: &Registry,
        token: Token,
        now: Mono,
    ) -> Result<(), ClientError> {
        self.connection = Connection::open(target, registry, token)?;
        self.session = None;
        self.send_request(Step::Allocate, target.address, now)
    }

    pub(super) fn bind(&mut self, peer: SocketAddr, now: Mono) -> Result<(), ClientError> {
        self.send_request(Step::Bind(peer), peer, now)
    }

    /// Frees the allocation. Over a stream, closing the connection is enough.
    pub(super) fn release(&mut self, now: Mono) -> bool {
        let Some(relayed) = self.relayed.filter(|_| self.connection.is_udp()) else {
            return false;
        };
        self.send_request(Step::Release, relayed, now).is_ok()
    }

    /// Stops this client. Its socket stays open if it is needed to free an allocation.
    pub(super) fn abandon(&mut self) {
        self.abandoned = true;
        self.pending = None;
        if self.relayed.is_none() || !self.connection.is_udp() {
            self.connection = Connection::Closed;
        }
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// Sends a media packet.
    pub(super) fn send(&mut self, packet: &[u8]) -> Result<(), ClientError> {
        Ok(self.connection.send(packet)?)
    }

    pub(super) fn flush(&mut self) -> Result<(), ClientError> {
        Ok(self.connection.flush()?)
    }

    /// Passes every received message to `each`.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        each: impl FnMut(&[u8]),
    ) -> Result<(), ClientError> {
        Ok(self.connection.receive(buffer, each)?)
    }

    /// Retransmits a request whose timeout has passed.
    pub(super) fn retransmit(&mut self, now: Mono) -> Result<(), ClientError> {
        let Some(pending) = self
            .pending
            .as_mut()
            .filter(|pending| pending.retransmit_at <= now)
        else {
            return Ok(());
        };
        pending.attempts += 1;
        let wait = RETRANSMIT_DELAYS_MS
            .get(pending.attempts)
            .ok_or(ClientError::Timeout)?;
        pending.retransmit_at = now + Duration::from_millis(*wait);
        if self.connection.is_udp() {
            ignore_would_block(self.connection.send(&pending.bytes))
        } else {
            Ok(())
        }
    }

    /// Handles a response.
    pub(super) fn handle_response(
        &mut self,
        bytes: &[u8],
        server: SocketAddr,
        now: Mono,
    ) -> ClientEvent {
        let Ok(message) = Message::parse(bytes) else {
            return ClientEvent::Nothing;
        };
        let pending = |pending: &mut PendingRequest| pending.transaction == message.transaction();
        let Some(PendingRequest { step, .. }) = self.pending.take_if(pending) else {
            return ClientEvent::Nothing;
        };
        match (message.class(), step) {
            (Class::Success, Step::Allocate) => {
                let relayed = message.get(Attribute::XOR_RELAYED_ADDRESS);
                let transaction = message.transaction();
                self.relayed = relayed.and_then(|value| decode_xor_address(value, &transaction));
                match self.relayed {
                    Some(_) => ClientEvent::Allocated,
                    None => ClientEvent::Failed(ClientError::NotTurn),
                }
            }
            (Class::Success, Step::Bind(_)) => ClientEvent::Ready,
            (_, Step::Release) => ClientEvent::Released,
            (Class::Error, step) => self.refused(&message, step, server, now),
            _ => ClientEvent::Failed(ClientError::NotTurn),
        }
    }

    fn refused(
        &mut self,
        message: &Message<'_>,
        step: Step,
        to: SocketAddr,
        now: Mono,
    ) -> ClientEvent {
        let code = match message.get(Attribute::ERROR_CODE) {
            Some(&[_, _, class, number, ..]) => u16::from(class) * 100 + u16::from(number),
            _ => return ClientEvent::Failed(ClientError::NotTurn),
        };
        let fresh = self.restarts < MAX_RESTARTS;
        let challenged = match code {
            401 => self.session.is_none(),
            438 => fresh,
            437 if fresh && step == Step::Allocate && self.connection.is_udp() => {
                self.restarts += 1;
                return ClientEvent::Stale;
            }
            _ => false,
        };
        let said = (
            message.text(Attribute::REALM),
            message.get(Attribute::NONCE),
        );
        let (true, (Some(realm), Some(nonce))) = (challenged, said) else {
            return ClientEvent::Failed(ClientError::Code(code));
        };
        self.restarts += u8::from(code == 438);
        let key = long_term_key(&self.minted.username, realm, &self.minted.credential);
        self.session = Some(Session {
            key: IntegrityKey::new(&key),
            realm: realm.to_owned(),
            nonce: nonce.to_vec(),
        });
        match self.send_request(step, to, now) {
            Ok(()) => ClientEvent::Nothing,
            Err(error) => ClientEvent::Failed(error),
        }
    }

    /// Sends a request, signed after a challenge. `about` selects the address family.
    fn send_request(
        &mut self,
        step: Step,
        about: SocketAddr,
        now: Mono,
    ) -> Result<(), ClientError> {
        let transaction = new_transaction();
        let mut bytes = Vec::with_capacity(256);
        let method = match step {
            Step::Allocate => Method::ALLOCATE,
            Step::Bind(_) => Method::CHANNEL_BIND,
            Step::Release => Method::REFRESH,
        };
        let writer = Writer::new(&mut bytes, method, Class::Request, transaction);
        let mut writer = match step {
            Step::Allocate => writer.attribute(Attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0]),
            Step::Bind(peer) => {
                let [high, low] = CHANNEL.to_be_bytes();
                writer
                    .attribute(Attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
                    .xor_address(Attribute::XOR_PEER_ADDRESS, peer)
            }
            Step::Release => writer.attribute(Attribute::LIFETIME, &[0; 4]),
        };
        if step == Step::Allocate && about.is_ipv6() {
            writer = writer.attribute(Attribute::REQUESTED_ADDRESS_FAMILY, &[2, 0, 0, 0]);
        }
        match &self.session {
            Some(session) => writer
                .attribute(Attribute::USERNAME, self.minted.username.as_bytes())
                .attribute(Attribute::REALM, session.realm.as_bytes())
                .attribute(Attribute::NONCE, &session.nonce)
                .integrity(&session.key)
                .fingerprint(),
            None => writer.fingerprint(),
        }
        let sent = ignore_would_block(self.connection.send(&bytes));
        self.pending = Some(PendingRequest {
            step,
            transaction,
            bytes,
            attempts: 0,
            retransmit_at: now + Duration::from_millis(RETRANSMIT_DELAYS_MS[0]),
        });
        sent
    }
}

/// Returns the application data of ChannelData on the bound channel.
pub(super) fn media(bytes: &[u8]) -> Option<&[u8]> {
    let header = ChannelData::parse(bytes).filter(|header| header.number == CHANNEL)?;
    Some(&bytes[CHANNEL_HEADER..][..header.len])
}

/// A full buffer loses a request, as a network would: it is retransmitted.
fn ignore_would_block(sent: io::Result<()>) -> Result<(), ClientError> {
    match sent {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        sent => Ok(sent?),
    }
}

fn new_transaction() -> TransactionId {
    let mut id = [0; 12];
    id.copy_from_slice(&Uuid::new_v4().as_bytes()[..12]);
    id
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> ClientError {
        use io::ErrorKind as Kind;
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            return ClientError::Descriptors;
        }
        match error.kind() {
            Kind::ConnectionRefused => ClientError::Refused,
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof | Kind::NotConnected => {
                ClientError::Disconnected
            }
            Kind::WouldBlock => ClientError::BufferFull,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => {
                ClientError::Unreachable
            }
            Kind::TimedOut => ClientError::Timeout,
            Kind::InvalidData => ClientError::NotTurn,
            _ => ClientError::Other,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ClientError::Code(code) => return write!(f, "{code}"),
            ClientError::Timeout => "timeout",
            ClientError::Descriptors => "out of descriptors",
            ClientError::Refused => "connection refused",
            ClientError::Disconnected => "connection closed",
            ClientError::BufferFull => "send buffer full",
            ClientError::Unreachable => "unreachable",
            ClientError::NotTurn => "not TURN",
            ClientError::Other => "other",
        })
    }
}
