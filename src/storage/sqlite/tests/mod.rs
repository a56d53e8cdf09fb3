//! Tests of the database file: transactions, other processes, foreign files, migrations, query plans.

mod erasure;
mod file;
mod migration;
mod plan;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use crate::storage::tests::{FILE_NAME, Fixture, NOW};
use crate::storage::{
    JoinError, JoinGrant, MAX_MESSAGE_CHARS, NewMessage, Removal, Store, StoreError,
};
