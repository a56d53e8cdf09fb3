//! The relay node of each room, where several nodes share the rooms.
//!
//! Redis has the placement of each room. A node remembers those that it has asked for: its own relay redirects members
//! of rooms that another node relays, and its clients learn at once when a relay node has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::relay_address::RelayAddress;
use super::room_entry::lock;
use crate::bus::redis::{Link, NodeInfo};
use crate::clock::{self, Mono};
use crate::relay;
use crate::room::NodeId;

/// How long a placement waits for the list of nodes to contain its node, which may have just started.
const LIST_TIMEOUT: Duration = Duration::from_secs(3);

/// Ended nodes that are remembered.
const MAX_GONE: usize = 256;

/// The placements that this node knows.
pub struct RelayNodes {
    link: Arc<Link>,
    relay: relay::Handle,
    /// See [`RelayAddress::id`].
    id: String,
    lease: Duration,
    rooms: Mutex<HashMap<Arc<str>, Placed>>,
    /// Nodes that were listed, for those that are about to return.
    gone: Mutex<HashMap<NodeId, Arc<RelayAddress>>>,
    recovery: Mutex<Recovery>,
    /// A room may be placed on a node that has ended.
    stale: Notify,
}

/// The relay node of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Placed {
    node: NodeId,
    address: Arc<RelayAddress>,
    /// Redis has the placement until then, or longer,
    until: Mono,
    /// if it has not lost what it had since: the count of these losses.
    rosters_lost: u64,
}

/// Why a placement must be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Its node has ended, or a quarter of its time is left.
    Ends,
    /// Redis has lost it.
    Forgotten,
}

/// When Redis last lost what it had.
#[derive(Default)]
struct Recovery {
    rosters_lost: u64,
    until: Mono,
}

impl RelayNodes {
    /// `id` names this node's relay, see [`RelayAddress::id`].
    pub fn new(link: Arc<Link>, relay: relay::Handle, id: String, lease: Duration) -> RelayNodes {
        RelayNodes {
            link,
            relay,
            id,
            lease,
            rooms: Mutex::default(),
            gone: Mutex::default(),
            recovery: Mutex::default(),
            stale: Notify::new(),
        }
    }

    /// Names this node's relay.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn link(&self) -> &Link {
        &self.link
    }

    /// Waits until a room may be placed on a node that has ended.
    pub(super) async fn stale(&self) {
        self.stale.notified().await;
    }

    /// The relay of a room, as far as this node knows.
    pub(super) fn known(&self, room: &str) -> Option<Arc<RelayAddress>> {
        let rooms = self.rooms();
        Some(rooms.get(room)?.address.clone())
    }

    /// The node that relays a room, if it is another one, as far as this node knows.
    pub(super) fn elsewhere(&self, room: &str) -> Option<NodeId> {
        let rooms = self.rooms();
        let node = &rooms.get(room)?.node;
        (*node != self.link.id()).then(|| node.clone())
    }

    /// The rooms whose placement must be repeated, each with the reason.
    pub(super) fn due(&self, ttl: Duration) -> Vec<(Arc<str>, Due)> {
        let soon = clock::now().mono + ttl / 4;
        let may_be_unlisted = self.is_recovering();
        let rosters_lost = self.link.counts().rosters_lost;
        let nodes = self.link.nodes().borrow().clone();
        let due = |placed: &Placed| {
            if placed.until <= soon || !may_be_unlisted && !is_listed(&nodes, &placed.node) {
                return Some(Due::Ends);
            }
            (placed.rosters_lost != rosters_lost).then_some(Due::Forgotten)
        };
        let rooms = self.rooms();
        let due = rooms
            .iter()
            .filter_map(|(room, placed)| Some((room.clone(), due(placed)?)));
        due.collect()
    }

    /// Places a room, or asks where it is, and remembers the answer for `ttl`. `None` without Redis.
    pub(super) async fn place(&self, room: &str, ttl: Duration) -> Option<Arc<RelayAddress>> {
        let mut nodes = self.link.nodes();
        let list = nodes.wait_for(|nodes| !nodes.is_empty());
        timeout(LIST_TIMEOUT, list).await.ok()?.ok()?;
        let placed = self.rooms().get(room).cloned();
        let now = clock::now().mono;
        let rosters_lost = self.link.counts().rosters_lost;
        let known = placed.map(|placed| placed.node);
        let is_recovering = self.is_recovering();
        let node = self
            .link
            .place(room, known.as_ref(), is_recovering, ttl)
            .await?;
        let gone = lock(&self.gone).get(&node).cloned();
        let address = match gone {
            Some(address) => address,
            None => {
                let listed = nodes.wait_for(|nodes| is_listed(nodes, &node));
                let list = timeout(LIST_TIMEOUT, listed).await.ok()?.ok()?.clone();
                let info = list.iter().find(|info| info.id == node)?;
                Arc::new(RelayAddress::parse(&info.about))
            }
        };
        let until = now + ttl;
        self.remember(
            room,
            Placed {
                node,
                address: address.clone(),
                until,
                rosters_lost,
            },
        );
        Some(address)
    }

    /// Records the nodes that are not listed any more.
    pub(super) fn record_gone(&self, before: &[NodeInfo], now: &[NodeInfo]) {
        let mut gone = lock(&self.gone);
        let unlisted = before.iter().filter(|node| !is_listed(now, &node.id));
        for node in unlisted {
            if gone.len() >= MAX_GONE {
                gone.clear();
            }
            let address = RelayAddress::parse(&node.about);
            gone.insert(node.id.clone(), Arc::new(address));
        }
        gone.retain(|id, _| !is_listed(now, id));
    }

    /// Whether the node of a room is listed.
    pub(super) fn is_settled(&self, room: &str) -> bool {
        let nodes = self.link.nodes().borrow().clone();
        let rooms = self.rooms();
        let placed = rooms.get(room);
        placed.is_none_or(|placed| is_listed(&nodes, &placed.node))
    }

    /// Forgets a room without connections.
    pub(super) fn forget(&self, room: &str) {
        let mut rooms = self.rooms();
        self.relay.forget_room_relay(room);
        rooms.remove(room);
    }

    fn remember(&self, room: &str, placed: Placed) {
        let is_here = placed.node == self.link.id();
        let elsewhere = (!is_here).then_some(&*placed.address.addresses);
        let is_stale = !is_listed(&self.link.nodes().borrow(), &placed.node);
        // Under the lock, so that both agree.
        let mut rooms = self.rooms();
        self.relay.set_room_relay(room, elsewhere);
        rooms.insert(room.into(), placed);
        drop(rooms);
        if is_stale {
            self.stale.notify_one();
        }
    }

    /// Whether Redis has lost what it had, and other nodes may not have registered again.
    pub(super) fn is_recovering(&self) -> bool {
        let now = clock::now().mono;
        let rosters_lost = self.link.counts().rosters_lost;
        let mut recovery = lock(&self.recovery);
        if recovery.rosters_lost != rosters_lost {
            recovery.rosters_lost = rosters_lost;
            recovery.until = now + self.lease * 2;
        }
        now < recovery.until
    }

    fn rooms(&self) -> MutexGuard<'_, HashMap<Arc<str>, Placed>> {
        lock(&self.rooms)
    }
}

fn is_listed(nodes: &[NodeInfo], id: &NodeId) -> bool {
    nodes.iter().any(|node| node.id == *id)
}
