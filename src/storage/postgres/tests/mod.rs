//! Tests of what PostgreSQL has alone: the schema beside other programs, the table of events, and a server that
//! fails.

mod changes;
mod chats;
mod faults;
mod locks;
mod plan;
mod probe;
mod repeats;
mod schema;
mod tls;

use std::time::Duration;

use crate::storage::tests::server::{Server, server};
use crate::storage::tests::{Fixture, NOW, connect};
use crate::storage::{JoinGrant, StoreError};
