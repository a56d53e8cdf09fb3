//! What a shard says to whoever reads the log. What clients can bring about as often as they like is
//! said once a minute at most, or at DEBUG.

use std::io;
use std::net::SocketAddr;

use crate::clock::Now;
use crate::rate::{Cell, Limit};
use crate::turn::{Refusal, Session};

use super::counters::transport_name;

/// What an admin may raise.
const QUOTAS: [Refusal; 3] = [Refusal::UserQuota, Refusal::TotalQuota, Refusal::NoPort];

#[derive(Default)]
pub struct Notices {
    binds: Cell,
    quotas: [Cell; QUOTAS.len()],
}

impl Notices {
    /// Out of descriptors, most likely.
    pub fn bind_failed(&mut self, now: Now, address: SocketAddr, error: &io::Error) {
        if self.binds.take(Limit::per_minute(), now.mono, 1) {
            tracing::warn!(%address, %error, "a relay socket could not be bound");
        }
    }

    /// A request was refused; quotas are told of, each by itself.
    pub fn refused(&mut self, now: Now, refusal: Refusal) {
        let Some(index) = QUOTAS.iter().position(|quota| *quota == refusal) else {
            return;
        };
        if self.quotas[index].take(Limit::per_minute(), now.mono, 1) {
            tracing::info!(reason = %refusal, "a quota of the relay is reached");
        }
    }
}

pub fn granted(session: &Session) {
    let Session {
        user, room, client, ..
    } = session;
    let transport = transport_name(session.transport);
    tracing::debug!(%user, room = room.as_deref(), transport, %client, "allocation granted");
}

/// `bytes` are those of application data, both ways.
pub fn ended(session: &Session) {
    let (user, room) = (&session.user, session.room.as_deref());
    let transport = transport_name(session.transport);
    let bytes = session.bytes_up + session.bytes_down;
    tracing::debug!(%user, room, transport, bytes, "allocation ended");
}
