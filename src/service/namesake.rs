//! Another node with the name of this one, such as a copy of its virtual machine.

use std::time::Duration;

use crate::bus::redis::NodeInfo;
use crate::clock::Mono;
use crate::room::NodeId;

/// The other node with this node's name, as long as Redis lists it.
#[derive(Debug, Default)]
pub(super) struct Namesake {
    seen: Option<(NodeId, Mono)>,
    is_logged: bool,
}

impl Namesake {
    /// Logs, once, a namesake that stays. This node as it was before a crash is listed for about a lease.
    pub(super) fn check(&mut self, own: &NodeId, nodes: &[NodeInfo], lease: Duration, now: Mono) {
        if !self.stays(own, nodes, lease, now) || self.is_logged {
            return;
        }
        self.is_logged = true;
        tracing::warn!(
            node = name(own),
            "another node has the same name: set cluster.node on one of them"
        );
    }

    /// Whether Redis has listed the same other node of this name for two leases.
    fn stays(&mut self, own: &NodeId, nodes: &[NodeInfo], lease: Duration, now: Mono) -> bool {
        let is_listed = |id: &NodeId| nodes.iter().any(|node| node.id == *id);
        self.seen.take_if(|(id, _)| !is_listed(id));
        if self.seen.is_none() {
            let mut others = nodes.iter().filter(|node| node.id != *own);
            let other = others.find(|node| node.name() == name(own));
            self.seen = other.map(|node| (node.id.clone(), now));
        }
        let since = self.seen.as_ref().map(|(_, since)| *since);
        since.is_some_and(|since| now.since(since) > lease * 2)
    }

    /// Redis is not reached: who is listed is unknown.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }
}

fn name(id: &NodeId) -> &str {
    id.rsplit_once('.').map_or(id, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(15);

    fn nodes(ids: &[&str]) -> Vec<NodeInfo> {
        let info = |id: &&str| NodeInfo {
            id: (*id).into(),
            is_draining: false,
            about: "".into(),
        };
        ids.iter().map(info).collect()
    }

    #[test]
    fn a_namesake_that_stays_is_noticed_and_a_predecessor_is_not() {
        let own: NodeId = "vm.2".into();
        let mut namesake = Namesake::default();
        let mut stays = |ids: &[&str], seconds| {
            let now = Mono::default() + Duration::from_secs(seconds);
            namesake.stays(&own, &nodes(ids), LEASE, now)
        };
        assert!(!stays(&["vm.1", "vm.2", "other.1"], 1));
        assert!(!stays(&["vm.1", "vm.2"], 20));
        assert!(!stays(&["vm.2", "vm.3"], 40));
        assert!(!stays(&["vm.2", "vm.3"], 70));
        assert!(stays(&["vm.2", "vm.3"], 71));
        assert!(!stays(&["vm.2", "other.1"], 72));
    }
}
