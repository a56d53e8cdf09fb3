//! The store on SQLite, the default. All SQL for SQLite is in this module.
//!
//! One thread writes and a few read; async code only waits for their answers, so no disk ever
//! blocks it. A write is acknowledged when it is on the disk. Another process (the CLI) may have the
//! same file open at any time.

mod bans;
mod connection;
mod copy;
mod database;
mod error;
mod expiry;
mod guests;
mod invites;
mod join;
mod lookup;
mod memberships;
mod messages;
mod moderation;
mod open_files;
mod preview;
mod reader;
mod revocations;
mod rooms;
mod rows;
mod schema;
mod threads;
mod user_status;
mod users;
mod writer;

pub(super) use database::Database;

#[cfg(test)]
mod tests;
