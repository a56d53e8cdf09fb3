//! The limit of peers that a user reaches for the first time in ten minutes, which bounds scans of
//! networks and ports through the relay.
//!
//! A permission counts for its IP address, a channel for its IP address and port. A Send indication
//! counts for its IP address and port if it leaves this relay.

use std::net::{IpAddr, SocketAddr};

use crate::clock::Mono;
use crate::rate::Limit;

use super::allocation::{CHANNEL_LIFETIME, PERMISSION_LIFETIME};
use super::recent_peers::Peer;
use super::{AllocationId, ErrorReason, Server};

impl Server {
    /// Counts the peers of a CreatePermission, all or none.
    pub(super) fn count_permissions(
        &mut self,
        id: AllocationId,
        ips: &[IpAddr],
        now: Mono,
    ) -> Result<(), ErrorReason> {
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        let (held, new): (Vec<IpAddr>, Vec<IpAddr>) =
            ips.iter().partition(|ip| allocation.has_permission(**ip));
        let [held, new] = [held, new].map(|ips| {
            let peers = ips.into_iter().map(Peer::of_permission);
            peers.collect::<Vec<_>>()
        });
        let (peers, limit) = (
            &allocation.permit.usage.peers,
            self.config.settings.new_peers,
        );
        let admitted = peers.admit(limit, now, &new, &held, now + PERMISSION_LIFETIME);
        admitted.then_some(()).ok_or(ErrorReason::NewPeers)
    }

    /// Counts the peer of a ChannelBind. The permission that it installs does not count.
    pub(super) fn count_channel(
        &mut self,
        id: AllocationId,
        peer: SocketAddr,
        now: Mono,
    ) -> Result<(), ErrorReason> {
        let allocation = self.table.get(id).ok_or(ErrorReason::AllocationMismatch)?;
        let permission = Peer::of_permission(peer.ip());
        let both = [peer.into(), permission];
        let (held, new) = match allocation.channel_to(peer) {
            Some(_) => (&both[..], &[][..]),
            None => (&both[1..], &both[..1]),
        };
        let (peers, limit) = (
            &allocation.permit.usage.peers,
            self.config.settings.new_peers,
        );
        let admitted = peers.admit(limit, now, new, held, now + CHANNEL_LIFETIME);
        admitted.then_some(()).ok_or(ErrorReason::NewPeers)
    }

    /// Counts the peer of a Send indication that leaves this relay. Returns whether the data may be
    /// sent.
    pub(super) fn count_sent(&mut self, id: AllocationId, peer: SocketAddr, now: Mono) -> bool {
        let limit = self.config.settings.new_peers;
        if limit == Limit::UNLIMITED {
            return true;
        }
        let Some(allocation) = self.table.get(id) else {
            return false;
        };
        let permission = allocation
            .permissions
            .iter_mut()
            .find(|p| p.ip == peer.ip());
        let (Some(permission), port) = (permission, peer.port()) else {
            return false;
        };
        if permission.last_port == port && port != 0 {
            return true;
        }
        let peers = &allocation.permit.usage.peers;
        let admitted = peers.admit(limit, now, &[peer.into()], &[], now);
        if admitted {
            permission.last_port = port;
        }
        admitted
    }
}
