//! Reads the columns of a row.

use rusqlite::Row;
use rusqlite::types::FromSql;

use crate::storage::rows::Columns;
use crate::storage::utc;

impl Columns for Row<'_> {
    type Error = rusqlite::Error;

    fn value<T: FromSql>(&self, column: usize) -> rusqlite::Result<T> {
        self.get(column)
    }

    /// A time that cannot be parsed (after a manual edit of the file) counts as 1970.
    fn optional_time(&self, column: usize) -> rusqlite::Result<Option<u64>> {
        let text: Option<String> = self.get(column)?;
        Ok(text.map(|text| utc::parse(&text).unwrap_or(0)))
    }
}
