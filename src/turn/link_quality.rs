//! The quality of links: application data is recorded, reports of clients are added, and paths that
//! have died are reported.

use std::net::SocketAddr;
use std::ops::Range;

use crate::clock::{Mono, Now};

use super::allocation::Allocation;
use super::quality::PathEvent;
use super::{AllocationId, Output, PathChange, Server, StreamReport};

impl Allocation {
    /// Records application data for the client. Not inlined, so that it costs nothing where quality
    /// is not measured.
    #[inline(never)]
    pub(super) fn monitor_to_client(&mut self, now: Mono, buffer: &[u8], payload: &Range<usize>) {
        let packet = &buffer[payload.clone()];
        self.monitor(now).record_to_client(packet, now);
    }
}

impl Server {
    /// Records application data from the client of an allocation. Not inlined, so that it costs
    /// nothing where quality is not measured.
    #[inline(never)]
    pub(super) fn monitor_from_client(
        &mut self,
        now: Now,
        id: AllocationId,
        buffer: &[u8],
        payload: &Range<usize>,
    ) {
        let packet = &buffer[payload.clone()];
        let Some(allocation) = self.table.get(id) else {
            return;
        };
        let monitor = allocation.monitor(now.mono);
        if let Some(event) = monitor.record_from_client(packet, now.mono) {
            self.handle_path_event(id, event);
        }
    }

    #[cold]
    fn handle_path_event(&mut self, id: AllocationId, event: PathEvent) {
        match event {
            PathEvent::CheckAt(at) => self.table.schedule(id, at),
            PathEvent::Restored => self.report_path(id, false),
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
