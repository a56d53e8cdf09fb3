//! Passes on to the relay what clients report of their reception.

use crate::room::ReceivedStream;
use crate::service::app::App;
use crate::service::cluster::protocol::NodeRequest;
use crate::turn::StreamReport;

use super::reports::UserReport;

/// Reports in one message: 64 streams each, of at most 45 bytes.
const REPORTS_PER_MESSAGE: usize = 16;

impl App {
    /// Records the reception that a user in a room reports, at the relay of the room.
    pub fn record_reception(&self, room: &str, user: &str, streams: &[ReceivedStream]) {
        let reports = streams.iter().map(|stream| StreamReport {
            ssrc: stream.ssrc,
            lost: stream.lost,
            jitter: stream.jitter,
        });
        let reports: Vec<_> = reports.collect();
        // Also if another node relays the room: a credential without a room works at any node.
        self.record_reports(room, user, &reports);
        let nodes = self.relay_nodes.as_ref();
        if let Some(node) = nodes.and_then(|nodes| nodes.elsewhere(room)) {
            let report = UserReport::new(room, user, &reports);
            self.hub.quality.waiting.add(node, report);
        }
    }

    /// Records a report that another node passed on.
    pub(in crate::service) fn record_user_report(&self, report: &UserReport) {
        self.record_reports(&report.room, &report.user, &report.streams());
    }

    fn record_reports(&self, room: &str, user: &str, reports: &[StreamReport]) {
        for address in self.hub.quality.relayed.of(room, user) {
            self.relay.record_reports(address, reports.to_vec());
        }
    }

    /// Passes waiting reports on to the nodes whose relays they concern.
    pub(super) fn pass_on_reports(&self) {
        for (node, reports) in self.hub.quality.waiting.take() {
            for reports in reports.chunks(REPORTS_PER_MESSAGE) {
                self.notify_node(&node, &NodeRequest::Reports(reports.to_vec()));
            }
        }
    }
}
