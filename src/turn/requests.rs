//! Requests and their answers: Binding, Allocate, Refresh, CreatePermission, ChannelBind.

use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Now;
use crate::stun::{Attribute, Class, IntegrityKey, Message, Method, Writer, is_channel_number};

use super::allocation::{Allocation, Channel, Ports, Relay};
use super::auth::{Proven, authenticate};
use super::binding::{BIND_PATIENCE, BIND_TRIES};
use super::fields::{
    DEFAULT_LIFETIME, MAX_LIFETIME, has_unknown, lifetime, peers, ports, requested_family,
    reservation_token, same_family,
};
use super::reply::Reply;
use super::reservation::Reservation;

use super::{AllocationId, Dropped, Outcome, Output, Permit, Refusal, Route, Server, Verdict};

/// The protocol number of UDP in REQUESTED-TRANSPORT.
const UDP: u8 = 17;

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
            Relay::Binding { .. } | Relay::BindingNext { .. } => Granted::Pending,
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
        let ports = ports(message)?;
        if let Some(token) = reservation_token(message)? {
            if ports != Ports::Any || requested_family(message)?.is_some() {
                return Err(Refusal::BadRequest);
            }
            let reservation = self.reservations.claim(&token).ok_or(Refusal::NoPort)?;
            return Ok(self.claim(now, route, message, proven, (granted, reservation)));
        }
        let ip = self.relay_ip(route, message)?;
        let permit = self.settings.quotas.take(bearer.user)?;
        let address = self.relay_address(ip, ports).ok_or(Refusal::NoPort)?;
        let relay = Relay::Binding {
            address,
            tries: BIND_TRIES,
            ports,
        };
        let id = self.insert(now, route, message, proven, (granted, relay, permit));
        let owner = Some(id);
        self.output.push_back(Output::Bind { id, address, owner });
        Ok(Granted::Queued)
    }

    /// An allocation whose port was reserved: its socket exists already.
    fn claim(
        &mut self,
        now: Now,
        route: &Route,
        message: &Message<'_>,
        proven: &Proven<'_>,
        (granted, reservation): (u32, Reservation),
    ) -> Granted {
        let Reservation {
            socket,
            address,
            permit,
        } = reservation;
        let relay = Relay::Binding {
            address,
            tries: 0,
            ports: Ports::Any,
        };
        let id = self.insert(now, route, message, proven, (granted, relay, permit));
        self.output.push_back(Output::Adopt { socket, owner: id });
        self.settle(now, id, socket, address, (0, Ports::Any));
        Granted::Queued
    }

    fn insert(
        &mut self,
        now: Now,
        route: &Route,
        message: &Message<'_>,
        proven: &Proven<'_>,
        (granted, relay, permit): (u32, Relay, Permit),
    ) -> AllocationId {
        self.table.insert(Allocation {
            route: *route,
            username: proven.username.into(),
            user: proven.bearer.user.into(),
            room: proven.bearer.room.map(Box::from),
            key: proven.key.clone(),
            transaction: message.transaction(),
            granted,
            expires: now.mono + BIND_PATIENCE,
            relay,
            token: None,
            permissions: Vec::new(),
            channels: Vec::new(),
            to_peers: Default::default(),
            to_client: Default::default(),
            permit,
        })
    }

    /// The address that was asked, or one of the family that REQUESTED-ADDRESS-FAMILY names.
    fn relay_ip(&self, route: &Route, message: &Message<'_>) -> Result<IpAddr, Refusal> {
        let asked = route.server.ip();
        let v4 = match requested_family(message)? {
            // RFC 8656 section 7.2: without the attribute it is IPv4. A server that has none gives
            // what it has, since a browser does not ask and would be left without a relay.
            None => asked.is_ipv4() || self.settings.other_family.iter().any(IpAddr::is_ipv4),
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
