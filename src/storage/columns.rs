//! The columns of users and rooms, in the order in which both stores read them (`user_at` and `room_at` in their
//! `rows.rs`).

/// The columns of a user; the table goes by `u`.
pub(super) const USER_COLUMNS: &str = "u.id, u.name, u.display_name, u.is_admin, \
    u.disabled_at IS NOT NULL, u.deleted_at IS NOT NULL, u.guest_room_id, u.guest_until, \
    u.created_at, u.invite_id, u.token_generation, u.tokens_from";

pub(super) const USER_COLUMN_COUNT: usize = 12;

/// The columns of a room; the table goes by `r`.
pub(super) const ROOM_COLUMNS: &str =
    "r.id, r.name, r.is_private, r.max_participants, r.owner_id, r.created_at, r.closed_at";
