//! CreatePermission and ChannelBind (RFC 8656 sections 10.2 and 12.2).

use std::net::{IpAddr, SocketAddr};

use crate::stun::{Attribute, is_channel_number};

use super::allocation::Channel;
use super::attributes::peers;
use super::family::Family;
use super::request::{Granted, Request};
use super::{AllocationId, ErrorReason, Server};

impl Server {
    /// Installs or refreshes permissions for all peers that the request names, or for none.
    pub(super) fn create_permission(
        &mut self,
        id: AllocationId,
        request: Request<'_>,
    ) -> Result<Granted, ErrorReason> {
        let max = self.config.settings.max_permissions;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        if allocation.pending_bind.is_some() {
            return Ok(Granted::Pending);
        }
        let mut requested: Vec<IpAddr> = Vec::new();
        for peer in peers(request.message) {
            let ip = peer?.ip();
            // Peers above the quota are not compared: their cost would be quadratic.
            if requested.len() <= max && !requested.contains(&ip) {
                requested.push(ip);
            }
        }
        if requested.is_empty() {
            return Err(ErrorReason::BadRequest);
        }
        if !requested.iter().all(|ip| allocation.has(Family::of(*ip))) {
            return Err(ErrorReason::PeerFamily);
        }
        let (policy, directory) = (&self.policy, &self.config.directory);
        if !requested
            .iter()
            .all(|ip| policy.permits(*ip) || directory.has_ip(*ip))
        {
            return Err(ErrorReason::PeerDenied);
        }
        self.check_permission_quota(id, &requested)?;
        self.count_permissions(id, &requested, request.now.mono)?;
        for ip in requested {
            self.table.permit_peer(id, ip, request.now.mono);
        }
        Ok(Granted::Plain)
    }

    /// Binds or refreshes a channel, and its permission. A channel number has one peer, and a peer
    /// has one channel.
    pub(super) fn channel_bind(
        &mut self,
        id: AllocationId,
        request: Request<'_>,
    ) -> Result<Granted, ErrorReason> {
        let Request { now, message, .. } = request;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        if allocation.pending_bind.is_some() {
            return Ok(Granted::Pending);
        }
        let number = match message.get(Attribute::CHANNEL_NUMBER) {
            Some(&[high, low, _, _]) => u16::from_be_bytes([high, low]),
            _ => return Err(ErrorReason::BadRequest),
        };
        let peer = peers(message).next().ok_or(ErrorReason::BadRequest)??;
        let conflicts = |c: &Channel| (c.number == number) != (c.peer == peer);
        if !is_channel_number(number) || allocation.channels.iter().any(conflicts) {
            return Err(ErrorReason::BadRequest);
        }
        if !allocation.has(Family::of(peer.ip())) {
            return Err(ErrorReason::PeerFamily);
        }
        let room = allocation.room_key;
        let policy = &self.policy;
        let direct = policy.permits_port(peer);
        let hairpin = self.can_hairpin(peer) && !policy.is_listener(peer);
        if !direct && !hairpin {
            return Err(
                if policy.permits(peer.ip()) && policy.is_denied_port(peer) {
                    ErrorReason::PeerPortDenied
                } else {
                    ErrorReason::PeerDenied
                },
            );
        }
        if !self.config.is_in_scope(room, peer) {
            return Err(ErrorReason::OtherRoom);
        }
        self.check_permission_quota(id, &[peer.ip()])?;
        let max_channels = self.config.settings.max_channels;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        let known = allocation.channel(number).is_some();
        if !known && allocation.channels.len() >= max_channels {
            return Err(ErrorReason::PeerQuota);
        }
        self.count_channel(id, peer, now.mono)?;
        self.table.permit_peer(id, peer.ip(), now.mono);
        self.table.bind_channel(id, number, peer, direct, now.mono);
        Ok(Granted::Plain)
    }

    /// Returns whether a channel to `peer` can use the hairpin. In internal mode `peer` must be a
    /// relayed address. Otherwise its IP address is sufficient, because the peer may allocate
    /// later.
    fn can_hairpin(&self, peer: SocketAddr) -> bool {
        let directory = &self.config.directory;
        if self.policy.internal {
            directory.has_relayed(peer)
        } else {
            directory.has_ip(peer.ip())
        }
    }

    /// Checks whether the quota allows permissions for `ips` besides the existing ones.
    fn check_permission_quota(
        &mut self,
        id: AllocationId,
        ips: &[IpAddr],
    ) -> Result<(), ErrorReason> {
        let max = self.config.settings.max_permissions;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        let held = &allocation.permissions;
        let new = ips
            .iter()
            .filter(|ip| held.iter().all(|p| p.ip != **ip))
            .count();
        if held.len() + new > max {
            return Err(ErrorReason::PeerQuota);
        }
        Ok(())
    }
}
