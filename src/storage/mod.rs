//! Users, rooms, memberships, invites, bans and messages.
//!
//! [`Store`] is the port: the domain operations in one place, with their values and errors. `sqlite`
//! and `postgres` are the implementations behind it.

mod acme;
mod copy;
mod error;
mod invite_text;
mod limits;
mod model;
mod nodes;
mod postgres;
mod rows;
mod sqlite;
mod store;
pub mod utc;

pub use copy::{CopyError, copy};
pub use error::{
    BanError, ChangeError, CreateError, InviteError, JoinError, MessageError, RoleError, StoreError,
};
pub use limits::*;
pub use model::*;
pub use postgres::{PostgresOptions, RedisId, SharedAcme, StoreLock, role_sql};
pub use store::Store;

#[cfg(test)]
pub(crate) mod tests;
