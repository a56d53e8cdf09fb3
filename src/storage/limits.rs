//! Limits of stored values. They are the same for every database.

/// Maximum length of a ban's reason in characters.
pub const MAX_REASON_CHARS: usize = 500;

/// Maximum length of a chat message in characters.
pub const MAX_MESSAGE_CHARS: usize = 4000;

/// Maximum number of old messages that one write deletes, so that the other writes do not wait for long.
pub const MAX_DELETED_MESSAGES: u32 = 1000;

/// Maximum number of valid invites of one room, and of one user: lists must stay readable.
pub const MAX_INVITES: u32 = 1000;

/// Maximum number of participants that a room can be created for.
pub const MAX_ROOM_CAPACITY: u32 = 1_000_000;

/// Maximum number of open rooms of one user, admins excepted: the list of rooms must stay readable.
pub const MAX_OWNED_ROOMS: u32 = 100;

/// Maximum number of revoked invites that a room keeps, the newest ones: the server can report them as
/// revoked.
pub(super) const MAX_REVOKED_INVITES: u32 = 1000;

/// How long a revoked invite stays, so that the server can report it as revoked.
pub(super) const REVOKED_RETENTION_SECONDS: u64 = 30 * 24 * 3600;

/// How long an entry of the audit stays.
pub(super) const AUDIT_RETENTION_SECONDS: u64 = 366 * 24 * 3600;

/// Maximum number of audit entries that a room keeps, the newest ones: so many about messages, and so many others, so
/// that deletions of messages do not replace bans.
pub(super) const MAX_AUDIT_ENTRIES: u32 = 10_000;

/// The display name of a deleted user beside their messages.
pub(super) const DELETED_USER_NAME: &str = "Deleted user";
