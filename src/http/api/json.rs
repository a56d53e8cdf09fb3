//! Users as JSON.

use serde_json::{Value, json as value};

use crate::storage::User;

/// A guest's name is the one they gave; to the store it is no name at all.
pub(super) fn user_json(user: &User) -> Value {
    let name = match user.guest {
        Some(_) => &user.display_name,
        None => &user.name,
    };
    value!({
        "id": user.id,
        "name": name,
        "display_name": user.display_name,
        "role": user.role(),
        "guest": user.guest.is_some(),
    })
}
