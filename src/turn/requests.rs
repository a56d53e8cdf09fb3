//! Requests: who asks, whether the request is understood, and what becomes of it.

use crate::clock::Now;
use crate::stun::{Attribute, Class, Message, Method, Writer};

use super::algorithms::Key;
use super::auth::{Proven, authenticate};
use super::fields::reservation_token;
use super::reply::Reply;
use super::reservation::shard_of_token;
use super::{AllocationId, Dropped, Outcome, Refusal, Route, Server, ShardId, Verdict};

/// A request, when it came and whence.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub now: Now,
    pub route: &'a Route,
    pub message: &'a Message<'a>,
}

/// What a granted request leaves behind.
pub(super) enum Granted {
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
    /// Another shard must answer instead.
    Elsewhere(ShardId),
}

impl Server {
    /// Whether this server answers requests of the method (after authentication).
    pub(super) fn serves(method: Method) -> bool {
        matches!(
            method,
            Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND
        )
    }

    /// The shard that must answer instead: the one that has this client's allocation, or the port
    /// that the client has reserved.
    pub(super) fn belongs_elsewhere(&self, request: Request<'_>) -> Option<ShardId> {
        if self.settings.directory.shards() == 1 || self.table.of_client(request.route).is_some() {
            return None;
        }
        let has_client = self.settings.directory.shard_of_client(request.route);
        let shard = has_client.or_else(|| {
            let token = reservation_token(request.message).ok()??;
            Some(shard_of_token(&token, &self.settings.directory))
        })?;
        (shard != self.shard).then_some(shard)
    }

    /// Binding needs no credential (RFC 8489 section 12).
    pub(super) fn binding(&mut self, request: Request<'_>) -> Verdict {
        if self.not_understood(request).next().is_some() {
            return self.refuse(request, Refusal::UnknownAttribute, None);
        }
        if let Some(verdict) = self.discover(request) {
            return verdict;
        }
        if !self.may_answer_stranger(request) {
            return Verdict::Dropped(Dropped::StrangerRate);
        }
        let transaction = request.message.transaction();
        self.answer.clear();
        Writer::new(
            &mut self.answer,
            Method::BINDING,
            Class::Success,
            transaction,
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, request.route.client)
        .fingerprint();
        Verdict::Answer(Outcome::Granted(Method::BINDING))
    }

    /// Every other request: authentication, then unknown attributes, then what it asks for.
    pub(super) fn request(&mut self, request: Request<'_>) -> Verdict {
        let proven = match authenticate(&self.settings, &mut self.table, request) {
            Ok(proven) => proven,
            Err(un) => return self.refuse(request, un.refusal, un.key.as_deref()),
        };
        let result = if self.not_understood(request).next().is_some() {
            Err(Refusal::UnknownAttribute)
        } else {
            self.grant(request, &proven)
        };
        match result {
            Ok(Granted::Queued) => Verdict::Queued,
            Ok(Granted::Pending) => Verdict::Dropped(Dropped::Pending),
            Ok(Granted::Elsewhere(shard)) => Verdict::PassOn { shard },
            Ok(granted) => self.success(request.message, granted, &proven.key),
            Err(refusal) => self.refuse(request, refusal, Some(&proven.key)),
        }
    }

    fn grant(&mut self, request: Request<'_>, proven: &Proven<'_>) -> Result<Granted, Refusal> {
        let held = self.table.of_client(request.route);
        match (request.message.method(), held) {
            (Method::ALLOCATE, Some(id)) => self.allocate_again(id, request.message),
            (Method::ALLOCATE, None) => self.allocate_once(request, proven),
            (Method::REFRESH, None) => self.refresh_again(request),
            (_, None) => Err(Refusal::AllocationMismatch),
            (Method::REFRESH, Some(id)) => self.refresh(id, request, proven),
            (Method::CREATE_PERMISSION, Some(id)) => self.create_permission(id, request),
            (_, Some(id)) => self.channel_bind(id, request),
        }
    }

    fn success(&mut self, message: &Message<'_>, granted: Granted, key: &Key) -> Verdict {
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
        key.sign(writer).fingerprint();
        Verdict::Answer(Outcome::Granted(method))
    }

    /// Refuses a request, in [`Server::answer`].
    pub(super) fn refuse(
        &mut self,
        request: Request<'_>,
        refusal: Refusal,
        key: Option<&Key>,
    ) -> Verdict {
        if key.is_none() && !self.may_answer_stranger(request) {
            return Verdict::Dropped(Dropped::StrangerRate);
        }
        let Request {
            now,
            route,
            message,
        } = request;
        let reply = Reply::new(message.method(), message.transaction());
        self.answer.clear();
        match refusal.on_the_wire().0 {
            401 | 438 => {
                let nonce = self.settings.nonces.make(route.client, now.unix);
                reply.challenge(&mut self.answer, refusal, &self.settings.realm, &nonce);
            }
            420 => {
                let types = self.not_understood(request);
                reply.unknown_attributes(&mut self.answer, types, key);
            }
            _ => {
                let alternates = &self.settings.alternates;
                let alternate = alternates.instead_of(refusal, route.client);
                reply.error(&mut self.answer, refusal, alternate, key);
            }
        }
        Verdict::Answer(Outcome::Refused(message.method(), refusal))
    }

    /// Whether an answer to somebody who has proved nothing may leave.
    pub(super) fn may_answer_stranger(&self, request: Request<'_>) -> bool {
        let Request { now, route, .. } = request;
        self.settings.strangers.take(route.client.ip(), now.mono)
    }
}
