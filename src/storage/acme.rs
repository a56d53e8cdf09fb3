//! The entry to the accounts and certificates that processes share.

use super::postgres::SharedAcme;
use super::store::{Backend, Store};

impl Store {
    /// The shared accounts and certificates of ACME; `None` for a file, which one process uses.
    pub fn acme(&self) -> Option<SharedAcme> {
        match &self.backend {
            Backend::Sqlite(_) => None,
            Backend::Postgres(database) => Some(SharedAcme {
                database: database.clone(),
            }),
        }
    }
}
