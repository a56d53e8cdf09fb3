//! The events that pass between the application and its subscribers.

/// A user who left a room because the room was closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    pub user: String,
    /// Whether the user is still a member of another room.
    pub elsewhere: bool,
    /// The generation of the user's next membership, here and below.
    pub next_generation: u64,
}

/// A change that the store has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    RoomOpened {
        room: String,
    },
    /// The name, the visibility, the capacity or the lock changed.
    RoomChanged {
        room: String,
    },
    /// Closed for good, or deleted.
    RoomClosed {
        room: String,
        departures: Vec<Departure>,
    },
    Joined {
        user: String,
        room: String,
        /// The number of earlier memberships of the user in the room.
        generation: u64,
    },
    /// Left by request, or removed as an absent guest.
    Left {
        user: String,
        room: String,
        /// False if the user was no member, so that only a stale connection can remain.
        was_member: bool,
        elsewhere: bool,
        next_generation: u64,
    },
    Kicked {
        user: String,
        room: String,
        elsewhere: bool,
        next_generation: u64,
    },
    Banned {
        user: String,
        room: String,
        elsewhere: bool,
    },
    /// `generation` is that of the user's current or next membership.
    Unbanned {
        user: String,
        room: String,
        generation: u64,
    },
    /// The roles of these users changed, also by a new owner.
    RoleChanged {
        room: String,
        users: Vec<String>,
    },
    /// A message was posted to the chat of a room.
    MessagePosted {
        room: String,
    },
    /// A user deleted a message of the chat.
    MessageDeleted {
        room: String,
        id: i64,
    },
    /// A moderator asked the client of a user to mute.
    Muted {
        user: String,
        room: String,
        /// The moderator's id; `None`: an admin at the command line.
        by: Option<String>,
    },
    /// The time of a guest is over.
    GuestExpired {
        user: String,
        room: String,
        next_generation: u64,
    },
    /// `generation` is the generation of the user's next tokens, here and below.
    UserDisabled {
        user: String,
        generation: u64,
    },
    UserEnabled {
        user: String,
    },
    UserDeleted {
        user: String,
        generation: u64,
    },
    /// All tokens of the user ended.
    SignedOut {
        user: String,
        generation: u64,
    },
    /// A connected user may no longer be in a room because another process changed the store, and no
    /// event above describes that change. Allocations stay, unless the membership is gone.
    AccessLost {
        user: String,
        room: String,
    },
}

impl Event {
    /// The names of all events, in the order of [`Event::index`].
    pub const NAMES: [&str; 18] = [
        "room-opened",
        "room-changed",
        "room-closed",
        "joined",
        "left",
        "kicked",
        "banned",
        "unbanned",
        "guest-expired",
        "user-disabled",
        "user-enabled",
        "user-deleted",
        "signed-out",
        "access-lost",
        "role-changed",
        "message-posted",
        "message-deleted",
        "muted",
    ];

    /// The position of the event's name in [`Event::NAMES`].
    pub fn index(&self) -> usize {
        match self {
            Event::RoomOpened { .. } => 0,
            Event::RoomChanged { .. } => 1,
            Event::RoomClosed { .. } => 2,
            Event::Joined { .. } => 3,
            Event::Left { .. } => 4,
            Event::Kicked { .. } => 5,
            Event::Banned { .. } => 6,
            Event::Unbanned { .. } => 7,
            Event::GuestExpired { .. } => 8,
            Event::UserDisabled { .. } => 9,
            Event::UserEnabled { .. } => 10,
            Event::UserDeleted { .. } => 11,
            Event::SignedOut { .. } => 12,
            Event::AccessLost { .. } => 13,
            Event::RoleChanged { .. } => 14,
            Event::MessagePosted { .. } => 15,
            Event::MessageDeleted { .. } => 16,
            Event::Muted { .. } => 17,
        }
    }
}
