//! Binding responses (RFC 8489 section 12), and NAT behaviour discovery with them (RFC 5780
//! section 6.1).

use crate::stun::{Attribute, Class, Method, Writer};

use super::attributes::unknown;
use super::discovery::Discovered;
use super::request::Request;
use super::{DropReason, ErrorReason, Outcome, Output, Route, Server, Verdict};

impl Server {
    /// Returns the comprehension-required attributes of a request that the server does not support.
    /// CHANGE-REQUEST is supported in a Binding request if there is another endpoint to respond
    /// from.
    pub(super) fn unknown_attributes<'a>(
        &self,
        request: Request<'a>,
    ) -> impl Iterator<Item = Attribute> + use<'a> {
        let Request { message, route, .. } = request;
        let discovers =
            message.method() == Method::BINDING && self.config.discovery.is_supported(route);
        let dont_fragment = self.config.dont_fragment;
        unknown(message).filter(move |attribute| match *attribute {
            Attribute::CHANGE_REQUEST => !discovers,
            Attribute::DONT_FRAGMENT => !dont_fragment,
            _ => true,
        })
    }

    /// Handles a Binding request, which needs no credential. If NAT behaviour discovery is
    /// supported, the response names its origin and the other endpoint, and CHANGE-REQUEST selects
    /// the endpoint that sends it.
    pub(super) fn handle_binding(&mut self, request: Request<'_>) -> Verdict {
        if self.unknown_attributes(request).next().is_some() {
            return self.respond_error(request, ErrorReason::UnknownAttribute, None);
        }
        let discovery = &self.config.discovery;
        let discovered = match discovery.respond_from(request.route, request.message) {
            Ok(discovered) => discovered,
            Err(reason) => return self.respond_error(request, reason, None),
        };
        if !self.allow_unauthenticated(request) {
            return Verdict::Dropped(DropReason::UnauthenticatedRate);
        }
        let outcome = Outcome::Granted(Method::BINDING);
        self.response.clear();
        let writer = Writer::new(
            &mut self.response,
            Method::BINDING,
            Class::Success,
            request.message.transaction(),
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, request.route.client);
        let Some(discovered) = discovered else {
            writer.fingerprint();
            return Verdict::Respond(outcome);
        };
        put_endpoints(writer, request, &discovered);
        let origin = discovered.origin;
        if origin.address == request.route.server {
            return Verdict::Respond(outcome);
        }
        self.output.push_back(Output::Response {
            route: Route {
                server: origin.address,
                via: origin.via,
                ..*request.route
            },
            bytes: self.response.clone(),
            outcome,
        });
        Verdict::Queued
    }
}

/// Completes a response that supports NAT behaviour discovery. Apart from the common response, which
/// then copies no addresses for it.
#[cold]
#[inline(never)]
fn put_endpoints(writer: Writer<'_>, request: Request<'_>, discovered: &Discovered<'_>) {
    writer
        .address(Attribute::MAPPED_ADDRESS, request.route.client)
        .address(Attribute::RESPONSE_ORIGIN, discovered.origin.public)
        .address(Attribute::OTHER_ADDRESS, discovered.other.public)
        .fingerprint();
}
