//! What may change while allocations live.

use std::sync::Arc;

use ipnet::IpNet;

use crate::credential::Credentials;
use crate::net::PortRange;
use crate::rate::{Limit, PerIpLimiter};

use super::Alternates;
use super::Policy;
use super::Server;
use super::allocation::Allocation;
use super::directory::Directory;

/// New values for some of [`super::Settings`].
#[derive(Clone)]
pub struct Changes {
    pub credentials: Credentials,
    pub allowed: Vec<IpNet>,
    pub denied: Vec<IpNet>,
    pub denied_ports: Vec<PortRange>,
    pub max_permissions: usize,
    pub max_channels: usize,
    /// Bytes, each way, of one allocation.
    pub bandwidth: Limit,
    /// Bytes, each way, of all allocations of one user.
    pub user_bandwidth: Limit,
    /// Bytes of all allocations, in each direction.
    pub total_bandwidth: Limit,
    pub allow_unnamed: bool,
    pub unauthenticated: Arc<PerIpLimiter>,
    pub alternates: Alternates,
}

impl Server {
    /// Puts new settings into force. Living allocations stay, with the key that they were made
    /// with; permissions and channels to peers that are denied from now on are withdrawn.
    pub fn reconfigure(&mut self, changes: Changes) {
        let settings = &mut self.settings;
        let policy = &mut settings.policy;
        let policy_changed = policy.allowed != changes.allowed
            || policy.denied != changes.denied
            || policy.denied_ports != changes.denied_ports;
        policy.allowed = changes.allowed;
        policy.denied = changes.denied;
        policy.denied_ports = changes.denied_ports;
        settings.credentials = changes.credentials;
        settings.max_permissions = changes.max_permissions;
        settings.max_channels = changes.max_channels;
        settings.bandwidth = changes.bandwidth;
        settings.user_bandwidth = changes.user_bandwidth;
        settings.total_bandwidth = changes.total_bandwidth;
        settings.allow_unnamed = changes.allow_unnamed;
        settings.unauthenticated = changes.unauthenticated;
        settings.alternates = changes.alternates;
        if policy_changed {
            self.reapply_policy();
        }
    }

    /// Withdraws permissions and channels to peers that the policy denies.
    pub fn reapply_policy(&mut self) {
        let (policy, directory) = (&self.settings.policy, &self.settings.directory);
        let allocations = self.table.all();
        allocations.for_each(|allocation| allocation.reapply_policy(policy, directory));
    }
}

impl Allocation {
    /// Keeps what the policy would grant today.
    fn reapply_policy(&mut self, policy: &Policy, directory: &Directory) {
        self.permissions
            .retain(|p| policy.permits(p.ip) || directory.has_ip(p.ip));
        self.channels.retain_mut(|channel| {
            channel.direct = policy.permits_port(channel.peer);
            let hairpin = directory.has_ip(channel.peer.ip()) && !policy.is_listener(channel.peer);
            channel.direct || hairpin
        });
    }
}
