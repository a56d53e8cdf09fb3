//! The ids of rooms and users.

/// The rule for a room's id, worded as the end of a sentence.
pub const ROOM_ID_RULE: &str = "1 to 128 of A-Z a-z 0-9 . _ ~ -, other than . and ..";

/// The rule for a user's id, worded as the end of a sentence.
pub const USER_ID_RULE: &str = "1 to 255 of A-Z a-z 0-9 . _ ~ - @ | : + =, other than . and ..";

/// Whether `id` is a valid room id: [`ROOM_ID_RULE`].
pub fn valid_room_id(id: &str) -> bool {
    is_id(id, 128, b"._~-")
}

/// Whether `id` is a valid user id: [`USER_ID_RULE`]. E-mail addresses and `auth0|…` are valid. No id
/// contains a `/`, which separates the user from the room in a TURN credential.
pub fn valid_user_id(id: &str) -> bool {
    is_id(id, 255, b"._~-@|:+=")
}

/// `.` and `..` are not ids: clients remove them from paths.
fn is_id(id: &str, longest: usize, signs: &[u8]) -> bool {
    (1..=longest).contains(&id.len())
        && ![".", ".."].contains(&id)
        && id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || signs.contains(&byte))
}
