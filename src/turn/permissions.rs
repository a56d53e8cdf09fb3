//! CreatePermission and ChannelBind (RFC 8656 sections 10.2 and 12.2): whom an allocation may
//! reach.

use std::net::{IpAddr, SocketAddr};

use crate::stun::{Attribute, is_channel_number};

use super::allocation::Channel;
use super::attributes::peers;
use super::family::Family;
use super::requests::{Granted, Request};
use super::{AllocationId, ErrorReason, Server};

impl Server {
    /// Permissions for all peers that the request names, or for none.
    pub(super) fn create_permission(
        &mut self,
        id: AllocationId,
        request: Request<'_>,
    ) -> Result<Granted, ErrorReason> {
        let max = self.settings.max_permissions;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        if allocation.pending_bind.is_some() {
            return Ok(Granted::Pending);
        }
        let mut wanted: Vec<IpAddr> = Vec::new();
        for peer in peers(request.message) {
            let ip = peer?.ip();
            // More than fit are not looked at: whether each is new would cost the square of them.
            if wanted.len() <= max && !wanted.contains(&ip) {
                wanted.push(ip);
            }
        }
        if wanted.is_empty() {
            return Err(ErrorReason::BadRequest);
        }
        if !wanted.iter().all(|ip| allocation.has(Family::of(*ip))) {
            return Err(ErrorReason::PeerFamily);
        }
        let (policy, directory) = (&self.settings.policy, &self.settings.directory);
        if !wanted
            .iter()
            .all(|ip| policy.permits(*ip) || directory.has_ip(*ip))
        {
            return Err(ErrorReason::PeerDenied);
        }
        self.check_permission_quota(id, &wanted)?;
        for ip in wanted {
            self.table.permit_peer(id, ip, request.now.mono);
        }
        Ok(Granted::Plain)
    }

    /// One number for one peer, and one peer for one number. Installs the permission as well.
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
        let clash = |c: &Channel| (c.number == number) != (c.peer == peer);
        if !is_channel_number(number) || allocation.channels.iter().any(clash) {
            return Err(ErrorReason::BadRequest);
        }
        if !allocation.has(Family::of(peer.ip())) {
            return Err(ErrorReason::PeerFamily);
        }
        let policy = &self.settings.policy;
        let direct = policy.permits_port(peer);
        let hairpin = self.is_relayed(peer) && !policy.is_listener(peer);
        if !direct && !hairpin {
            return Err(
                match policy.permits(peer.ip()) && policy.is_denied_port(peer) {
                    true => ErrorReason::PeerPortDenied,
                    false => ErrorReason::PeerDenied,
                },
            );
        }
        self.check_permission_quota(id, &[peer.ip()])?;
        let max_channels = self.settings.max_channels;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        let known = allocation.channel(number).is_some();
        if !known && allocation.channels.len() >= max_channels {
            return Err(ErrorReason::PeerQuota);
        }
        self.table.permit_peer(id, peer.ip(), now.mono);
        self.table.bind_channel(id, number, peer, direct, now.mono);
        Ok(Granted::Plain)
    }

    /// Whether `peer` is one of our relayed addresses, as far as that must be known here. Where
    /// peers have sockets too, the allocation of one may come later; its IP is enough.
    fn is_relayed(&self, peer: SocketAddr) -> bool {
        let directory = &self.settings.directory;
        match self.settings.policy.internal {
            true => directory.has_relayed(peer),
            false => directory.has_ip(peer.ip()),
        }
    }

    /// Whether permissions for `ips` fit beside the living ones.
    fn check_permission_quota(
        &mut self,
        id: AllocationId,
        ips: &[IpAddr],
    ) -> Result<(), ErrorReason> {
        let max = self.settings.max_permissions;
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        let held = &allocation.permissions;
        let new = ips
            .iter()
            .filter(|ip| held.iter().all(|p| p.ip != **ip))
            .count();
        let fits = held.len() + new <= max;
        fits.then_some(()).ok_or(ErrorReason::PeerQuota)
    }
}
