//! `[rooms]`

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::macros::settings;

settings! {
    /// Rooms: who creates them, how many messages they keep, when guests and kicked users may return.
    pub struct Rooms in rooms {
        /// The users who may create rooms over HTTP: `"users"` (guests excepted) or `"admins"`. The creator
        /// owns the room.
        ///
        /// `parlor room create` works in any case.
        create: RoomCreators = RoomCreators::Users, Live;

        /// The number of messages that a room keeps: a new one replaces the oldest. 0 = no limit.
        ///
        /// After a lower number, each new message deletes up to 1,000 old ones of its room.
        max_messages: u32 = 10_000, Live;

        /// How long a room keeps a message: older ones are deleted within about a minute. 0 = no limit.
        ///
        /// There is no limit by default, so that an upgrade deletes nothing.
        #[serde(with = "crate::config::duration")]
        message_retention: Duration = Duration::ZERO, Live;

        /// Whether guests can read messages from before they joined the room.
        ///
        /// An invite link is passed on easily, so by default a guest reads what was written since their last join.
        guest_history: bool = false, Live;

        /// How long a guest may be disconnected (a closed tab, a dead phone) and stay a member; they may join
        /// again later. 0 = until their token expires.
        #[serde(with = "crate::config::duration")]
        guest_grace_period: Duration = Duration::from_secs(5 * 60), Live;

        /// How long the room rejects a user after `parlor room kick`. 0 = the user may join again at once.
        #[serde(with = "crate::config::duration")]
        kick_cooldown: Duration = Duration::from_secs(30), Live;
    }
}

/// The users who may create rooms over HTTP. The command line always may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RoomCreators {
    Users,
    Admins,
}
