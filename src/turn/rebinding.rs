//! NAT rebinding: a NAT has given a client another port, so its data arrives from an unknown
//! five-tuple. Its allocation is found by the address, and its path counts as lost.

use std::time::Duration;

use crate::clock::{Mono, Now};

use super::client_key::ClientKey;
use super::{AllocationId, Route, Server, ShardId};

/// Interval of the searches. One reads the whole table, which takes about 0.1 ms with 8,000
/// allocations, and anybody can cause one.
const SEARCH_INTERVAL: Duration = Duration::from_millis(50);

impl Server {
    /// Searches the allocation of the client that sends ChannelData from an unknown port of the
    /// allocation's address, and reports its path as lost. Returns another shard that may have the
    /// allocation.
    ///
    /// The data does not prove who sent it. A forged one causes a hint to a client that has been
    /// silent, and nothing else.
    #[cold]
    pub(super) fn search_rebound_client(
        &mut self,
        now: Now,
        route: &Route,
        channel: u16,
    ) -> Option<ShardId> {
        if !self.config.settings.quality || now.mono < self.next_search {
            return None;
        }
        self.next_search = now.mono + SEARCH_INTERVAL;
        let (key, shards) = (ClientKey::of(route), &self.config.directory);
        let ids = self.table.matching(|allocation| {
            key.is_rebound_from(ClientKey::of(&allocation.route))
                && allocation.channel(channel).is_some()
        });
        if ids.is_empty() {
            let shard = shards.shard_before_rebinding(key)?;
            return (shard != self.shard).then_some(shard);
        }
        for id in ids {
            if self.is_rebound(id, now.mono) {
                self.report_path(id, true);
            }
        }
        None
    }

    fn is_rebound(&mut self, id: AllocationId, now: Mono) -> bool {
        let monitor = self.table.get(id).and_then(|a| a.monitor.as_mut());
        monitor.is_some_and(|monitor| monitor.record_rebinding(now))
    }
}
