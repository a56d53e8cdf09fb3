//! An announcement about a user.

use crate::room::Departure;
use crate::room::server_frame::Participant;

/// The user was lost, or the reason is not known.
pub(super) const LOST: Announcement<'static> = Announcement::Left(Departure::Lost);

/// A user came or left.
#[derive(Debug, Clone, Copy)]
pub(super) enum Announcement<'a> {
    /// `None`: only the user's id is known.
    Joined(Option<&'a Participant<'a>>),
    Left(Departure),
}

impl Announcement<'_> {
    /// The `type` of the frame.
    pub(super) fn label(self) -> &'static str {
        match self {
            Announcement::Joined(_) => "user-joined",
            Announcement::Left(_) => "user-left",
        }
    }
}
