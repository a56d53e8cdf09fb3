//! Reports of clients about what they receive, and the allocations that they concern.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::relay::Session;
use crate::room::NodeId;
use crate::service::room_entry::lock;
use crate::turn::StreamReport;

/// Reports that wait to be passed on; further ones are dropped.
const MAX_WAITING: usize = 1024;

/// Allocations of a user that get a report: more than the peer connections of a browser in one room.
const MAX_ALLOCATIONS: usize = 64;

/// The relayed addresses of the users' allocations, as of the last poll.
#[derive(Debug, Default)]
pub(in crate::service) struct RelayedAddresses(Mutex<HashMap<Box<str>, Vec<Relayed>>>);

#[derive(Debug)]
struct Relayed {
    /// The room of the credential, if it is bound to one.
    room: Option<Box<str>>,
    address: SocketAddr,
}

/// Reports for relays of other nodes.
#[derive(Debug, Default)]
pub(in crate::service) struct WaitingReports(Mutex<Vec<(NodeId, UserReport)>>);

/// The reception of a user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::service) struct UserReport {
    pub(super) room: Box<str>,
    pub(super) user: Box<str>,
    /// SSRC, lost packets, and jitter in microseconds.
    streams: Vec<(u32, i64, u32)>,
}

impl RelayedAddresses {
    pub(super) fn clear(&self) {
        self.addresses().clear();
    }

    /// Replaces the addresses by those of these sessions with media.
    pub(super) fn replace(&self, sessions: Vec<Session>) {
        let mut by_user: HashMap<Box<str>, Vec<Relayed>> = HashMap::new();
        for session in sessions {
            if session.quality.is_some() {
                by_user.entry(session.user).or_default().push(Relayed {
                    room: session.room,
                    address: session.relayed,
                });
            }
        }
        *self.addresses() = by_user;
    }

    /// The allocations of a user that may carry media of a room.
    pub(super) fn of(&self, room: &str, user: &str) -> Vec<SocketAddr> {
        let addresses = self.addresses();
        let known = addresses.get(user).map_or(&[][..], Vec::as_slice);
        let known = known.iter().filter(|known| {
            let bound = known.room.as_deref();
            bound.is_none_or(|bound| bound == room)
        });
        let known = known.take(MAX_ALLOCATIONS);
        known.map(|known| known.address).collect()
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Relayed>>> {
        lock(&self.0)
    }
}

impl WaitingReports {
    /// Adds a report for the relay of this node, unless too many wait.
    pub(super) fn add(&self, node: NodeId, report: UserReport) {
        let mut waiting = lock(&self.0);
        if waiting.len() < MAX_WAITING {
            waiting.push((node, report));
        }
    }

    /// Takes all reports, by node.
    pub(super) fn take(&self) -> HashMap<NodeId, Vec<UserReport>> {
        let waiting = std::mem::take(&mut *lock(&self.0));
        let mut by_node: HashMap<NodeId, Vec<UserReport>> = HashMap::new();
        for (node, report) in waiting {
            by_node.entry(node).or_default().push(report);
        }
        by_node
    }
}

impl UserReport {
    pub(super) fn streams(&self) -> Vec<StreamReport> {
        let streams = self.streams.iter();
        let streams = streams.map(|(ssrc, lost, micros)| StreamReport {
            ssrc: *ssrc,
            lost: *lost,
            jitter: Duration::from_micros((*micros).into()),
        });
        streams.collect()
    }

    pub(super) fn new(room: &str, user: &str, reports: &[StreamReport]) -> UserReport {
        let micros = |time: Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
        let streams = reports.iter();
        UserReport {
            room: room.into(),
            user: user.into(),
            streams: streams
                .map(|one| (one.ssrc, one.lost, micros(one.jitter)))
                .collect(),
        }
    }
}
