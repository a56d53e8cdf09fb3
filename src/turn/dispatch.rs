//! Requests: authentication, unknown attributes, dispatch by method, and responses.

use std::net::SocketAddr;

use crate::stun::{Attribute, Class, Message, Method, Writer};

use super::algorithms::Key;
use super::attributes::reservation_token;
use super::auth::{Authenticated, authenticate};
use super::request::{Granted, Request};
use super::reservation::shard_of_token;
use super::response::ResponseBuilder;
use super::{DropReason, ErrorReason, Outcome, Server, ShardId, Verdict};

impl Server {
    /// Returns whether the server handles requests of this method after authentication.
    pub(super) fn serves(method: Method) -> bool {
        matches!(
            method,
            Method::ALLOCATE | Method::REFRESH | Method::CREATE_PERMISSION | Method::CHANNEL_BIND
        )
    }

    /// Returns the shard that must handle the request instead: the one that has the client's
    /// allocation, or the port that the client has reserved.
    pub(super) fn other_shard_for(&self, request: Request<'_>) -> Option<ShardId> {
        if self.config.directory.shards() == 1 || self.table.find_by_client(request.route).is_some()
        {
            return None;
        }
        let has_client = self.config.directory.shard_of_client(request.route);
        let shard = has_client.or_else(|| {
            let token = reservation_token(request.message).ok()??;
            Some(shard_of_token(token, &self.config.directory))
        })?;
        (shard != self.shard).then_some(shard)
    }

    /// Handles a request other than Binding: authentication first, then unknown attributes, then
    /// the method.
    pub(super) fn handle_request(&mut self, request: Request<'_>) -> Verdict {
        let authenticated = match authenticate(&self.config, &mut self.table, request) {
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
            Ok(Granted::OtherServer(server)) => {
                self.respond_alternate(request.message, server, &authenticated.key)
            }
            Ok(granted) => self.respond_granted(request.message, &granted, &authenticated.key),
            Err(reason) => self.respond_error(request, reason, Some(&authenticated.key)),
        }
    }

    fn grant(
        &mut self,
        request: Request<'_>,
        authenticated: &Authenticated<'_>,
    ) -> Result<Granted, ErrorReason> {
        let held = self.table.find_by_client(request.route);
        if let Some(monitor) = held.and_then(|id| self.table.get(id)?.monitor.as_mut()) {
            monitor.record_request(request.now.mono);
        }
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

    fn respond_granted(&mut self, message: &Message<'_>, granted: &Granted, key: &Key) -> Verdict {
        let method = message.method();
        self.response.clear();
        if let Granted::Retransmit(id) = granted {
            if let Some(allocation) = self.table.get(*id) {
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

    /// Redirects an authenticated client to the relay of its room.
    fn respond_alternate(
        &mut self,
        message: &Message<'_>,
        server: SocketAddr,
        key: &Key,
    ) -> Verdict {
        let (method, reason) = (message.method(), ErrorReason::OtherServer);
        let builder = ResponseBuilder::new(method, message.transaction());
        self.response.clear();
        builder.error(&mut self.response, reason, Some(server), Some(key));
        Verdict::Respond(Outcome::Refused(method, reason))
    }

    /// Writes an error response. With a `key` the client is authenticated, and the response is
    /// signed; without one the response counts for the unauthenticated rate.
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
                let nonce = self.config.nonces.make(route.client, now.unix);
                builder.challenge(&mut self.response, reason, &self.config.realm, &nonce);
            }
            420 => {
                let types = self.unknown_attributes(request);
                builder.unknown_attributes(&mut self.response, types, key);
            }
            _ => {
                let alternates = &self.config.settings.alternates;
                let alternate = alternates.for_error(reason, route.client);
                builder.error(&mut self.response, reason, alternate, key);
            }
        }
        Verdict::Respond(Outcome::Refused(message.method(), reason))
    }

    /// Charges a response to an unauthenticated client; returns whether it may be sent.
    pub(super) fn allow_unauthenticated(&self, request: Request<'_>) -> bool {
        let Request { now, route, .. } = request;
        let limiter = &self.config.settings.unauthenticated;
        limiter.take(route.client.ip(), now.mono)
    }
}
