//! The packet path: application data from clients to peers and back. Nothing here copies a payload.
//! Nothing allocates or takes a lock either, except the first look-up after the set of relayed
//! addresses has changed.

use std::net::SocketAddr;
use std::ops::Range;

use rand::Rng;

use crate::clock::Now;
use crate::stun::{
    Attribute, CHANNEL_HEADER, COOKIE, ChannelData, Class, HEADER, MAX_XOR_ADDRESS, Message,
    Method, TransactionId, decode_xor_address, encode_xor_address,
};

use super::allocation::{Channel, RelayedAddress};
use super::allocation_table::PeerLocation;
use super::bandwidth::{Direction, spend};
use super::traffic::is_webrtc;
use super::{AllocationId, DropReason, Route, Server, Verdict};

const ATTRIBUTE_HEADER: usize = 4;

/// The largest payload of a Data indication from an IPv6 peer: the length field has 16 bits.
const MAX_INDICATION_PAYLOAD: usize = 0xfffc - 2 * ATTRIBUTE_HEADER - MAX_XOR_ADDRESS;

/// Where a client's application data goes.
#[derive(Clone, Copy)]
struct SendTarget {
    peer: SocketAddr,
    /// Whether the data may leave this relay: the policy permits the peer of the channel. A Send indication
    /// is checked when it leaves.
    direct: bool,
    /// Whether the IP packet to the peer must not be fragmented.
    dont_fragment: bool,
    /// The channel of the data, and the allocation that had the peer's address last: see
    /// [`Channel::target`].
    channel: Option<(u16, Option<AllocationId>)>,
}

/// A Send indication. `data` is the range of the application data in the message.
pub(super) struct SendIndication {
    peer: SocketAddr,
    pub data: Range<usize>,
    dont_fragment: bool,
}

impl Server {
    /// Parses a Send indication (RFC 8656 section 11.2). Returns `None` if the peer or the data is
    /// missing, or a comprehension-required attribute is unknown.
    pub(super) fn parse_send_indication(&self, message: &Message<'_>) -> Option<SendIndication> {
        let (mut peer, mut data, mut dont_fragment) = (None, None, false);
        for (attribute, value) in message.attributes() {
            match attribute {
                Attribute::XOR_PEER_ADDRESS if peer.is_none() => {
                    peer = Some(decode_xor_address(value, &message.transaction())?);
                }
                Attribute::DATA if data.is_none() => {
                    let start = message.offset_of(value);
                    data = Some(start..start + value.len());
                }
                Attribute::XOR_PEER_ADDRESS | Attribute::DATA => {}
                Attribute::DONT_FRAGMENT if self.config.dont_fragment => dont_fragment = true,
                other if other.comprehension_required() => return None,
                _ => {}
            }
        }
        Some(SendIndication {
            peer: peer?,
            data: data?,
            dont_fragment,
        })
    }

    /// Relays application data that a client sent on a channel (RFC 8656 section 12.6).
    pub(super) fn relay_channel_data(
        &mut self,
        now: Now,
        route: &Route,
        number: u16,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Verdict {
        let Some(id) = self.table.find_by_client(route) else {
            return self.redirect_or_search(now, route, number);
        };
        let allocation = self.table.get(id);
        let Some(channel) = allocation.and_then(|a| a.channel(number).copied()) else {
            return Verdict::Dropped(DropReason::NoChannel);
        };
        let Channel {
            direct,
            target,
            peer,
            ..
        } = channel;
        let send = SendTarget {
            peer,
            direct,
            dont_fragment: false,
            channel: Some((number, target)),
        };
        self.relay_to_peer(now, id, &send, buffer, payload)
    }

    /// Relays application data that a client sent in a Send indication.
    pub(super) fn relay_send_indication(
        &mut self,
        now: Now,
        route: &Route,
        indication: &SendIndication,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Verdict {
        let Some(id) = self.table.find_by_client(route) else {
            return self.redirect_or_drop(route);
        };
        let send = SendTarget {
            peer: indication.peer,
            direct: false,
            dont_fragment: indication.dont_fragment,
            channel: None,
        };
        self.relay_to_peer(now, id, &send, buffer, payload)
    }

    /// Redirects ChannelData of a client without an allocation in this shard, and otherwise searches the
    /// allocation from before a NAT rebinding.
    fn redirect_or_search(&mut self, now: Now, route: &Route, channel: u16) -> Verdict {
        let verdict = self.redirect_or_drop(route);
        if !matches!(verdict, Verdict::Dropped(_)) {
            return verdict;
        }
        match self.search_rebound_client(now, route, channel) {
            Some(shard) => Verdict::Redirect { shard },
            None => verdict,
        }
    }

    /// Redirects data of a client without an allocation in this shard: the kernel may have
    /// delivered it to the wrong shard.
    fn redirect_or_drop(&self, route: &Route) -> Verdict {
        match self.config.directory.shard_of_client(route) {
            Some(shard) if shard != self.shard => Verdict::Redirect { shard },
            _ => Verdict::Dropped(DropReason::NoAllocation),
        }
    }

    /// Relays data to a peer: directly to another client of this relay (the hairpin), otherwise
    /// through the relay socket if the policy permits the peer.
    #[inline(always)]
    fn relay_to_peer(
        &mut self,
        now: Now,
        id: AllocationId,
        send: &SendTarget,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Verdict {
        if self.config.settings.quality {
            self.deliver_to_peer::<true>(now, id, send, buffer, payload)
        } else {
            self.deliver_to_peer::<false>(now, id, send, buffer, payload)
        }
    }

    /// See [`Server::relay_to_peer`]. There is one function that measures the quality of links, and one
    /// that has no instruction for it.
    #[inline(never)]
    fn deliver_to_peer<const MEASURES: bool>(
        &mut self,
        now: Now,
        id: AllocationId,
        send: &SendTarget,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Verdict {
        let peer = send.peer;
        let Some(allocation) = self.table.get(id) else {
            return Verdict::Dropped(DropReason::NoAllocation);
        };
        if MEASURES && !allocation.monitor_from_client(&buffer[payload.clone()], now.mono) {
            let event = allocation.monitor_any_from_client(&buffer[payload.clone()], now.mono);
            self.path_events.extend(event.map(|event| (id, event)));
        }
        if !allocation.has_permission(peer.ip()) {
            return Verdict::Dropped(DropReason::NoPermission);
        }
        if allocation.is_restricted && !is_webrtc(&buffer[payload.clone()]) {
            return Verdict::Dropped(DropReason::Traffic);
        }
        // A permission exists only with a relayed address of its family.
        let Some(&RelayedAddress {
            socket, relayed, ..
        }) = allocation.relay_to(peer.ip())
        else {
            return Verdict::Dropped(DropReason::NoAllocation);
        };
        let spent = spend(
            Direction::ToPeer,
            allocation,
            &mut self.leases,
            &self.config,
            now.mono,
            payload.len(),
        );
        if let Err(reason) = spent {
            return Verdict::Dropped(reason);
        }
        let bytes = payload.len() as u64;
        let hint = send.channel.and_then(|(_, target)| target);
        let location = self.table.locate(peer, hint);
        // A hint names only clients in the scope.
        if let PeerLocation::Local(target) = location
            && !self.admits(id, send, target)
        {
            return Verdict::Dropped(DropReason::OtherRoom);
        }
        let verdict = match location {
            PeerLocation::Hinted(target) | PeerLocation::Local(target) => {
                self.deliver_to_client::<MEASURES>(now, target, relayed, buffer, payload)
            }
            PeerLocation::OtherShard(shard) => Verdict::ToShard {
                shard,
                from: relayed,
                to: peer,
                range: payload,
            },
            PeerLocation::NotRelayed if send.direct => Verdict::ToPeer {
                socket,
                peer,
                dont_fragment: send.dont_fragment,
                range: payload,
            },
            PeerLocation::NotRelayed => self.send_outside(now, id, send, socket, payload),
        };
        let is_relayed = !matches!(verdict, Verdict::Dropped(_));
        if let Some(allocation) = self.table.get(id).filter(|_| is_relayed) {
            allocation.bytes_up += bytes;
        }
        verdict
    }

    /// Returns the verdict for data that is not for a client of this relay, and not on a channel to a
    /// permitted peer.
    #[inline(never)]
    fn send_outside(
        &mut self,
        now: Now,
        id: AllocationId,
        send: &SendTarget,
        socket: u32,
        payload: Range<usize>,
    ) -> Verdict {
        let peer = send.peer;
        if send.channel.is_some() || !self.policy.permits_port(peer) {
            return Verdict::Dropped(if self.policy.is_denied_port(peer) {
                DropReason::PeerPortDenied
            } else {
                DropReason::NoRelay
            });
        }
        if !self.count_sent(id, peer, now.mono) {
            return Verdict::Dropped(DropReason::NewPeers);
        }
        Verdict::ToPeer {
            socket,
            peer,
            dont_fragment: send.dont_fragment,
            range: payload,
        }
    }

    /// Returns whether the scope lets the client of the allocation `id` reach that of `target`. If so,
    /// stores `target` as a hint for the next packet of the channel.
    #[inline(always)]
    fn admits(&mut self, id: AllocationId, send: &SendTarget, target: AllocationId) -> bool {
        if self.config.settings.same_room && !self.share_room(id, target) {
            return false;
        }
        if let Some((number, _)) = send.channel
            && let Some(allocation) = self.table.get(id)
        {
            allocation.set_channel_target(number, target);
        }
        true
    }

    /// Relays data from `peer` to the client of the allocation `id`: as ChannelData if a channel is
    /// bound, otherwise as Data indication (RFC 8656 sections 11.3 and 12.7). The header is written
    /// before the payload.
    #[inline(always)]
    pub(super) fn relay_to_client(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: SocketAddr,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Verdict {
        if self.config.settings.quality {
            self.deliver_to_client::<true>(now, id, peer, buffer, payload)
        } else {
            self.deliver_to_client::<false>(now, id, peer, buffer, payload)
        }
    }

    /// See [`Server::relay_to_client`], and [`Server::deliver_to_peer`] for `MEASURES`.
    fn deliver_to_client<const MEASURES: bool>(
        &mut self,
        now: Now,
        id: AllocationId,
        peer: SocketAddr,
        buffer: &mut [u8],
        payload: Range<usize>,
    ) -> Verdict {
        let Some(allocation) = self.table.get(id) else {
            return Verdict::Dropped(DropReason::NoAllocation);
        };
        if !allocation.has_permission(peer.ip()) {
            return Verdict::Dropped(DropReason::NoPermission);
        }
        if allocation.is_restricted && !is_webrtc(&buffer[payload.clone()]) {
            return Verdict::Dropped(DropReason::Traffic);
        }
        let channel = allocation.channel_to(peer).map(|c| c.number);
        if channel.is_none() && payload.len() > MAX_INDICATION_PAYLOAD {
            return Verdict::Dropped(DropReason::TooLarge);
        }
        let spent = spend(
            Direction::ToClient,
            allocation,
            &mut self.leases,
            &self.config,
            now.mono,
            payload.len(),
        );
        if let Err(reason) = spent {
            return Verdict::Dropped(reason);
        }
        allocation.bytes_down += payload.len() as u64;
        if MEASURES && !allocation.monitor_to_client(&buffer[payload.clone()], now.mono) {
            allocation.monitor_any_to_client(&buffer[payload.clone()], now.mono);
        }
        let route = allocation.route;
        let range = if let Some(number) = channel {
            put_channel_header(number, buffer, payload)
        } else {
            let mut transaction = [0; 12];
            self.random.fill_bytes(&mut transaction);
            put_data_indication(peer, &transaction, buffer, payload)
        };
        Verdict::ToClient { route, range }
    }
}

fn put_channel_header(number: u16, buffer: &mut [u8], payload: Range<usize>) -> Range<usize> {
    let start = payload.start - CHANNEL_HEADER;
    let len = payload.len();
    let header = ChannelData { number, len }.header();
    buffer[start..payload.start].copy_from_slice(&header);
    start..payload.end
}

fn put_data_indication(
    peer: SocketAddr,
    transaction: &TransactionId,
    buffer: &mut [u8],
    payload: Range<usize>,
) -> Range<usize> {
    let mut address = [0; MAX_XOR_ADDRESS];
    let address_len = encode_xor_address(peer, transaction, &mut address);
    let end = payload.start + payload.len().next_multiple_of(4);
    let start = payload.start - (HEADER + 2 * ATTRIBUTE_HEADER + address_len);
    buffer[payload.end..end].fill(0);

    let put = |buffer: &mut [u8], at: usize, bytes: &[u8]| {
        buffer[at..at + bytes.len()].copy_from_slice(bytes);
        at + bytes.len()
    };
    let kind = Method::DATA.with_class(Class::Indication).to_be_bytes();
    let at = put(buffer, start, &kind);
    let at = put(buffer, at, &((end - start - HEADER) as u16).to_be_bytes());
    let at = put(buffer, at, &COOKIE);
    let at = put(buffer, at, transaction);
    let at = put(buffer, at, &Attribute::XOR_PEER_ADDRESS.0.to_be_bytes());
    let at = put(buffer, at, &(address_len as u16).to_be_bytes());
    let at = put(buffer, at, &address[..address_len]);
    let at = put(buffer, at, &Attribute::DATA.0.to_be_bytes());
    put(buffer, at, &(payload.len() as u16).to_be_bytes());
    start..end
}
