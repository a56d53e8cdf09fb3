//! The quality of links: application data is recorded, reports of clients are added, and paths that
//! have died are reported.

use std::mem;
use std::net::SocketAddr;

use crate::clock::{Mono, Now};

use super::allocation::Allocation;
use super::quality::{LinkMonitor, PathEvent};
use super::{AllocationId, Output, PathChange, Server, StreamReport};

impl Allocation {
    /// Records application data for the client. Returns false, and records nothing, if
    /// [`Allocation::monitor_any_to_client`] has to be called.
    #[inline(always)]
    pub(super) fn monitor_to_client(&mut self, packet: &[u8], now: Mono) -> bool {
        let monitor = self.monitor.as_mut();
        monitor.is_some_and(|monitor| monitor.record_to_client(packet, now))
    }

    /// Records application data from the client. Returns false, and records nothing, if
    /// [`Allocation::monitor_any_from_client`] has to be called.
    #[inline(always)]
    pub(super) fn monitor_from_client(&mut self, packet: &[u8], now: Mono) -> bool {
        let monitor = self.monitor.as_mut();
        monitor.is_some_and(|monitor| monitor.record_from_client(packet, now))
    }

    /// Records any application data for the client.
    #[cold]
    #[inline(never)]
    pub(super) fn monitor_any_to_client(&mut self, packet: &[u8], now: Mono) {
        let bytes = self.bytes_down;
        self.monitor(now).record_any_to_client(packet, now, bytes);
    }

    /// Records any application data from the client. Returns a change of its path that has to be
    /// handled.
    #[cold]
    #[inline(never)]
    pub(super) fn monitor_any_from_client(
        &mut self,
        packet: &[u8],
        now: Mono,
    ) -> Option<PathEvent> {
        let bytes = self.bytes_up;
        self.monitor(now).record_any_from_client(packet, now, bytes)
    }

    fn monitor(&mut self, now: Mono) -> &mut LinkMonitor {
        self.monitor
            .get_or_insert_with(|| Box::new(LinkMonitor::new(now)))
    }
}

impl Server {
    /// Handles the changes of paths that packets have caused.
    pub(super) fn handle_path_events(&mut self) {
        for (id, event) in mem::take(&mut self.path_events) {
            match event {
                PathEvent::CheckAt(at) => self.table.schedule(id, at),
                PathEvent::Restored => self.report_path(id, false),
            }
        }
    }

    /// Queues a report that the path of a client has died, or is back.
    pub(super) fn report_path(&mut self, id: AllocationId, is_lost: bool) {
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let change = PathChange {
            user: allocation.user.clone(),
            room: allocation.room.clone(),
            client: allocation.route.client,
            is_lost,
        };
        self.output.push_back(Output::PathChanged(Box::new(change)));
    }

    /// Records what the client of the allocation with this relayed address reports to have received.
    pub fn record_reports(&mut self, now: Now, relayed: SocketAddr, reports: &[StreamReport]) {
        let id = self.table.find_by_relayed(relayed);
        if let Some(monitor) = id.and_then(|id| self.table.get(id)?.monitor.as_mut()) {
            monitor.record_reports(reports, now.mono);
        }
    }
}
