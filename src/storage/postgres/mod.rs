//! The store on PostgreSQL, for several servers or an existing database. All SQL for PostgreSQL is in this module.
//!
//! Each operation is one call: a statement, or one of the functions in the files `functions_….sql`. Row locks order
//! changes that belong together, and no lock is held while the server waits for parlor. Every call has a
//! timeout here and a shorter one in the server. Changes by other processes come from the table `events`,
//! which is polled.

mod acme;
mod bans;
mod call;
mod changes;
mod copy;
mod database;
mod doubt;
mod error;
mod expiry;
mod guests;
mod invites;
mod join;
mod lock;
mod mark;
mod memberships;
mod messages;
mod moderation;
mod options;
mod poll_requests;
mod preview;
mod probe;
mod query;
mod revocations;
mod role;
mod rooms;
mod rows;
mod schema;
mod tls_stream;
mod user_status;
mod users;

pub use acme::SharedAcme;
pub(super) use database::Database;
pub use lock::StoreLock;
pub use mark::RedisId;
pub use options::PostgresOptions;
pub(super) use probe::probe;
pub use role::role_sql;

#[cfg(test)]
mod tests;
