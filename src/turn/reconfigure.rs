//! Settings that change while allocations exist.

use std::mem;

use super::Server;
use super::allocation::Allocation;
use super::policy::Policy;
use super::settings::{Config, Settings};

impl Server {
    /// Applies new settings. Allocations stay, with the key that they were created with.
    /// Permissions and channels to newly denied peers are removed, and without `turn.quality` what is
    /// known of the quality of links.
    pub fn reconfigure(&mut self, settings: Settings) {
        let old = &self.config.settings;
        let rules_changed = old.allowed_peers != settings.allowed_peers
            || old.denied_peers != settings.denied_peers
            || old.denied_peer_ports != settings.denied_peer_ports
            || old.same_room != settings.same_room;
        self.config.settings = settings;
        for allocation in self.table.iter_mut() {
            let traffic = self.config.settings.traffic;
            allocation.is_restricted = traffic.is_restricted(allocation.room.as_deref());
        }
        if !self.config.settings.quality {
            for allocation in self.table.iter_mut() {
                allocation.monitor = None;
            }
        }
        if rules_changed {
            self.policy = Policy {
                own: mem::take(&mut self.policy.own),
                listeners: mem::take(&mut self.policy.listeners),
                ..self.config.policy()
            };
            self.reapply_policy();
        }
    }

    /// Removes permissions and channels to peers that the policy or the scope denies.
    pub fn reapply_policy(&mut self) {
        for allocation in self.table.iter_mut() {
            allocation.reapply_policy(&self.policy, &self.config);
        }
    }
}

impl Allocation {
    /// Keeps the permissions and channels that would be granted now. So the hints of the remaining
    /// channels name only clients in the scope.
    fn reapply_policy(&mut self, policy: &Policy, config: &Config) {
        let (directory, room) = (&config.directory, self.room_key);
        self.permissions
            .retain(|p| policy.permits(p.ip) || directory.has_ip(p.ip));
        self.channels.retain_mut(|channel| {
            channel.direct = policy.permits_port(channel.peer);
            let hairpin = directory.has_ip(channel.peer.ip()) && !policy.is_listener(channel.peer);
            (channel.direct || hairpin) && config.is_in_scope(room, channel.peer)
        });
    }
}
