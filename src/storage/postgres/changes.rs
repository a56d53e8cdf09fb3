//! Notices changes by other processes: polls the table `events`, and counts.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use tokio::sync::watch;
use tokio_postgres::Row;

use super::call::{CALL_TIMEOUT, Parameters};
use super::doubt::Doubt;
use super::error::ServerName;
use super::poll_requests::PollRequests;
use crate::clock::{self, Mono};
use crate::credential::Subjects;
use crate::storage::{Changes, ChatChanges, StoreError};

/// Interval of the polls.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Maximum number of events that one deletion takes.
const CLEANUP_ROWS: i64 = 10_000;
/// Interval of the deletions of old events.
const CLEANUP_INTERVAL: Duration = Duration::from_secs(60);
/// After a longer time without a poll, events may have been deleted unread.
const MAX_GAP: Duration = Duration::from_secs(50 * 60);
/// How long the effect of a write stays in doubt: longer than every timeout of the server. A commit that hangs longer
/// (on a synchronous standby, say) is noticed by the hourly refresh alone.
const DOUBT_LENGTH: Duration = Duration::from_secs(25);

/// The kinds of the events of chats. The other kinds concern access.
const POSTED: &str = "message-posted";
const DELETED: &str = "message-deleted";

/// Maximum number of events that a poll reads one by one.
const MAX_EVENTS: i64 = 1000;

/// The current snapshot, and the kinds and subjects of the events of transactions that ended since an earlier one: those
/// of others, or of this process as well. One row without a kind if there are none.
///
/// Rows become visible in the order of commits, not of ids or transactions. A snapshot names exactly the transactions
/// that had ended: all later ones, and those that were open, are read. Events with transactions of the future come from
/// a dump of another server.
///
/// Both parts use the index with any statistics, also after one transaction has written most of the rows: the planner
/// expects few rows in a range of unknown bounds.
pub(super) const POLL: &str = "
    SELECT pg_current_snapshot()::text, kind, user_id, room_id, (data->>'message')::bigint
    FROM (SELECT) once LEFT JOIN (
        (SELECT kind, user_id, room_id, data FROM events
         WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot)
           AND xid < pg_snapshot_xmax(pg_current_snapshot())
           AND ($3 OR origin IS DISTINCT FROM $2)
         ORDER BY xid LIMIT $4)
        UNION ALL
        (SELECT kind, user_id, room_id, data
         FROM pg_snapshot_xip($1::text::pg_snapshot) was_open, LATERAL (
             SELECT kind, user_id, room_id, data FROM events
             WHERE xid BETWEEN was_open AND was_open AND ($3 OR origin IS DISTINCT FROM $2)
             ORDER BY xid LIMIT $4) ended
         LIMIT $4)) found ON true";

/// Deletes old events that every process has had a minute to read, a part at a time; returns their number. The time of
/// an event is not enough: its transaction may have been open for hours.
const CLEANUP: &str = "
    WITH deleted AS (
        DELETE FROM events WHERE id IN (
            SELECT id FROM (SELECT id, at, xid FROM events ORDER BY id LIMIT $1) oldest
            WHERE at < now() - interval '1 hour'
              AND (pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
                   -- From a dump of another server.
                   OR xid >= pg_snapshot_xmax(pg_current_snapshot())))
        RETURNING id)
    SELECT count(*) FROM deleted";

/// Changes that were found, and not taken yet.
#[derive(Clone, Default)]
pub(super) struct FoundChanges(Arc<Mutex<Changes>>, Arc<Mutex<ChatChanges>>);

impl FoundChanges {
    pub(super) fn take(&self) -> Changes {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn take_chats(&self) -> ChatChanges {
        std::mem::take(&mut *self.1.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, changes: Changes, chats: ChatChanges) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        found.add(changes);
        let mut found = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        found.add(chats);
    }
}

/// Polls for changes.
pub(super) struct Poller {
    pool: Pool,
    server: ServerName,
    /// The mark of this process in its events.
    origin: String,
    doubt: Doubt,
    /// The doubt whose beginning was reported.
    known_doubt: Option<Mono>,
    /// The snapshot of the last poll.
    snapshot: String,
    /// Changes of chats that the last poll has found.
    pub(super) chats: ChatChanges,
    polled_at: Mono,
    is_reachable: bool,
    /// The time of the last deletion (or of the start), and the snapshot of that time.
    cleaned_at: Mono,
    cleaned_snapshot: String,
}

impl Poller {
    /// Every later commit of another process is reported.
    pub(super) async fn start(
        pool: Pool,
        server: &ServerName,
        origin: &str,
        doubt: &Doubt,
    ) -> Result<Poller, StoreError> {
        let now = clock::now().mono;
        let mut poller = Poller {
            pool,
            server: server.clone(),
            origin: origin.to_owned(),
            doubt: doubt.clone(),
            known_doubt: None,
            snapshot: String::new(),
            chats: ChatChanges::default(),
            polled_at: now,
            is_reachable: true,
            cleaned_at: now,
            cleaned_snapshot: String::new(),
        };
        poller.restart().await?;
        Ok(poller)
    }

    /// Polls until the task is aborted, adds what it finds to `found`, and counts in `changes`.
    pub(super) async fn run(
        mut self,
        requests: Arc<PollRequests>,
        found: FoundChanges,
        changes: watch::Sender<u64>,
    ) {
        let mut interval = tokio::time::interval(POLL_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            requests.next(&mut interval).await;
            let polled = self.tick(clock::now().mono).await;
            let chats = std::mem::take(&mut self.chats);
            if !polled.is_empty() || !chats.is_empty() {
                found.add(polled, chats);
                changes.send_modify(|count| *count += 1);
            }
            self.clean_up(clock::now().mono).await;
        }
    }

    /// Returns the changes since the last tick, and logs when the server stops and begins to answer.
    pub(super) async fn tick(&mut self, now: Mono) -> Changes {
        let is_continued = self.is_reachable && now.since(self.polled_at) < MAX_GAP;
        // Before the poll: a write that comes into doubt during it is for the next one.
        let doubt = self.doubt.since();
        let polled = if is_continued {
            self.poll(doubt.is_some()).await
        } else {
            // Events may have been deleted meanwhile, and the server may be another one.
            self.restart().await.map(|()| Changes::Everything)
        };
        match polled {
            Ok(polled) => {
                self.polled_at = now;
                if !self.is_reachable {
                    tracing::info!(server = %self.server.0, "PostgreSQL server answers again");
                    // It may still hold statements of this process that nobody waits for.
                    self.doubt.begin();
                }
                self.is_reachable = true;
                if self.follow_doubt(doubt, now) {
                    return Changes::Everything;
                }
                polled
            }
            Err(error) => {
                if self.is_reachable {
                    tracing::error!(%error, "changes by other processes cannot be read");
                }
                self.is_reachable = false;
                Changes::default()
            }
        }
    }

    /// Whether everything must be read again because of writes whose effect is unknown: when the doubt begins, and
    /// when it ends.
    fn follow_doubt(&mut self, doubt: Option<Mono>, now: Mono) -> bool {
        let Some(since) = doubt else {
            return false;
        };
        if self.known_doubt != doubt {
            self.known_doubt = doubt;
            return true;
        }
        let has_ended = now.since(since) >= DOUBT_LENGTH;
        if has_ended {
            self.doubt.end(since);
        }
        has_ended
    }

    /// Skips the changes until now.
    async fn restart(&mut self) -> Result<(), StoreError> {
        let rows = self.call("SELECT pg_current_snapshot()::text", &[]).await?;
        if let Some(row) = rows.first() {
            self.snapshot = row.try_get(0).map_err(|error| self.error(&error))?;
            self.cleaned_snapshot = self.snapshot.clone();
        }
        Ok(())
    }

    /// Returns the changes by others; or by anybody, while writes of this process are in doubt.
    pub(super) async fn poll(&mut self, is_in_doubt: bool) -> Result<Changes, StoreError> {
        let parameters: Parameters<'_> = &[
            &self.snapshot,
            &self.origin,
            &is_in_doubt,
            &(MAX_EVENTS + 1),
        ];
        let rows = self.call(POLL, parameters).await?;
        let (snapshot, changes, chats) = decode(&rows).map_err(|error| self.error(&error))?;
        self.snapshot = snapshot;
        self.chats = chats;
        Ok(changes)
    }

    /// Deletes old events, once in a while.
    pub(super) async fn clean_up(&mut self, now: Mono) {
        if now.since(self.cleaned_at) < CLEANUP_INTERVAL {
            return;
        }
        // The next poll reports a failure of the server.
        let parameters: Parameters<'_> = &[&CLEANUP_ROWS, &self.cleaned_snapshot];
        let rows = self.call(CLEANUP, parameters).await;
        let deleted = rows.ok().and_then(|rows| rows.first()?.try_get(0).ok());
        // More of them are deleted after the next poll.
        if deleted != Some(CLEANUP_ROWS) {
            self.cleaned_at = now;
            self.cleaned_snapshot.clone_from(&self.snapshot);
        }
    }

    async fn call(&self, sql: &str, parameters: Parameters<'_>) -> Result<Vec<Row>, StoreError> {
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

/// Returns the snapshot and the changes, also those of chats, of the rows of `POLL`.
fn decode(rows: &[Row]) -> Result<(String, Changes, ChatChanges), tokio_postgres::Error> {
    let mut snapshot = String::new();
    let mut chats = ChatChanges::default();
    let mut subjects = Subjects::default();
    let mut is_everything = rows.len() as i64 > MAX_EVENTS;
    for row in rows {
        snapshot = row.try_get(0)?;
        let kind: Option<&str> = row.try_get(1)?;
        let (user, room): (Option<&str>, Option<&str>) = (row.try_get(2)?, row.try_get(3)?);
        match (kind, room, row.try_get(4)?) {
            (Some(POSTED), Some(room), _) => {
                chats.rooms.insert(room.into());
                continue;
            }
            (Some(DELETED), Some(room), Some(message)) => {
                chats.deleted.push((room.into(), message));
                continue;
            }
            _ => {}
        }
        // A truncated table, say.
        is_everything |= kind.is_some() && user.is_none() && room.is_none();
        subjects.insert(user, room);
    }
    if is_everything {
        return Ok((snapshot, Changes::Everything, chats));
    }
    Ok((snapshot, Changes::Of(subjects), chats))
}
