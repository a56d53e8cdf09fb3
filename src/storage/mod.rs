//! Users, rooms, memberships, invites, bans and messages.
//!
//! [`Store`] is the port: the domain operations in one place, with their values and errors. `sqlite`
//! is the implementation behind it.

mod error;
mod limits;
mod model;
mod sqlite;
mod store;
pub mod utc;

pub use error::{
    BanError, ChangeError, CreateError, InviteError, JoinError, MessageError, StoreError,
};
pub use limits::*;
pub use model::*;
pub use store::Store;

#[cfg(test)]
mod tests;
