//! Requests and their answers: Binding, Allocate, Refresh, CreatePermission, ChannelBind.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::clock::Now;
use crate::stun::{
    Attribute, Class, IntegrityKey, Message, Method, TransactionId, Writer, decode_xor_address,
    is_channel_number,
};

use super::allocation::{Allocation, Channel, Relay};
use super::auth::{Proven, authenticate};
use super::quota::Exhausted;
use super::server::{BIND_PATIENCE, BIND_TRIES};
use super::{AllocationId, Dropped, Outcome, Output, Refusal, Route, Server, Verdict};

/// Seconds (RFC 8656 section 3.2), and the most that a client is given.
const DEFAULT_LIFETIME: u32 = 600;
const MAX_LIFETIME: u32 = 3600;

/// The protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

/// The comprehension-required attributes that requests may carry. Others are answered 420.
const KNOWN: [Attribute; 9] = [
    Attribute::MAPPED_ADDRESS,
    Attribute::USERNAME,
    Attribute::CHANNEL_NUMBER,
    Attribute::LIFETIME,
    Attribute::XOR_PEER_ADDRESS,
    Attribute::REALM,
    Attribute::NONCE,
    Attribute::REQUESTED_ADDRESS_FAMILY,
    Attribute::REQUESTED_TRANSPORT,
];

/// What a granted request leaves behind.
enum Granted {
    /// Success with nothing but integrity.
    Plain,
    /// LIFETIME, in seconds.
    Lifetime(u32),
    /// The answer to an Allocate, given again.
    Again(AllocationId),
    /// The answer follows when the socket is bound.
    Queued,
    /// A retransmission of what is still being served.
    Pending,
}

impl Server {
    /// Whether this server answers requests of the method (after authentication).
    pub(super) fn serves(method: Method) -> bool {
        matches!(
            method,
            Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND
        )
    }

    /// Binding needs no credential (RFC 8489 section 12).
    pub(super) fn binding(&mut self, now: Now, route: &Route, message: &Message<'_>) -> Verdict {
        if has_unknown(message) {
            return self.refuse(now, route, message, Refusal::UnknownAttribute, None);
        }
        if !self.may_answer_stranger(now, route) {
            return Verdict::Dropped(Dropped::StrangerRate);
        }
        self.answer.clear();
        Writer::new(
            &mut self.answer,
            Method::BINDING,
            Class::Success,
            message.transaction(),
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, route.client)
        .fingerprint();
        Verdict::Answer(Outcome::Granted(Method::BINDING))
    }

    /// Every other request: authentication, then unknown attributes, then what it asks for.
    pub(super) fn request(&mut self, now: Now, route: &Route, message: &Message<'_>) -> Verdict {
        let proven = match authenticate(&self.settings, &mut self.table, now, route, message) {
            Ok(proven) => proven,
            Err(un) => return self.refuse(now, route, message, un.refusal, un.key.as_deref()),
        };
        let result = if has_unknown(message) {
            Err(Refusal::UnknownAttribute)
        } else {
            self.grant(now, route, message, &proven)
        };
        match result {
            Ok(Granted::Queued) => Verdict::Queued,
            Ok(Granted::Pending) => Verdict::Dropped(Dropped::Pending),
            Ok(granted) => self.success(message, granted, &proven.key),
            Err(refusal) => self.refuse(now, route, message, refusal, Some(&proven.key)),
        }
    }

    fn grant(
        &mut self,
        now: Now,
        route: &Route,
        message: &Message<'_>,
        proven: &Proven<'_>,
    ) -> Result<Granted, Refusal> {
        let held = self.table.of_client(route);
        match (message.method(), held) {
            (Method::ALLOCATE, Some(id)) => self.allocate_again(id, message),
            (Method::ALLOCATE, None) => self.allocate(now, route, message, proven),
            (_, None) => Err(Refusal::AllocationMismatch),
            (Method::REFRESH, Some(id)) => self.refresh(now, id, message, proven),
            (Method::CREATE_PERMISSION, Some(id)) => self.create_permission(now, id, message),
            (_, Some(id)) => self.channel_bind(now, id, message),
        }
    }

    /// RFC 8656 section 7.2: a second Allocate is a retransmission, or a mismatch.
    fn allocate_again(
        &mut self,
        id: AllocationId,
        message: &Message<'_>,
    ) -> Result<Granted, Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        if allocation.transaction != message.transaction() {
            return Err(Refusal::AllocationMismatch);
        }
        Ok(match allocation.relay {
            Relay::Binding { .. } => Granted::Pending,
            Relay::Bound { .. } => Granted::Again(id),
        })
    }

    /// RFC 8656 section 7.2.
    fn allocate(
        &mut self,
        now: Now,
        route: &Route,
        message: &Message<'_>,
        proven: &Proven<'_>,
    ) -> Result<Granted, Refusal> {
        let bearer = &proven.bearer;
        if bearer.expires <= now.unix {
            return Err(Refusal::Expired);
        }
        if self.settings.refusals.refuses(bearer) {
            return Err(Refusal::Revoked);
        }
        match message.get(Attribute::REQUESTED_TRANSPORT) {
            Some([UDP, _, _, _]) => {}
            Some([_, _, _, _]) => return Err(Refusal::UnsupportedTransport),
            _ => return Err(Refusal::BadRequest),
        }
        let granted = lifetime(message)?.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let ip = self.relay_ip(route, message)?;
        let permit =
            self.settings
                .quotas
                .take(bearer.user)
                .map_err(|exhausted| match exhausted {
                    Exhausted::User => Refusal::UserQuota,
                    Exhausted::Total => Refusal::TotalQuota,
                })?;
        let address = self.relay_address(ip);
        let id = self.table.insert(Allocation {
            route: *route,
            username: proven.username.into(),
            user: bearer.user.into(),
            room: bearer.room.map(Box::from),
            key: proven.key.clone(),
            transaction: message.transaction(),
            granted,
            expires: now.mono + BIND_PATIENCE,
            relay: Relay::Binding {
                address,
                tries: BIND_TRIES,
            },
            permissions: Vec::new(),
            channels: Vec::new(),
            to_peers: Default::default(),
            to_client: Default::default(),
            permit,
        });
        self.output.push_back(Output::Bind { id, address });
        Ok(Granted::Queued)
    }

    /// The address that was asked, or one of the family that REQUESTED-ADDRESS-FAMILY names.
    fn relay_ip(&self, route: &Route, message: &Message<'_>) -> Result<IpAddr, Refusal> {
        let asked = route.server.ip();
        let v4 = match requested_family(message)? {
            // RFC 8656 section 7.2: without the attribute it is IPv4. A server that has none gives
            // what it has, since a browser does not ask and would be left without a relay.
            None => asked.is_ipv4() || !self.settings.other_family.iter().any(IpAddr::is_ipv4),
            Some(v4) => v4,
        };
        if asked.is_ipv4() == v4 {
            return Ok(asked);
        }
        let mut others = self.settings.other_family.iter();
        let other = others.find(|ip| ip.is_ipv4() == v4);
        other.copied().ok_or(Refusal::AddressFamily)
    }

    /// RFC 8656 section 8.2.
    fn refresh(
        &mut self,
        now: Now,
        id: AllocationId,
        message: &Message<'_>,
        proven: &Proven<'_>,
    ) -> Result<Granted, Refusal> {
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        let Some(relayed) = allocation.relayed() else {
            return Ok(Granted::Pending);
        };
        if requested_family(message)?.is_some_and(|v4| v4 != relayed.is_ipv4()) {
            return Err(Refusal::PeerFamily);
        }
        let wanted = lifetime(message)?;
        if wanted == 0 {
            self.free(id);
            return Ok(Granted::Lifetime(0));
        }
        if self.settings.refusals.refuses(&proven.bearer) {
            self.free(id);
            return Err(Refusal::Revoked);
        }
        let granted = wanted.clamp(DEFAULT_LIFETIME, MAX_LIFETIME);
        let expires = now.mono + Duration::from_secs(u64::from(granted));
        self.table.set_expiry(id, expires);
        Ok(Granted::Lifetime(granted))
    }

    /// RFC 8656 section 10.2: all peers, or none.
    fn create_permission(
        &mut self,
        now: Now,
        id: AllocationId,
        message: &Message<'_>,
    ) -> Result<Granted, Refusal> {
        let Some(relayed) = self.table.get(id).and_then(|a| a.relayed()) else {
            return Ok(Granted::Pending);
        };
        let mut wanted: Vec<IpAddr> = Vec::new();
        for peer in peers(message) {
            let peer = same_family(peer?, relayed)?;
            let ip = peer.ip();
            if !self.settings.policy.permits(ip) && !self.settings.relayed.contains(ip) {
                return Err(Refusal::PeerDenied);
            }
            if !wanted.contains(&ip) {
                wanted.push(ip);
            }
        }
        if wanted.is_empty() {
            return Err(Refusal::BadRequest);
        }
        self.make_room(now, id, &wanted)?;
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        for ip in wanted {
            allocation.permit_peer(ip, now.mono);
        }
        Ok(Granted::Plain)
    }

    /// RFC 8656 section 12.2.
    fn channel_bind(
        &mut self,
        now: Now,
        id: AllocationId,
        message: &Message<'_>,
    ) -> Result<Granted, Refusal> {
        let Some(relayed) = self.table.get(id).and_then(|a| a.relayed()) else {
            return Ok(Granted::Pending);
        };
        let number = match message.get(Attribute::CHANNEL_NUMBER) {
            Some(&[high, low, _, _]) => u16::from_be_bytes([high, low]),
            _ => return Err(Refusal::BadRequest),
        };
        let peer = peers(message).next().ok_or(Refusal::BadRequest)??;
        if !is_channel_number(number) {
            return Err(Refusal::BadRequest);
        }
        let peer = same_family(peer, relayed)?;
        let policy = &self.settings.policy;
        let direct = policy.permits_port(peer);
        let hairpin = self.settings.relayed.contains(peer.ip()) && !policy.is_listener(peer);
        if !direct && !hairpin {
            return Err(Refusal::PeerDenied);
        }
        self.make_room(now, id, &[peer.ip()])?;
        let max_channels = self.settings.max_channels;
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        let clash = |c: &Channel| (c.number == number) != (c.peer == peer);
        if allocation.channels.iter().any(clash) {
            return Err(Refusal::BadRequest);
        }
        let known = allocation.channel(number, now.mono).is_some();
        if !known && allocation.channels.len() >= max_channels {
            return Err(Refusal::PeerQuota);
        }
        allocation.permit_peer(peer.ip(), now.mono);
        allocation.bind_channel(number, peer, direct, now.mono);
        Ok(Granted::Plain)
    }

    /// Whether permissions for `ips` fit beside the living ones.
    fn make_room(&mut self, now: Now, id: AllocationId, ips: &[IpAddr]) -> Result<(), Refusal> {
        let max = self.settings.max_permissions;
        let allocation = self.table.get(id).ok_or(Refusal::AllocationMismatch)?;
        allocation.forget_expired(now.mono);
        let held = &allocation.permissions;
        let new = ips
            .iter()
            .filter(|ip| held.iter().all(|p| p.ip != **ip))
            .count();
        let fits = held.len() + new <= max;
        fits.then_some(()).ok_or(Refusal::PeerQuota)
    }

    fn success(&mut self, message: &Message<'_>, granted: Granted, key: &IntegrityKey) -> Verdict {
        let method = message.method();
        self.answer.clear();
        if let Granted::Again(id) = granted {
            if let Some(allocation) = self.table.get(id) {
                Reply::allocated(allocation, &mut self.answer);
            }
            return Verdict::Answer(Outcome::Granted(method));
        }
        let writer = Writer::new(
            &mut self.answer,
            method,
            Class::Success,
            message.transaction(),
        );
        let writer = match granted {
            Granted::Lifetime(seconds) => {
                writer.attribute(Attribute::LIFETIME, &seconds.to_be_bytes())
            }
            _ => writer,
        };
        writer.integrity(key).fingerprint();
        Verdict::Answer(Outcome::Granted(method))
    }
}

/// The head of an answer, and the shapes of what may follow it.
pub(super) struct Reply {
    method: Method,
    transaction: TransactionId,
}

impl Reply {
    pub fn new(method: Method, transaction: TransactionId) -> Reply {
        Reply {
            method,
            transaction,
        }
    }

    /// The success of an Allocate: always the same bytes for the same allocation.
    pub fn allocated(allocation: &Allocation, out: &mut Vec<u8>) {
        let Some(relayed) = allocation.relayed() else {
            return;
        };
        Writer::new(
            out,
            Method::ALLOCATE,
            Class::Success,
            allocation.transaction,
        )
        .xor_address(Attribute::XOR_RELAYED_ADDRESS, relayed)
        .attribute(Attribute::LIFETIME, &allocation.granted.to_be_bytes())
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, allocation.route.client)
        .integrity(&allocation.key)
        .fingerprint();
    }

    pub fn error(self, out: &mut Vec<u8>, refusal: Refusal, key: Option<&IntegrityKey>) {
        let (code, reason) = refusal.on_the_wire();
        sign(self.writer(out).error_code(code, reason), key);
    }

    /// 401 and 438 carry REALM and NONCE, and no integrity.
    pub fn challenge(self, out: &mut Vec<u8>, refusal: Refusal, realm: &str, nonce: &[u8]) {
        let (code, reason) = refusal.on_the_wire();
        self.writer(out)
            .error_code(code, reason)
            .attribute(Attribute::REALM, realm.as_bytes())
            .attribute(Attribute::NONCE, nonce)
            .fingerprint();
    }

    /// 420 lists what was not understood (RFC 8489 section 14.9), each type once.
    pub fn unknown_attributes(
        self,
        out: &mut Vec<u8>,
        message: &Message<'_>,
        key: Option<&IntegrityKey>,
    ) {
        let mut types: Vec<u16> = unknown(message).map(|attribute| attribute.0).collect();
        types.sort_unstable();
        types.dedup();
        // No longer than the request that they came in.
        types.truncate(16);
        let list: Vec<u8> = types.iter().flat_map(|t| t.to_be_bytes()).collect();
        let (code, reason) = Refusal::UnknownAttribute.on_the_wire();
        let writer = self.writer(out).error_code(code, reason);
        sign(writer.attribute(Attribute::UNKNOWN_ATTRIBUTES, &list), key);
    }

    fn writer(self, out: &mut Vec<u8>) -> Writer<'_> {
        Writer::new(out, self.method, Class::Error, self.transaction)
    }
}

fn sign(writer: Writer<'_>, key: Option<&IntegrityKey>) {
    match key {
        Some(key) => writer.integrity(key).fingerprint(),
        None => writer.fingerprint(),
    }
}

fn unknown<'a>(message: &Message<'a>) -> impl Iterator<Item = Attribute> + 'a {
    let types = message.attributes().map(|(attribute, _)| attribute);
    types.filter(|attribute| attribute.comprehension_required() && !KNOWN.contains(attribute))
}

fn has_unknown(message: &Message<'_>) -> bool {
    unknown(message).next().is_some()
}

/// LIFETIME in seconds, or the default.
fn lifetime(message: &Message<'_>) -> Result<u32, Refusal> {
    match message.get(Attribute::LIFETIME) {
        None => Ok(DEFAULT_LIFETIME),
        Some(value) => value
            .try_into()
            .map(u32::from_be_bytes)
            .map_err(|_| Refusal::BadRequest),
    }
}

/// Whether REQUESTED-ADDRESS-FAMILY says IPv4 (RFC 8656 section 18.5).
fn requested_family(message: &Message<'_>) -> Result<Option<bool>, Refusal> {
    match message.get(Attribute::REQUESTED_ADDRESS_FAMILY) {
        None => Ok(None),
        Some([1, _, _, _]) => Ok(Some(true)),
        Some([2, _, _, _]) => Ok(Some(false)),
        Some([_, _, _, _]) => Err(Refusal::AddressFamily),
        Some(_) => Err(Refusal::BadRequest),
    }
}

/// The peers that a request names.
fn peers<'a>(message: &Message<'a>) -> impl Iterator<Item = Result<SocketAddr, Refusal>> + 'a {
    let transaction = message.transaction();
    let values = message.attributes();
    let values = values.filter(|(attribute, _)| *attribute == Attribute::XOR_PEER_ADDRESS);
    values.map(move |(_, value)| decode_xor_address(value, &transaction).ok_or(Refusal::BadRequest))
}

fn same_family(peer: SocketAddr, relayed: SocketAddr) -> Result<SocketAddr, Refusal> {
    let same = peer.is_ipv4() == relayed.is_ipv4();
    same.then_some(peer).ok_or(Refusal::PeerFamily)
}
