//! Users and guests.

use crate::token::Issue;

/// A user: active, disabled or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub id: String,
    /// The name for logins and commands. A guest's name is the id.
    pub name: String,
    /// The name that participants see.
    pub display_name: String,
    pub admin: bool,
    pub disabled: bool,
    /// The row of a deleted user stays, so that the id stays rejected.
    pub deleted: bool,
    /// The room and the expiry of a guest; `None` for other users.
    pub guest: Option<Guest>,
    /// The condition for valid tokens.
    pub token_cutoff: TokenCutoff,
    /// Unix seconds.
    pub created_at: u64,
}

impl User {
    /// A guest with a new id.
    pub(in crate::storage) fn new_guest(place: Guest, display_name: String, unix: u64) -> User {
        let id = uuid::Uuid::new_v4().to_string();
        User {
            name: id.clone(),
            id,
            display_name,
            admin: false,
            disabled: false,
            deleted: false,
            guest: Some(place),
            token_cutoff: TokenCutoff::default(),
            created_at: unix,
        }
    }

    /// Returns the role for frontends: `guest`, `admin` or `user`.
    pub fn role(&self) -> &'static str {
        match self {
            User { guest: Some(_), .. } => "guest",
            User { admin: true, .. } => "admin",
            _ => "user",
        }
    }

    /// Whether the user is neither disabled nor deleted nor an expired guest at `unix`.
    pub fn is_active(&self, unix: u64) -> bool {
        !self.disabled
            && !self.deleted
            && self.guest.as_ref().is_none_or(|guest| unix < guest.until)
    }

    /// Returns `unix`, or the expiry of a guest's access if it is earlier: no token or credential of a guest
    /// outlives the access.
    pub fn limit_expiry(&self, unix: u64) -> u64 {
        self.guest
            .as_ref()
            .map_or(unix, |guest| unix.min(guest.until))
    }
}

/// The access of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    pub room_id: String,
    /// Unix seconds; at this second the access is expired.
    pub until: u64,
    /// The id of the invite that the guest used, if known.
    pub invite: Option<String>,
}

/// The condition for valid tokens of a user: tokens from before a sign-out, a new password or a disabling
/// are rejected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenCutoff {
    /// The generation that parlor's own tokens must carry; it grows whenever tokens are ended.
    pub generation: u64,
    /// Unix seconds: tokens of other issuers must be issued later. `None`: no such limit.
    pub from: Option<u64>,
}

impl TokenCutoff {
    /// Whether a token with this issue data is still valid. A token without an issue time may be older
    /// than the limit, and so may one of the same second.
    pub fn accepts(&self, issue: Issue) -> bool {
        match issue {
            Issue::Own { generation } => generation == self.generation,
            Issue::Foreign { at } => self.from.is_none_or(|from| at.is_some_and(|at| at > from)),
        }
    }
}

/// A guest whose access has not expired, for an admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveGuest {
    pub user: User,
    pub room_name: String,
    /// The user is a member of the room now.
    pub participant: bool,
}

/// A user, with the name of the room if they are a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub user: User,
    pub guest_room: Option<String>,
}

impl From<User> for Person {
    /// The id of a guest's room.
    fn from(user: User) -> Person {
        let guest_room = user.guest.as_ref().map(|guest| guest.room_id.clone());
        Person { user, guest_room }
    }
}

impl From<ActiveGuest> for Person {
    fn from(guest: ActiveGuest) -> Person {
        Person {
            user: guest.user,
            guest_room: Some(guest.room_name),
        }
    }
}

/// A user to create.
#[derive(Debug, Clone, Default)]
pub struct NewUser {
    pub name: String,
    /// `None`: the name.
    pub display_name: Option<String>,
    pub admin: bool,
    /// PHC text.
    pub password_hash: Option<String>,
}

/// The result of disabling or deleting a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedUser {
    /// A deleted user, before the deletion.
    pub user: User,
    /// The number of valid invites of the user that were revoked.
    pub invites: usize,
}
