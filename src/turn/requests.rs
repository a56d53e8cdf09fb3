//! Requests: who asks, whether the request is understood, and what becomes of it.

use crate::clock::Now;
use crate::stun::{Attribute, Class, Message, Method, Writer};

use super::algorithms::Key;
use super::attributes::reservation_token;
use super::auth::{Authenticated, authenticate};
use super::reservation::shard_of_token;
use super::response::ResponseBuilder;
use super::{AllocationId, DropReason, ErrorReason, Outcome, Route, Server, ShardId, Verdict};

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
    /// The response to an Allocate, given again.
    Retransmit(AllocationId),
    /// The response follows when the socket is bound.
    Queued,
    /// A retransmission of what is still being served.
    Pending,
    /// Another shard must response instead.
    OtherShard(ShardId),
}

impl Server {
    /// Whether this server responses requests of the method (after authentication).
    pub(super) fn serves(method: Method) -> bool {
        matches!(
            method,
            Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND
        )
    }

    /// The shard that must response instead: the one that has this client's allocation, or the port
    /// that the client has reserved.
    pub(super) fn other_shard_for(&self, request: Request<'_>) -> Option<ShardId> {
        if self.settings.directory.shards() == 1
            || self.table.find_by_client(request.route).is_some()
        {
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
        if self.unknown_attributes(request).next().is_some() {
            return self.respond_error(request, ErrorReason::UnknownAttribute, None);
        }
        if let Some(verdict) = self.discover(request) {
            return verdict;
        }
        if !self.allow_unauthenticated(request) {
            return Verdict::Dropped(DropReason::UnauthenticatedRate);
        }
        let transaction = request.message.transaction();
        self.response.clear();
        Writer::new(
            &mut self.response,
            Method::BINDING,
            Class::Success,
            transaction,
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, request.route.client)
        .fingerprint();
        Verdict::Respond(Outcome::Granted(Method::BINDING))
    }

    /// Every other request: authentication, then unknown attributes, then what it asks for.
    pub(super) fn request(&mut self, request: Request<'_>) -> Verdict {
        let authenticated = match authenticate(&self.settings, &mut self.table, request) {
            Ok(authenticated) => authenticated,
            Err(failure) => {
                return self.respond_error(request, failure.reason, failure.key.as_deref());
            }
        };
        let result = if self.unknown_attributes(request).next().is_some() {
            Err(ErrorReason::UnknownAttribute)
        } else {
            self.grant(request, &authenticated)
        };
        match result {
            Ok(Granted::Queued) => Verdict::Queued,
            Ok(Granted::Pending) => Verdict::Dropped(DropReason::Pending),
            Ok(Granted::OtherShard(shard)) => Verdict::Redirect { shard },
            Ok(granted) => self.respond_granted(request.message, granted, &authenticated.key),
            Err(reason) => self.respond_error(request, reason, Some(&authenticated.key)),
        }
    }

    fn grant(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Granted, ErrorReason> {
        let held = self.table.find_by_client(request.route);
        match (request.message.method(), held) {
            (Method::ALLOCATE, Some(id)) => self.retransmit_allocate(id, request.message),
            (Method::ALLOCATE, None) => self.first_allocate(request, authenticated),
            (Method::REFRESH, None) => self.retransmit_refresh(request),
            (_, None) => Err(ErrorReason::AllocationMismatch),
            (Method::REFRESH, Some(id)) => self.refresh(id, request, authenticated),
            (Method::CREATE_PERMISSION, Some(id)) => self.create_permission(id, request),
            (_, Some(id)) => self.channel_bind(id, request),
        }
    }

    fn respond_granted(&mut self, message: &Message<'_>, granted: Granted, key: &Key) -> Verdict {
        let method = message.method();
        self.response.clear();
        if let Granted::Retransmit(id) = granted {
            if let Some(allocation) = self.table.get(id) {
                ResponseBuilder::allocated(allocation, &mut self.response);
            }
            return Verdict::Respond(Outcome::Granted(method));
        }
        let writer = Writer::new(
            &mut self.response,
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
        Verdict::Respond(Outcome::Granted(method))
    }

    /// Refuses a request, in [`Server::response`].
    pub(super) fn respond_error(
        &mut self,
        request: Request<'_>,
        reason: ErrorReason,
        key: Option<&Key>,
    ) -> Verdict {
        if key.is_none() && !self.allow_unauthenticated(request) {
            return Verdict::Dropped(DropReason::UnauthenticatedRate);
        }
        let Request {
            now,
            route,
            message,
        } = request;
        let builder = ResponseBuilder::new(message.method(), message.transaction());
        self.response.clear();
        match reason.error_code().0 {
            401 | 438 => {
                let nonce = self.settings.nonces.make(route.client, now.unix);
                builder.challenge(&mut self.response, reason, &self.settings.realm, &nonce);
            }
            420 => {
                let types = self.unknown_attributes(request);
                builder.unknown_attributes(&mut self.response, types, key);
            }
            _ => {
                let alternates = &self.settings.alternates;
                let alternate = alternates.for_error(reason, route.client);
                builder.error(&mut self.response, reason, alternate, key);
            }
        }
        Verdict::Respond(Outcome::Refused(message.method(), reason))
    }

    /// Whether a response to somebody who has proved nothing may leave.
    pub(super) fn allow_unauthenticated(&self, request: Request<'_>) -> bool {
        let Request { now, route, .. } = request;
        self.settings
            .unauthenticated
            .take(route.client.ip(), now.mono)
    }
}
