//! What the rest of the house may tell the relay.

use std::sync::Arc;

use crate::credential::Refusals;
use crate::turn::Scope;

use super::mailbox::{Mailbox, Order};

/// Tells every shard who came, left or was removed. Cheap to clone; the default one relays nothing.
#[derive(Clone, Default)]
pub struct Handle {
    refusals: Arc<Refusals>,
    shards: Arc<[Mailbox]>,
}

impl Handle {
    pub(super) fn new(refusals: Arc<Refusals>, shards: Arc<[Mailbox]>) -> Handle {
        Handle { refusals, shards }
    }

    /// `user` is a member of `room` (again): credentials bound to it may allocate.
    pub fn joined(&self, user: &str, room: &str) {
        self.refusals.admit_membership(user, room);
    }

    /// `user` left `room`: allocations bound to it end, and unbound ones too where the user is a
    /// member of no room any more (`elsewhere` is false).
    pub fn left(&self, user: &str, room: &str, elsewhere: bool) {
        self.refusals.refuse_membership(user, room);
        let scope = if elsewhere {
            Scope::Room
        } else {
            Scope::RoomAndUnbound
        };
        self.revoke(user, scope(room.into()));
    }

    /// `room` was closed: allocations bound to it end, whoever has them.
    pub fn closed(&self, room: &str) {
        self.refusals.refuse_room(room);
        self.order(|| Order::CloseRoom { room: room.into() });
    }

    /// `user` was disabled or deleted: all their allocations end.
    pub fn removed(&self, user: &str) {
        self.refusals.refuse_user(user);
        self.revoke(user, Scope::All);
    }

    fn revoke(&self, user: &str, scope: Scope) {
        self.order(|| Order::Revoke {
            user: user.into(),
            scope: scope.clone(),
        });
    }

    fn order(&self, order: impl Fn() -> Order) {
        self.shards.iter().for_each(|shard| shard.order(order()));
    }
}
