//! Copies a whole store to the other backend, row by row, and compares the copies.
//!
//! A row is a JSON array in the order of its columns, with the same text from both backends: times as Unix
//! seconds, booleans as 0 and 1, bytes as hexadecimal digits.

use serde_json::Value;

use super::error::StoreError;
use super::store::{Backend, Store};

/// Number of rows in one batch.
const BATCH_ROWS: u32 = 1000;

/// How a column is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
    Time,
    Bytes,
}

/// A table, or a part of one: rows are copied before the rows that refer to them.
pub(super) struct Stage {
    pub(super) table: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
    /// The number of leading columns that identify a row.
    pub(super) key_columns: usize,
    pub(super) condition: &'static str,
}

use Kind::{Boolean, Bytes, Integer, Text, Time};

const USERS: &[(&str, Kind)] = &[
    ("id", Text),
    ("name", Text),
    ("display_name", Text),
    ("password_hash", Text),
    ("is_admin", Boolean),
    ("guest_room_id", Text),
    ("guest_until", Time),
    ("created_at", Time),
    ("disabled_at", Time),
    ("deleted_at", Time),
    ("token_generation", Integer),
    ("tokens_from", Time),
    ("invite_id", Text),
];

pub(super) const STAGES: [Stage; 10] = [
    Stage {
        table: "users",
        columns: USERS,
        key_columns: 1,
        condition: "guest_until IS NULL",
    },
    Stage {
        table: "coworking_rooms",
        columns: &[
            ("id", Text),
            ("name", Text),
            ("is_private", Boolean),
            ("max_participants", Integer),
            ("owner_id", Text),
            ("created_at", Time),
            ("closed_at", Time),
            ("locked_at", Time),
        ],
        key_columns: 1,
        condition: "1 = 1",
    },
    Stage {
        table: "users",
        columns: USERS,
        key_columns: 1,
        condition: "guest_until IS NOT NULL",
    },
    Stage {
        table: "room_participants",
        columns: &[
            ("room_id", Text),
            ("user_id", Text),
            ("joined_at", Time),
            ("left_at", Time),
            ("kicked_until", Time),
            ("generation", Integer),
        ],
        key_columns: 2,
        condition: "1 = 1",
    },
    Stage {
        table: "room_messages",
        columns: &[
            ("id", Integer),
            ("room_id", Text),
            ("user_id", Text),
            ("content", Text),
            ("created_at", Time),
        ],
        key_columns: 1,
        condition: "1 = 1",
    },
    Stage {
        table: "room_invites",
        columns: &[
            ("id", Text),
            ("room_id", Text),
            ("hash", Bytes),
            ("created_by", Text),
            ("created_at", Time),
            ("expires_at", Time),
            ("uses_left", Integer),
            ("revoked_at", Time),
        ],
        key_columns: 1,
        condition: "1 = 1",
    },
    Stage {
        table: "room_bans",
        columns: &[
            ("room_id", Text),
            ("user_id", Text),
            ("reason", Text),
            ("created_by", Text),
            ("created_at", Time),
            ("expires_at", Time),
        ],
        key_columns: 2,
        condition: "1 = 1",
    },
    Stage {
        table: "room_moderators",
        columns: &[("room_id", Text), ("user_id", Text), ("created_at", Time)],
        key_columns: 2,
        condition: "1 = 1",
    },
    Stage {
        table: "room_audit",
        columns: &[
            ("id", Integer),
            ("room_id", Text),
            ("at", Time),
            ("action", Text),
            ("actor_id", Text),
            ("target_id", Text),
            ("reason", Text),
            ("until", Time),
            ("value", Text),
        ],
        key_columns: 1,
        condition: "1 = 1",
    },
    // Orders and challenges are not copied: no process orders during a copy.
    Stage {
        table: "acme_values",
        columns: &[
            ("scope", Text),
            ("kind", Text),
            ("version", Integer),
            ("sealed", Bytes),
        ],
        key_columns: 2,
        condition: "1 = 1",
    },
];

impl Stage {
    /// The names of the columns, separated by commas.
    pub(super) fn column_names(&self) -> String {
        let names = self.columns.iter().map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    }

    /// The names of the columns that identify a row, separated by commas.
    pub(super) fn key_names(&self) -> String {
        let names = self.columns[..self.key_columns]
            .iter()
            .map(|(name, _)| *name);
        names.collect::<Vec<_>>().join(", ")
    }

    /// The values of a row that identify it.
    fn key(&self, row: &Value) -> Value {
        let values = row.as_array().map_or(&[][..], Vec::as_slice);
        Value::from(&values[..self.key_columns.min(values.len())])
    }
}

/// The reason why a store was not copied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    #[error("the target has data already: name an empty database, or delete what is in it")]
    NotEmpty,
    #[error("the target has an unfinished copy of another store: delete what is in it")]
    OtherSource,
    #[error(
        "a row of `{table}` differs in the copy ({key}): was the store in use? Delete the copy and start again"
    )]
    Different { table: &'static str, key: String },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Copies every row of `source` to `target`, which must be empty or have an unfinished copy of the same source.
/// Returns each table with its number of rows. Nothing else may use either store.
///
/// # Errors
/// Besides those of the stores: the target has other data, a row differs afterwards, or another process has taken the
/// lock of a store meanwhile.
pub async fn copy(
    source: &Store,
    source_name: &str,
    target: &Store,
) -> Result<Vec<(&'static str, u64)>, CopyError> {
    for store in [source, target] {
        if let Backend::Postgres(database) = &store.backend {
            database.check_schema_is_known().await?;
        }
    }
    match target.unfinished_copy().await? {
        Some(other) if other != source_name => return Err(CopyError::OtherSource),
        Some(_) => {}
        None => {
            for stage in &STAGES {
                if !target.rows(stage, None, 1).await?.is_empty() {
                    return Err(CopyError::NotEmpty);
                }
            }
            target.begin_copy(source_name).await?;
        }
    }
    for stage in &STAGES {
        let mut after = target.last_row(stage).await?.map(|row| stage.key(&row));
        loop {
            let rows = source.rows(stage, after.as_ref(), BATCH_ROWS).await?;
            let Some(last) = rows.last() else {
                break;
            };
            after = Some(stage.key(last));
            source.check_lock()?;
            target.check_lock()?;
            target.insert_rows(stage, &Value::Array(rows)).await?;
        }
    }
    let mut counts: Vec<(&'static str, u64)> = Vec::new();
    for stage in &STAGES {
        let count = compare(source, target, stage).await?;
        match counts.iter_mut().find(|(table, _)| *table == stage.table) {
            Some((_, sum)) => *sum += count,
            None => counts.push((stage.table, count)),
        }
    }
    source.check_lock()?;
    target.check_lock()?;
    target.finish_copy(source.last_message_id().await?).await?;
    Ok(counts)
}

/// Compares all rows of a stage; returns their number.
async fn compare(source: &Store, target: &Store, stage: &'static Stage) -> Result<u64, CopyError> {
    let mut after = None;
    let mut count = 0;
    loop {
        let rows = source.rows(stage, after.as_ref(), BATCH_ROWS).await?;
        let copies = target.rows(stage, after.as_ref(), BATCH_ROWS).await?;
        let pairs = rows.len().max(copies.len());
        let different = (0..pairs).find(|at| {
            let row = rows.get(*at).map(without_nulls);
            row != copies.get(*at).map(without_nulls)
        });
        if let Some(at) = different {
            let row = rows.get(at).or(copies.get(at));
            return Err(CopyError::Different {
                table: stage.table,
                key: row.map_or(String::new(), |row| stage.key(row).to_string()),
            });
        }
        let Some(last) = rows.last() else {
            return Ok(count);
        };
        count += rows.len() as u64;
        after = Some(stage.key(last));
    }
}

/// The row with U+FFFD for each U+0000, which PostgreSQL cannot store.
pub(super) fn without_nulls(row: &Value) -> Value {
    match row {
        Value::String(text) => Value::String(text.replace('\0', "\u{fffd}")),
        Value::Array(values) => values.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}

/// Reads a row that a backend returned as a JSON array.
pub(super) fn row_of(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str::<Vec<Value>>(text).map(Value::Array)
}

macro_rules! call {
    ($store:ident.$operation:ident($($argument:expr),*)) => {
        match &$store.backend {
            Backend::Sqlite(database) => database.$operation($($argument),*).await,
            Backend::Postgres(database) => database.$operation($($argument),*).await,
        }
    };
}

impl Store {
    /// The source of an unfinished copy to this store.
    pub(super) async fn unfinished_copy(&self) -> Result<Option<String>, StoreError> {
        call!(self.unfinished_copy())
    }

    async fn begin_copy(&self, source: &str) -> Result<(), StoreError> {
        call!(self.begin_copy(source))
    }

    /// Ends a copy. New messages get ids after `last_message_id`.
    async fn finish_copy(&self, last_message_id: i64) -> Result<(), StoreError> {
        call!(self.finish_copy(last_message_id))
    }

    /// The id of the newest message, also of a deleted one; 0 before the first.
    async fn last_message_id(&self) -> Result<i64, StoreError> {
        call!(self.last_message_id())
    }

    /// The first `limit` rows, or those after the row with this key, sorted by key.
    async fn rows(
        &self,
        stage: &'static Stage,
        after: Option<&Value>,
        limit: u32,
    ) -> Result<Vec<Value>, StoreError> {
        call!(self.rows(stage, after, limit))
    }

    async fn last_row(&self, stage: &'static Stage) -> Result<Option<Value>, StoreError> {
        call!(self.last_row(stage))
    }

    async fn insert_rows(&self, stage: &'static Stage, rows: &Value) -> Result<(), StoreError> {
        call!(self.insert_rows(stage, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_a_json_array_and_anything_else_an_error() {
        assert_eq!(row_of("[1,null]").unwrap(), serde_json::json!([1, null]));
        for text in ["", "[1", "null", "{}"] {
            assert!(row_of(text).is_err(), "{text}");
        }
    }
}
