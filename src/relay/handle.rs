//! What the rest of the house may tell the relay.

use std::sync::Arc;

use crate::credential::Refusals;

/// Tells every shard who came, left or was removed. Cheap to clone; the default one relays nothing.
#[derive(Clone, Default)]
pub struct Handle {
    refusals: Arc<Refusals>,
}

impl Handle {
    pub fn new(refusals: Arc<Refusals>) -> Handle {
        Handle { refusals }
    }

    /// `user` is a member of `room` (again): credentials bound to it may allocate.
    pub fn joined(&self, user: &str, room: &str) {
        self.refusals.admit_membership(user, room);
    }

    /// `user` left `room`: allocations bound to it end, and unbound ones too where the user is a
    /// member of no room any more (`elsewhere` is false).
    pub fn left(&self, user: &str, room: &str, _elsewhere: bool) {
        self.refusals.refuse_membership(user, room);
    }

    /// `user` was disabled or deleted: all their allocations end.
    pub fn removed(&self, user: &str) {
        self.refusals.refuse_user(user);
    }
}
