//! The relay node of a room.

use std::cmp::Reverse;
use std::time::Duration;

use ring::digest::{SHA256, digest};

use super::{Link, NodeInfo, Script};
use crate::room::NodeId;

/// How long the rooms of a node that restarts wait for it.
const RETURN_TIMEOUT: Duration = Duration::from_secs(20);

impl Link {
    /// Returns the node that relays a room, and places the room if none does: where the caller knows it, if that node
    /// lives, else on the first in order of preference that lives and does not drain. The room stays there while the
    /// node lives, and until no call was made for `ttl`. `is_recovering`: Redis has lost its data, and nodes that have
    /// not registered again count as alive. `None` without Redis.
    pub async fn place(
        &self,
        room: &str,
        known: Option<&NodeId>,
        is_recovering: bool,
        ttl: Duration,
    ) -> Option<NodeId> {
        let nodes = self.nodes().borrow().clone();
        let mut args = vec![
            room.to_owned(),
            ttl.as_secs().max(1).to_string(),
            u8::from(is_recovering).to_string(),
            known.map_or(String::new(), |known| known.to_string()),
        ];
        let preferred = preference(room, &nodes).into_iter();
        args.extend(preferred.map(|node| node.id.to_string()));
        let placed = self.ask(Script::Place, args).await?;
        (!placed.is_empty()).then(|| NodeId::from(placed))
    }

    /// Announces that the relay of this node continues in another process, which registers within 20 seconds.
    pub async fn announce_return(&self) {
        let args = vec![RETURN_TIMEOUT.as_secs().to_string()];
        self.ask(Script::Returning, args).await;
    }
}

/// Returns all nodes, the best one for a room first (rendezvous hashing): a node that is added or removed moves only
/// its own rooms. The order depends on names, so a restarted node gets its rooms again.
pub(super) fn preference<'a>(room: &str, nodes: &'a [NodeInfo]) -> Vec<&'a NodeInfo> {
    let mut nodes: Vec<_> = nodes.iter().collect();
    nodes.sort_by_cached_key(|node| (Reverse(weight(room, node.name())), node.id.clone()));
    nodes
}

fn weight(room: &str, node: &str) -> [u8; 8] {
    // Neither has a line break.
    let hash = digest(&SHA256, format!("{room}\n{node}").as_bytes());
    let mut weight = [0; 8];
    weight.copy_from_slice(&hash.as_ref()[..8]);
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<NodeInfo> {
        let node = |name: &&str| NodeInfo {
            id: format!("{name}.0123456789abcdef").into(),
            is_draining: false,
            about: "".into(),
        };
        names.iter().map(node).collect()
    }

    fn first(room: &str, names: &[&str]) -> String {
        preference(room, &nodes(names))[0].name().to_owned()
    }

    fn rooms() -> impl Iterator<Item = String> {
        (0..1000).map(|number| format!("room-{number}"))
    }

    #[test]
    fn the_preference_does_not_depend_on_the_order_of_the_list() {
        for room in rooms() {
            let [forward, backward] =
                [["a", "b", "c"], ["c", "b", "a"]].map(|names| first(&room, &names));
            assert_eq!(forward, backward, "{room}");
        }
    }

    #[test]
    fn the_preference_of_two_nodes_with_one_name_does_not_depend_on_their_order() {
        let mut nodes = nodes(&["a", "a"]);
        nodes[1].id = "a.fedcba9876543210".into();
        let first = |nodes: &[NodeInfo]| preference("lobby", nodes)[0].id.clone();
        let forward = first(&nodes);
        nodes.reverse();
        assert_eq!(first(&nodes), forward);
    }

    #[test]
    fn a_removed_node_moves_only_its_own_rooms_and_each_node_has_a_share() {
        let mut counts = std::collections::HashMap::<_, u32>::new();
        for room in rooms() {
            let before = first(&room, &["a", "b", "c"]);
            let after = first(&room, &["a", "c"]);
            assert!(before == "b" || before == after, "{room}");
            *counts.entry(before).or_default() += 1;
        }
        assert!(
            counts.values().all(|count| (250..420).contains(count)),
            "{counts:?}"
        );
        assert_eq!(counts.len(), 3);
    }

    #[test]
    fn a_node_that_returns_under_a_new_identifier_has_the_same_place() {
        let mut returned = nodes(&["a", "b", "c"]);
        returned[1].id = "b.fedcba9876543210".into();
        for room in rooms() {
            let order: Vec<_> = preference(&room, &returned)
                .iter()
                .map(|node| node.name())
                .collect();
            let before = nodes(&["a", "b", "c"]);
            let before: Vec<_> = preference(&room, &before)
                .iter()
                .map(|node| node.name().to_owned())
                .collect();
            assert_eq!(order, before);
        }
    }
}
