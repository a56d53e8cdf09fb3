//! Binding responses (RFC 8489 section 12), and NAT behaviour discovery with them (RFC 5780
//! section 6.1).

use crate::stun::{Attribute, Class, Method, Writer};

use super::attributes::unknown;
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
        let change = match request.message.get(Attribute::CHANGE_REQUEST) {
            None => 0,
            Some([_, _, _, flags]) => *flags,
            Some(_) => return self.respond_error(request, ErrorReason::BadRequest, None),
        };
        if !self.allow_unauthenticated(request) {
            return Verdict::Dropped(DropReason::UnauthenticatedRate);
        }
        let discovered = self.config.discovery.respond_from(request.route, change);
        let client = request.route.client;
        let transaction = request.message.transaction();
        self.response.clear();
        let mut writer = Writer::new(
            &mut self.response,
            Method::BINDING,
            Class::Success,
            transaction,
        )
        .xor_address(Attribute::XOR_MAPPED_ADDRESS, client);
        if let Some(discovered) = &discovered {
            writer = writer
                .address(Attribute::MAPPED_ADDRESS, client)
                .address(Attribute::RESPONSE_ORIGIN, discovered.origin.public)
                .address(Attribute::OTHER_ADDRESS, discovered.other.public);
        }
        writer.fingerprint();
        let outcome = Outcome::Granted(Method::BINDING);
        let origin = match discovered {
            Some(discovered) if discovered.origin.address != request.route.server => {
                discovered.origin
            }
            _ => return Verdict::Respond(outcome),
        };
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
