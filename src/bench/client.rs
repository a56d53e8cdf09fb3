//! One TURN client: asks for an allocation and a channel to its partner, again where no answer
//! comes, and knows media when it hears it.

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

use super::target::Target;
use super::wire::Wire;

/// Every client binds the same number: it is its own.
pub const CHANNEL: u16 = 0x4000;

/// Waits for an answer, one after the other (RFC 8489 section 6.2.1, but no longer than four
/// seconds each: a server may limit how many strangers it answers).
const WAITS_MS: [u64; 7] = [500, 1000, 2000, 4000, 4000, 4000, 4000];

/// How often a client begins anew with a fresh nonce or from another port.
const FRESH_STARTS: u8 = 3;

pub struct Client {
    wire: Wire,
    who: Minted,
    session: Option<Session>,
    pub relayed: Option<SocketAddr>,
    asked: Option<Asked>,
    fresh_starts: u8,
    given_up: bool,
}

/// What the server's challenge said.
struct Session {
    key: IntegrityKey,
    realm: String,
    nonce: Vec<u8>,
}

/// A request without an answer yet.
struct Asked {
    step: Step,
    transaction: TransactionId,
    bytes: Vec<u8>,
    tries: usize,
    again: Mono,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Allocate,
    Bind(SocketAddr),
    Release,
}

/// What came of a message.
#[derive(Debug)]
pub enum Heard {
    Nothing,
    Allocated,
    /// The channel is bound.
    Ready,
    Released,
    /// The server still has an allocation for this port: to be reopened from another.
    Stale,
    Failed(Trouble),
}

/// Why a client, or a packet, did not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// An error response.
    Code(u16),
    Timeout,
    Descriptors,
    Refused,
    HungUp,
    BufferFull,
    Unreachable,
    NotTurn,
    Other,
}

impl Client {
    /// Opens a socket and asks for an allocation.
    pub fn open(
        target: Target,
        who: Minted,
        registry: &Registry,
        token: Token,
        now: Mono,
    ) -> Result<Client, Trouble> {
        let mut client = Client {
            wire: Wire::open(target, registry, token)?,
            who,
            session: None,
            relayed: None,
            asked: None,
            fresh_starts: 0,
            given_up: false,
        };
        client.ask(Step::Allocate, target.address, now)?;
        Ok(client)
    }

    /// The same from another port.
    pub fn reopen(
        &mut self,
        target: Target,
        registry: &Registry,
        token: Token,
        now: Mono,
    ) -> Result<(), Trouble> {
        self.wire = Wire::open(target, registry, token)?;
        self.session = None;
        self.ask(Step::Allocate, target.address, now)
    }

    pub fn bind(&mut self, peer: SocketAddr, now: Mono) -> Result<(), Trouble> {
        self.ask(Step::Bind(peer), peer, now)
    }

    /// Gives the allocation back. Over a stream, hanging up is enough.
    pub fn release(&mut self, now: Mono) -> bool {
        let Some(relayed) = self.relayed.filter(|_| self.wire.is_udp()) else {
            return false;
        };
        self.ask(Step::Release, relayed, now).is_ok()
    }

    /// Takes no part any more. A socket stays where an allocation has to be given back by it.
    pub fn give_up(&mut self) {
        self.given_up = true;
        self.asked = None;
        if self.relayed.is_none() || !self.wire.is_udp() {
            self.wire = Wire::Closed;
        }
    }

    pub fn is_given_up(&self) -> bool {
        self.given_up
    }

    /// Sends media as it is.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), Trouble> {
        Ok(self.wire.send(packet)?)
    }

    pub fn flush(&mut self) -> Result<(), Trouble> {
        Ok(self.wire.flush()?)
    }

    /// Hands over every message that waits.
    pub fn receive(&mut self, buffer: &mut [u8], each: impl FnMut(&[u8])) -> Result<(), Trouble> {
        Ok(self.wire.receive(buffer, each)?)
    }

    /// Asks again where no answer came in time.
    pub fn remind(&mut self, now: Mono) -> Result<(), Trouble> {
        let Some(asked) = self.asked.as_mut().filter(|asked| asked.again <= now) else {
            return Ok(());
        };
        asked.tries += 1;
        let wait = WAITS_MS.get(asked.tries).ok_or(Trouble::Timeout)?;
        asked.again = now + Duration::from_millis(*wait);
        match self.wire.is_udp() {
            true => may_wait(self.wire.send(&asked.bytes)),
            false => Ok(()),
        }
    }

    /// Reads an answer.
    pub fn hear(&mut self, bytes: &[u8], server: SocketAddr, now: Mono) -> Heard {
        let Ok(message) = Message::parse(bytes) else {
            return Heard::Nothing;
        };
        let asked = |asked: &mut Asked| asked.transaction == message.transaction();
        let Some(Asked { step, .. }) = self.asked.take_if(asked) else {
            return Heard::Nothing;
        };
        match (message.class(), step) {
            (Class::Success, Step::Allocate) => {
                let relayed = message.get(Attribute::XOR_RELAYED_ADDRESS);
                let transaction = message.transaction();
                self.relayed = relayed.and_then(|value| decode_xor_address(value, &transaction));
                match self.relayed {
                    Some(_) => Heard::Allocated,
                    None => Heard::Failed(Trouble::NotTurn),
                }
            }
            (Class::Success, Step::Bind(_)) => Heard::Ready,
            (_, Step::Release) => Heard::Released,
            (Class::Error, step) => self.refused(&message, step, server, now),
            _ => Heard::Failed(Trouble::NotTurn),
        }
    }

    fn refused(&mut self, message: &Message<'_>, step: Step, to: SocketAddr, now: Mono) -> Heard {
        let code = match message.get(Attribute::ERROR_CODE) {
            Some(&[_, _, class, number, ..]) => u16::from(class) * 100 + u16::from(number),
            _ => return Heard::Failed(Trouble::NotTurn),
        };
        let fresh = self.fresh_starts < FRESH_STARTS;
        let challenged = match code {
            401 => self.session.is_none(),
            438 => fresh,
            437 if fresh && step == Step::Allocate && self.wire.is_udp() => {
                self.fresh_starts += 1;
                return Heard::Stale;
            }
            _ => false,
        };
        let said = (
            message.text(Attribute::REALM),
            message.get(Attribute::NONCE),
        );
        let (true, (Some(realm), Some(nonce))) = (challenged, said) else {
            return Heard::Failed(Trouble::Code(code));
        };
        self.fresh_starts += u8::from(code == 438);
        let key = long_term_key(&self.who.username, realm, &self.who.credential);
        self.session = Some(Session {
            key: IntegrityKey::new(&key),
            realm: realm.to_owned(),
            nonce: nonce.to_vec(),
        });
        match self.ask(step, to, now) {
            Ok(()) => Heard::Nothing,
            Err(trouble) => Heard::Failed(trouble),
        }
    }

    /// Sends a request, signed where a challenge was heard. `about` gives the family to ask for.
    fn ask(&mut self, step: Step, about: SocketAddr, now: Mono) -> Result<(), Trouble> {
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
                .attribute(Attribute::USERNAME, self.who.username.as_bytes())
                .attribute(Attribute::REALM, session.realm.as_bytes())
                .attribute(Attribute::NONCE, &session.nonce)
                .integrity(&session.key)
                .fingerprint(),
            None => writer.fingerprint(),
        }
        let sent = may_wait(self.wire.send(&bytes));
        self.asked = Some(Asked {
            step,
            transaction,
            bytes,
            tries: 0,
            again: now + Duration::from_millis(WAITS_MS[0]),
        });
        sent
    }
}

/// The application data of ChannelData on the one channel that is bound.
pub fn media(bytes: &[u8]) -> Option<&[u8]> {
    let header = ChannelData::parse(bytes).filter(|header| header.number == CHANNEL)?;
    Some(&bytes[CHANNEL_HEADER..][..header.len])
}

/// A full buffer loses a request as a network does: it is sent again.
fn may_wait(sent: io::Result<()>) -> Result<(), Trouble> {
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

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        use io::ErrorKind as Kind;
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            return Trouble::Descriptors;
        }
        match error.kind() {
            Kind::ConnectionRefused => Trouble::Refused,
            Kind::ConnectionReset | Kind::BrokenPipe | Kind::UnexpectedEof | Kind::NotConnected => {
                Trouble::HungUp
            }
            Kind::WouldBlock => Trouble::BufferFull,
            Kind::HostUnreachable | Kind::NetworkUnreachable | Kind::AddrNotAvailable => {
                Trouble::Unreachable
            }
            Kind::TimedOut => Trouble::Timeout,
            Kind::InvalidData => Trouble::NotTurn,
            _ => Trouble::Other,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Code(code) => return write!(f, "{code}"),
            Trouble::Timeout => "timeout",
            Trouble::Descriptors => "out of descriptors",
            Trouble::Refused => "connection refused",
            Trouble::HungUp => "hung up",
            Trouble::BufferFull => "send buffer full",
            Trouble::Unreachable => "unreachable",
            Trouble::NotTurn => "not TURN",
            Trouble::Other => "other",
        })
    }
}
