//! The token and the ICE servers of a `parlor.v1` client: both end, and are renewed within the session.

/// The times of a connection's renewals, in Unix seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Renewals {
    /// The connection ends then. `None`: never.
    pub token_end: Option<u64>,
    /// The client gets other ICE servers then. `None`: not before the current renewal, if there is one, is done.
    pub ice_due: Option<u64>,
}

/// The renewals of a connection.
#[derive(Debug, Default)]
pub(super) struct RenewalState {
    pub times: Renewals,
    /// Whether ICE servers are being fetched for the client.
    pub is_fetching: bool,
}

impl RenewalState {
    /// The times that the connection acts on: none of ICE servers that are being fetched.
    pub(super) fn current(&self) -> Renewals {
        Renewals {
            ice_due: self.times.ice_due.filter(|_| !self.is_fetching),
            ..self.times
        }
    }

    /// The time at which the next connection of the session renews ICE servers.
    pub(super) fn inherited(&self) -> Option<u64> {
        // Servers that are still being fetched would go to the earlier connection.
        if self.is_fetching {
            Some(0)
        } else {
            self.times.ice_due
        }
    }
}
