//! The reason why a user is gone from a room.

use super::CloseCode;

/// The reason in a `user-left` of `parlor.v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Departure {
    /// The user closed the connection or left the room.
    Left,
    /// The connection ended without a close by the user.
    Lost,
    Kicked,
    Banned,
    /// The user was disabled or deleted.
    Disabled,
}

impl Departure {
    const ALL: [Departure; 5] = [
        Departure::Left,
        Departure::Lost,
        Departure::Kicked,
        Departure::Banned,
        Departure::Disabled,
    ];

    /// The departure with this name; `None` if there is none.
    pub fn from_label(label: &str) -> Option<Departure> {
        Departure::ALL.into_iter().find(|one| one.label() == label)
    }

    /// The name in frames.
    pub fn label(self) -> &'static str {
        match self {
            Departure::Left => "left",
            Departure::Lost => "lost",
            Departure::Kicked => "kicked",
            Departure::Banned => "banned",
            Departure::Disabled => "disabled",
        }
    }

    /// The departure of a user whose connection is closed with this code. A code that has several causes means
    /// the least of them.
    pub fn by(code: CloseCode) -> Departure {
        match code {
            CloseCode::NotAParticipant | CloseCode::Replaced => Departure::Left,
            CloseCode::Removed => Departure::Kicked,
            _ => Departure::Lost,
        }
    }
}
