//! The renewals of a `parlor.v1` client, which its connection carries out. A plain connection has none.

use bytes::Bytes;

use super::{Outbox, wake};
use crate::service::renewals::RenewalState;

impl Outbox {
    /// Sets when the token of the connection ends, in Unix seconds.
    pub fn set_token_end(&self, unix: u64) {
        self.change_renewals(|state| state.times.token_end = Some(unix));
    }

    /// Sets when the client gets other ICE servers, in Unix seconds. `None`: never.
    pub fn renew_ice_at(&self, unix: Option<u64>) {
        self.change_renewals(|state| state.times.ice_due = unix);
    }

    /// Has the connection fetch other ICE servers for its client now. Returns false for a plain client.
    pub(in crate::service) fn renew_ice(&self) -> bool {
        self.change_renewals(|state| state.times.ice_due = Some(0))
    }

    /// Records that ICE servers are being fetched. [`Outbox::finish_ice_renewal`] must follow.
    pub fn begin_ice_renewal(&self) {
        self.change_renewals(|state| {
            state.times.ice_due = None;
            state.is_fetching = true;
        });
    }

    /// Queues the `frame` with the fetched ICE servers, if that succeeded. `next` is the time of the next renewal in Unix
    /// seconds, unless an earlier one was asked for meanwhile.
    pub fn finish_ice_renewal(&self, frame: Option<Bytes>, next: Option<u64>) {
        let is_current = self.change_renewals(|state| {
            state.times.ice_due = state.times.ice_due.or(next);
            state.is_fetching = false;
        });
        // Otherwise the session has moved to another connection, which fetches ICE servers itself.
        if let Some(frame) = frame.filter(|_| is_current) {
            self.push(frame, None);
        }
    }

    /// Returns false if there is no session.
    fn change_renewals(&self, change: impl FnOnce(&mut RenewalState)) -> bool {
        let mut state = self.locked();
        let Some(session) = &mut state.session else {
            return false;
        };
        change(&mut session.renewals);
        wake(state);
        true
    }
}

#[cfg(test)]
mod tests;
