//! The inputs of the server: datagrams of clients, of peers and of other shards.

use std::net::SocketAddr;
use std::ops::Range;

use crate::clock::Now;
use crate::stun::{CHANNEL_HEADER, ChannelData, Class, Message, Method};

use super::request::Request;
use super::{AllocationId, DropReason, Route, Server, Verdict};

impl Server {
    /// Handles a datagram, or one message of a stream, from a client.
    ///
    /// The message is `buffer[range]`. [`HEADROOM`](super::HEADROOM) bytes before it and
    /// [`TAILROOM`](super::TAILROOM) bytes behind it may be overwritten.
    pub fn handle_client_datagram(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        match buffer[range.clone()].first() {
            Some(0x40..=0x4f) => self.handle_channel_data(now, route, buffer, range),
            Some(0x00..=0x3f) => self.handle_stun(now, route, buffer, range),
            _ => Verdict::Dropped(DropReason::NotStun),
        }
    }

    /// Handles a datagram from `peer` that arrived on a relay socket of the allocation `id`.
    pub fn handle_peer_datagram(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: SocketAddr,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        if !self.policy.permits_port(peer) {
            return Verdict::Dropped(if self.policy.is_denied_port(peer) {
                DropReason::PeerPortDenied
            } else {
                DropReason::PeerDenied
            });
        }
        self.relay_to_client(now, id, peer, buffer, range)
    }

    /// Handles application data from a client of another shard. `from` is the relayed address of
    /// that client, `to` a relayed address of this shard.
    pub fn handle_shard_datagram(
        &mut self,
        now: Now,
        from: SocketAddr,
        to: SocketAddr,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        match self.table.find_by_relayed(to) {
            Some(id) if self.config.settings.same_room && !self.shares_room_with(from, id) => {
                Verdict::Dropped(DropReason::OtherRoom)
            }
            Some(id) => self.relay_to_client(now, id, from, buffer, range),
            None => Verdict::Dropped(DropReason::NoRelay),
        }
    }

    fn handle_channel_data(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        let Some(data) = ChannelData::parse(&buffer[range.clone()]) else {
            return Verdict::Dropped(DropReason::Malformed);
        };
        let start = range.start + CHANNEL_HEADER;
        self.relay_channel_data(now, route, data.number, buffer, start..start + data.len)
    }

    fn handle_stun(
        &mut self,
        now: Now,
        route: &Route,
        buffer: &mut [u8],
        range: Range<usize>,
    ) -> Verdict {
        let Ok(message) = Message::parse(&buffer[range.clone()]) else {
            return Verdict::Dropped(DropReason::Malformed);
        };
        let request = Request {
            now,
            route,
            message: &message,
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => match self.parse_send_indication(&message) {
                Some(indication) => {
                    let start = range.start + indication.data.start;
                    let payload = start..start + indication.data.len();
                    self.relay_send_indication(now, route, &indication, buffer, payload)
                }
                None => Verdict::Dropped(DropReason::Malformed),
            },
            (Class::Request, Method::BINDING) => self.handle_binding(request),
            (Class::Request, method)
                if Server::serves(method) && !self.config.discovery.is_binding_only(route) =>
            {
                match self.other_shard_for(request) {
                    Some(shard) => Verdict::Redirect { shard },
                    None => self.handle_request(request),
                }
            }
            _ => Verdict::Dropped(DropReason::NotForServer),
        }
    }
}
