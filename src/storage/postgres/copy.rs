//! Rows as JSON, for a copy of the whole store.

use serde_json::Value;

use super::call::{LONG_READ, LONG_WRITE, Parameters};
use super::database::Database;
use super::schema::{CURRENT, newer};
use crate::storage::StoreError;
use crate::storage::copy::{Kind, Stage, row_of, without_nulls};

impl Database {
    /// Checks that this version of parlor knows all tables and columns: a copy of a newer schema would miss some.
    pub(crate) async fn check_schema_is_known(&self) -> Result<(), StoreError> {
        let sql = "SELECT version FROM schema_version";
        let found: i32 = self
            .query_one(LONG_READ, sql, &[], |row| row.try_get(0))
            .await?;
        if found > CURRENT {
            return Err(newer(self.server(), found));
        }
        Ok(())
    }

    pub(crate) async fn unfinished_copy(&self) -> Result<Option<String>, StoreError> {
        let sql = "SELECT to_regclass('parlor.unfinished_copy') IS NOT NULL";
        let is_marked: bool = self
            .query_one(LONG_READ, sql, &[], |row| row.try_get(0))
            .await?;
        if !is_marked {
            return Ok(None);
        }
        let sql = "SELECT source FROM unfinished_copy";
        self.query_opt(LONG_READ, sql, &[], |row| row.try_get(0))
            .await
    }

    pub(crate) async fn begin_copy(&self, source: &str) -> Result<(), StoreError> {
        let sql = "CREATE TABLE IF NOT EXISTS unfinished_copy (source text NOT NULL)";
        self.query(LONG_WRITE, sql, &[], |_| Ok(())).await?;
        let sql = "INSERT INTO unfinished_copy VALUES ($1)";
        self.query(LONG_WRITE, sql, &[&source], |_| Ok(())).await?;
        Ok(())
    }

    pub(crate) async fn last_message_id(&self) -> Result<i64, StoreError> {
        let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM room_messages_id_seq";
        self.query_one(LONG_READ, sql, &[], |row| row.try_get(0))
            .await
    }

    pub(crate) async fn finish_copy(&self, last_message_id: i64) -> Result<(), StoreError> {
        let sql = "SELECT setval('room_messages_id_seq', last) FROM (
                       SELECT greatest($1, max(id)) FROM room_messages) ids (last) WHERE last > 0";
        self.query(LONG_WRITE, sql, &[&last_message_id], |_| Ok(()))
            .await?;
        let sql = "SELECT setval('room_audit_id_seq', max(id)) FROM room_audit HAVING count(*) > 0";
        self.query(LONG_WRITE, sql, &[], |_| Ok(())).await?;
        // No server acts on the copy as on a change.
        for sql in ["DELETE FROM events", "DROP TABLE unfinished_copy"] {
            self.query(LONG_WRITE, sql, &[], |_| Ok(())).await?;
        }
        Ok(())
    }

    pub(crate) async fn rows(
        &self,
        stage: &'static Stage,
        after: Option<&Value>,
        limit: u32,
    ) -> Result<Vec<Value>, StoreError> {
        let keys = stage.key_names();
        let columns = stage.columns[..stage.key_columns].iter().enumerate();
        let values: Vec<_> = columns
            .map(|(at, (_, kind))| value("$1::text::jsonb", at, *kind))
            .collect();
        let sql = format!(
            "SELECT {}::text FROM {} WHERE {} AND ($1::text IS NULL OR ({keys}) > ({}))
             ORDER BY {keys} LIMIT $2",
            array(stage),
            stage.table,
            stage.condition,
            values.join(", ")
        );
        let after = after.map(|key| without_nulls(key).to_string());
        let parameters: Parameters<'_> = &[&after, &i64::from(limit)];
        let rows: Vec<String> = self
            .query(LONG_READ, &sql, parameters, |row| row.try_get(0))
            .await?;
        rows.iter().map(|text| self.row_of(text)).collect()
    }

    fn row_of(&self, text: &str) -> Result<Value, StoreError> {
        row_of(text).map_err(|error| self.server().failed(error.to_string()))
    }

    pub(crate) async fn last_row(
        &self,
        stage: &'static Stage,
    ) -> Result<Option<Value>, StoreError> {
        let order = stage.key_names().replace(", ", " DESC, ");
        let sql = format!(
            "SELECT {}::text FROM {} WHERE {} ORDER BY {order} DESC LIMIT 1",
            array(stage),
            stage.table,
            stage.condition
        );
        let row: Option<String> = self
            .query_opt(LONG_READ, &sql, &[], |row| row.try_get(0))
            .await?;
        row.map(|text| self.row_of(&text)).transpose()
    }

    pub(crate) async fn insert_rows(
        &self,
        stage: &'static Stage,
        rows: &Value,
    ) -> Result<(), StoreError> {
        let columns = stage.columns.iter().enumerate();
        let values: Vec<_> = columns
            .map(|(at, (_, kind))| value("value", at, *kind))
            .collect();
        let sql = format!(
            "INSERT INTO {} ({}) SELECT {} FROM jsonb_array_elements($1::text::jsonb)
             ON CONFLICT DO NOTHING",
            stage.table,
            stage.column_names(),
            values.join(", ")
        );
        let rows = without_nulls(rows).to_string();
        self.query(LONG_WRITE, &sql, &[&rows], |_| Ok(())).await?;
        Ok(())
    }
}

/// The element of a JSON array as a value of a column.
fn value(array: &str, at: usize, kind: Kind) -> String {
    let text = format!("({array} ->> {at})");
    match kind {
        Kind::Text => text,
        Kind::Integer => format!("{text}::bigint"),
        Kind::Boolean => format!("{text} = '1'"),
        Kind::Time => format!("to_timestamp({text}::bigint)"),
        Kind::Bytes => format!("decode({text}, 'hex')"),
    }
}

/// The columns of a row as one JSON array.
fn array(stage: &Stage) -> String {
    let columns = stage.columns.iter().map(|(name, kind)| match kind {
        Kind::Time => format!("floor(extract(epoch FROM {name}))::bigint"),
        Kind::Bytes => format!("upper(encode({name}, 'hex'))"),
        Kind::Boolean => format!("{name}::integer"),
        Kind::Text | Kind::Integer => (*name).to_owned(),
    });
    format!(
        "jsonb_build_array({})",
        columns.collect::<Vec<_>>().join(", ")
    )
}
