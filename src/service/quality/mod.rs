//! The quality of calls, as the relay measures it, for the `parlor.v1` clients concerned.

mod frames;
mod histograms;
mod levels;
mod links;
mod paths;
mod poll;
mod reception;
mod reports;

use crate::metrics::Metrics;
use histograms::Histograms;
use reports::{RelayedAddresses, WaitingReports};

pub(super) use frames::LinkReport;
pub use levels::Level;
pub(super) use paths::follow_paths;
pub(super) use poll::follow_links;
pub(super) use reports::UserReport;

/// The measurements of the relay, and the reports of clients on their way to it.
pub(super) struct CallQuality {
    relayed: RelayedAddresses,
    waiting: WaitingReports,
    histograms: Histograms,
}

impl CallQuality {
    pub(super) fn new(metrics: &Metrics) -> CallQuality {
        CallQuality {
            relayed: RelayedAddresses::default(),
            waiting: WaitingReports::default(),
            histograms: Histograms::new(metrics),
        }
    }
}
