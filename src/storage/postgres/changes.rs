//! Notices changes by other processes: polls the table `events`, and counts.

use std::collections::HashSet;
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::watch;

use super::call::CALL_TIMEOUT;
use super::doubt::Doubt;
use super::error::ServerName;
use crate::clock::{self, Mono};
use crate::storage::StoreError;

/// Interval of the polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum number of events that one deletion takes.
const CLEANUP_ROWS: i64 = 10_000;
/// Interval of the deletions of old events.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);

/// Events by others since a transaction, and the transaction to continue from.
///
/// Rows become visible in the order of commits, not of ids or transactions. So a poll reads everything since the
/// oldest transaction that was still running at the last poll, and skips the events that it has seen. Events with
/// transactions of the future come from a dump of another server.
const POLL: &str = "
    SELECT pg_snapshot_xmin(now.snapshot)::text, e.id
    FROM (SELECT pg_current_snapshot() AS snapshot) now
    LEFT JOIN events e ON e.xid >= $1::text::xid8 AND e.xid < pg_snapshot_xmax(now.snapshot)
         AND e.origin IS DISTINCT FROM $2";

/// Deletes old events, a part at a time; returns their number.
const CLEANUP: &str = "
    WITH deleted AS (
        DELETE FROM events WHERE id IN (
            SELECT id FROM (SELECT id, at FROM events ORDER BY id LIMIT $1) oldest
            WHERE at < now() - interval '1 hour')
        RETURNING id)
    SELECT count(*) FROM deleted";

/// Polls for changes.
pub(super) struct Poller {
    pool: Pool,
    server: ServerName,
    /// The mark of this process in its events.
    origin: String,
    doubt: Doubt,
    /// Where the next poll begins.
    next: String,
    /// Events at or after `next` that were seen already.
    seen: HashSet<i64>,
    /// `None` before the first deletion.
    cleaned_at: Option<Mono>,
}

impl Poller {
    /// Every later commit of another process is reported.
    pub(super) async fn start(
        pool: Pool,
        server: &ServerName,
        origin: &str,
        doubt: &Doubt,
    ) -> Result<Poller, StoreError> {
        let mut poller = Poller {
            pool,
            server: server.clone(),
            origin: origin.to_owned(),
            doubt: doubt.clone(),
            next: String::new(),
            seen: HashSet::new(),
            cleaned_at: None,
        };
        poller.restart().await?;
        Ok(poller)
    }

    /// Polls until the task is aborted, and counts in `changes`.
    pub(super) async fn run(mut self, changes: watch::Sender<u64>) {
        let mut reachable = true;
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let polled = if reachable {
                self.poll().await
            } else {
                // Events may have been deleted meanwhile, and the server may be another one.
                self.restart().await.map(|()| true)
            };
            match polled {
                Ok(found) => {
                    if !reachable {
                        tracing::info!(server = %self.server.0, "PostgreSQL server answers again");
                    }
                    reachable = true;
                    if self.doubt.take() || found {
                        changes.send_modify(|count| *count += 1);
                    }
                }
                Err(error) if reachable => {
                    tracing::error!(%error, "changes by other processes cannot be read");
                    reachable = false;
                }
                Err(_) => {}
            }
            self.clean_up().await;
        }
    }

    /// Skips the changes until now.
    async fn restart(&mut self) -> Result<(), StoreError> {
        let sql = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
        let rows = self.call(sql, &[]).await?;
        if let Some(row) = rows.first() {
            self.next = row.try_get(0).map_err(|error| self.error(&error))?;
        }
        // The next poll may read an event of this moment again, but misses none.
        self.seen.clear();
        self.poll().await.map(drop)
    }

    /// Whether there are new events by others.
    async fn poll(&mut self) -> Result<bool, StoreError> {
        let rows = self.call(POLL, &[&self.next, &self.origin]).await?;
        let mut seen = HashSet::new();
        let mut is_new = false;
        for row in &rows {
            let decoded = (|| Ok((row.try_get(0)?, row.try_get(1)?)))();
            let (next, id): (String, Option<i64>) = decoded.map_err(|error| self.error(&error))?;
            self.next = next;
            if let Some(id) = id {
                is_new |= !self.seen.contains(&id);
                seen.insert(id);
            }
        }
        self.seen = seen;
        Ok(is_new)
    }

    async fn clean_up(&mut self) {
        let now = clock::now().mono;
        if self
            .cleaned_at
            .is_some_and(|cleaned_at| now.since(cleaned_at) < CLEANUP_INTERVAL)
        {
            return;
        }
        // The next poll reports a failure of the server.
        let rows = self.call(CLEANUP, &[&CLEANUP_ROWS]).await;
        let deleted = rows.ok().and_then(|rows| rows.first()?.try_get(0).ok());
        // More of them are deleted after the next poll.
        if deleted != Some(CLEANUP_ROWS) {
            self.cleaned_at = Some(now);
        }
    }

    async fn call(
        &self,
        sql: &str,
        parameters: super::call::Parameters<'_>,
    ) -> Result<Vec<tokio_postgres::Row>, StoreError> {
        let client = self.pool.get().await;
        let client =
            client.map_err(|error| self.server.pool_failure(&error, CALL_TIMEOUT).error)?;
        let answer = tokio::time::timeout(CALL_TIMEOUT, async {
            let statement = client.prepare_cached(sql).await?;
            client.query(&statement, parameters).await
        });
        match answer.await {
            Ok(rows) => rows.map_err(|error| self.error(&error)),
            Err(_) => {
                drop(deadpool_postgres::Object::take(client));
                Err(self.server.timed_out(CALL_TIMEOUT))
            }
        }
    }

    fn error(&self, error: &tokio_postgres::Error) -> StoreError {
        self.server.failure(error, CALL_TIMEOUT).error
    }
}
