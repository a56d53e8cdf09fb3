//! The rooms of one of several nodes: carries out what the bus returns.

mod answer;
mod ask;
mod calls;
mod changes;
pub(super) mod ended;
mod limits;
mod message;
pub(super) mod metrics;
pub(super) mod protocol;
pub(super) mod requests;
pub(super) mod tunnel;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::hub::Hub;
use super::room_entry::RoomEntry;
use crate::bus::redis::{Link, LinkError, Output, Server};
use crate::room::NodeId;

pub(super) use answer::serve;
pub use protocol::{
    ListedConnection, ListedSession, NodeAnswers, NodeDescription, NodeSessions, Revocation,
};
pub use tunnel::{IncomingTunnel, TunnelControl, TunnelRequest, TunnelStream};

/// Interval of the checks whether Redis answers again.
const CHECK_INTERVAL: Duration = Duration::from_millis(250);

/// Connects to the other nodes, and carries out what they send, for ever.
pub async fn run(hub: Arc<Hub>, link: Arc<Link>, server: Server) {
    // Once until Redis lists this node again: the connection is tried again five times a second.
    let is_logged = AtomicBool::new(false);
    let carry_out = |output| carry_out(&hub, &link, output);
    let lost = |error: LinkError| {
        if !is_logged.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "connection to Redis lost");
        }
    };
    let returned = async {
        loop {
            tokio::time::sleep(CHECK_INTERVAL).await;
            if is_logged.load(Ordering::Relaxed) && link.is_available() {
                is_logged.store(false, Ordering::Relaxed);
                tracing::info!("Redis answers again");
            }
        }
    };
    tokio::join!(
        returned,
        link.run(&server, carry_out, lost),
        changes::announce(&hub, &link)
    );
}

fn carry_out(hub: &Hub, link: &Link, output: Output) {
    match output {
        Output::Roster { room, event } => hub.with_new_room(&room, |entry| {
            entry.room.apply(event, &mut entry.effects);
        }),
        Output::Frame { room, node, frame } => {
            hub.with_room(&room, |entry| {
                entry.room.receive_remote(&node, &frame, &mut entry.effects);
            });
        }
        Output::Restate { room } => {
            let restated = hub.with_room(&room, |entry| entry.restate(link));
            if restated.is_none() {
                link.request(&room, Vec::new());
            }
        }
        Output::RosterLost => {
            hub.with_rooms(|entry| entry.room.roster_lost());
            link.rooms_visited();
        }
        Output::Fenced { node } => {
            hub.with_rooms(|entry| {
                entry.room.fenced(node.clone(), &mut entry.effects);
            });
            link.rooms_visited();
        }
        Output::EventsLost => hub.with_rooms(|entry| {
            entry.room.events_lost();
            entry.forget_away_frames();
        }),
        Output::NodesRestated { room, nodes } => {
            let restated = |entry: &mut RoomEntry| {
                let is_restated = |node: &NodeId| nodes.contains(node);
                entry.room.nodes_restated(is_restated, &mut entry.effects);
            };
            match room {
                Some(room) => drop(hub.with_room(&room, restated)),
                None => hub.with_rooms(restated),
            }
        }
        Output::ForgetUnconfirmed => {
            let mut nodes = Vec::new();
            hub.with_rooms(|entry| {
                nodes.extend(entry.room.forget_unconfirmed(&mut entry.effects));
            });
            nodes.sort_unstable();
            nodes.dedup();
            link.abandon(nodes);
        }
        Output::Message { node, bytes } => {
            changes::receive(hub, &bytes);
            hub.requests.receive(&node, &bytes);
            hub.tunnels.receive(&node, &bytes, link);
        }
        Output::Answer { .. } => {}
    }
}

#[cfg(test)]
mod tests;
