//! Rows as JSON, for a copy of the whole store.

use rusqlite::OptionalExtension;
use rusqlite::types::Type;
use serde_json::Value;

use super::database::Database;
use crate::storage::StoreError;
use crate::storage::copy::{Kind, Stage, row_of};

impl Database {
    pub(crate) async fn unfinished_copy(&self) -> Result<Option<String>, StoreError> {
        self.read(|connection| {
            let marked =
                "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'unfinished_copy')";
            if !connection.query_row(marked, (), |row| row.get::<_, bool>(0))? {
                return Ok(None);
            }
            connection
                .query_row("SELECT source FROM unfinished_copy", (), |row| row.get(0))
                .optional()
        })
        .await
    }

    pub(crate) async fn begin_copy(&self, source: &str) -> Result<(), StoreError> {
        let source = source.to_owned();
        self.write_without_timeout(move |connection| {
            connection.execute(
                "CREATE TABLE unfinished_copy (source TEXT NOT NULL) STRICT",
                (),
            )?;
            connection.execute("INSERT INTO unfinished_copy VALUES (?1)", [source])?;
            Ok(Ok(()))
        })
        .await
    }

    pub(crate) async fn last_message_id(&self) -> Result<i64, StoreError> {
        self.read(|connection| {
            let sql =
                "SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'room_messages'";
            connection.query_row(sql, (), |row| row.get(0))
        })
        .await
    }

    pub(crate) async fn finish_copy(&self, last_message_id: i64) -> Result<(), StoreError> {
        self.write_without_timeout(move |connection| {
            let continued = connection.execute(
                "UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'room_messages'",
                [last_message_id],
            )?;
            if continued == 0 {
                connection.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('room_messages', ?1)",
                    [last_message_id],
                )?;
            }
            connection.execute("DROP TABLE unfinished_copy", ())?;
            Ok(Ok(()))
        })
        .await
    }

    pub(crate) async fn rows(
        &self,
        stage: &'static Stage,
        after: Option<&Value>,
        limit: u32,
    ) -> Result<Vec<Value>, StoreError> {
        let after = after.map(Value::to_string);
        let keys = stage.key_names();
        let values: Vec<_> = (0..stage.key_columns)
            .map(|column| format!("json_extract(?1, '$[{column}]')"))
            .collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE {} AND (?1 IS NULL OR ({keys}) > ({})) ORDER BY {keys} LIMIT ?2",
            array(stage),
            stage.table,
            stage.condition,
            values.join(", ")
        );
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let rows = statement.query_map((after, limit), |row| {
                let text: String = row.get(0)?;
                row_of(&text).map_err(not_json)
            })?;
            rows.collect()
        })
        .await
    }

    pub(crate) async fn last_row(
        &self,
        stage: &'static Stage,
    ) -> Result<Option<Value>, StoreError> {
        let order = stage.key_names().replace(", ", " DESC, ");
        let sql = format!(
            "SELECT {} FROM {} WHERE {} ORDER BY {order} DESC LIMIT 1",
            array(stage),
            stage.table,
            stage.condition
        );
        self.read(move |connection| {
            let row = connection.query_row(&sql, (), |row| row.get::<_, String>(0));
            let row = row.optional()?.map(|text| row_of(&text));
            row.transpose().map_err(not_json)
        })
        .await
    }

    pub(crate) async fn insert_rows(
        &self,
        stage: &'static Stage,
        rows: &Value,
    ) -> Result<(), StoreError> {
        let rows = rows.to_string();
        let columns = stage.columns.iter().enumerate();
        let values: Vec<_> = columns
            .map(|(at, (_, kind))| {
                let value = format!("json_extract(value, '$[{at}]')");
                match kind {
                    Kind::Time => format!("strftime('%Y-%m-%dT%H:%M:%SZ', {value}, 'unixepoch')"),
                    Kind::Bytes => format!("unhex({value})"),
                    Kind::Text | Kind::Integer | Kind::Boolean => value,
                }
            })
            .collect();
        let sql = format!(
            "INSERT OR IGNORE INTO {} ({}) SELECT {} FROM json_each(?1)",
            stage.table,
            stage.column_names(),
            values.join(", ")
        );
        self.write_without_timeout(move |connection| {
            connection.prepare_cached(&sql)?.execute([rows])?;
            Ok(Ok(()))
        })
        .await
    }
}

fn not_json(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

/// The columns of a row as one JSON array.
fn array(stage: &Stage) -> String {
    let columns = stage.columns.iter().map(|(name, kind)| match kind {
        Kind::Time => format!("CAST(strftime('%s', {name}) AS INTEGER)"),
        Kind::Bytes => format!("hex({name})"),
        Kind::Text | Kind::Integer | Kind::Boolean => (*name).to_owned(),
    });
    format!("json_array({})", columns.collect::<Vec<_>>().join(", "))
}
