//! Runs calls: one statement with its parameters each.

use std::time::Duration;

use deadpool_postgres::{Client, Object};
use futures_util::future::join3;
use tokio_postgres::Row;

use super::call::{Call, LONG_STATEMENT_TIMEOUT, Parameters, STATEMENT_TIMEOUT, random_micros};
use super::database::Database;
use super::doubt::DoubtGuard;
use super::error::{Effect, Failure};
use crate::clock;
use crate::storage::StoreError;

/// How often a call runs if concurrent transactions keep it from succeeding.
const MAX_ATTEMPTS: u32 = 4;
/// The shortest pause before the second attempt. It is up to twice as long, and doubles with each attempt, so that
/// calls that conflicted do not meet again.
const CONFLICT_PAUSE: Duration = Duration::from_millis(10);

impl Database {
    /// Runs a call and returns its rows.
    ///
    /// A conflict with another transaction is repeated. After a lost connection, only calls that may run twice
    /// are repeated, once. If the effect of a write stays unknown, also because the caller stopped waiting,
    /// all connections are checked again as after a change by another process.
    pub(super) async fn query<T>(
        &self,
        call: Call,
        sql: &str,
        parameters: Parameters<'_>,
        mut decode: impl FnMut(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Vec<T>, StoreError> {
        let mut doubt = self.doubt(call.can_doubt);
        let mut may_repeat = call.is_repeatable;
        for attempt in 1.. {
            let failure = match self.attempt(call, sql, parameters, &mut doubt).await {
                Ok(rows) => {
                    doubt.settle();
                    let decoded: Result<_, _> = rows.iter().map(&mut decode).collect();
                    return decoded
                        .map_err(|error| self.server().failure(&error, call.timeout()).error);
                }
                Err(failure) => failure,
            };
            let repeat = match failure.effect {
                Effect::Conflict => attempt < MAX_ATTEMPTS,
                Effect::Nothing => false,
                Effect::Unknown => {
                    doubt.keep();
                    std::mem::take(&mut may_repeat)
                }
                Effect::NoAnswer => {
                    doubt.keep();
                    false
                }
            };
            doubt.settle();
            if !repeat {
                if matches!(failure.error, StoreError::ServerFull(_)) {
                    self.note_full_disk();
                }
                return Err(failure.error);
            }
            if failure.effect == Effect::Conflict {
                let pause = CONFLICT_PAUSE * 2_u32.pow(attempt - 1);
                tokio::time::sleep(pause + random_micros(pause)).await;
            }
        }
        unreachable!("the loop ends by returning")
    }

    /// Runs a call that returns one row at most.
    pub(super) async fn query_opt<T>(
        &self,
        call: Call,
        sql: &str,
        parameters: Parameters<'_>,
        decode: impl FnMut(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<Option<T>, StoreError> {
        let rows = self.query(call, sql, parameters, decode).await?;
        Ok(rows.into_iter().next())
    }

    /// Runs a call that returns one row.
    pub(super) async fn query_one<T>(
        &self,
        call: Call,
        sql: &str,
        parameters: Parameters<'_>,
        decode: impl FnMut(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, StoreError> {
        let row = self.query_opt(call, sql, parameters, decode).await?;
        row.ok_or_else(|| self.server().failed("a statement returned no row"))
    }

    async fn attempt(
        &self,
        call: Call,
        sql: &str,
        parameters: Parameters<'_>,
        doubt: &mut DoubtGuard<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let times = if call.is_write {
            &self.times().writes
        } else {
            &self.times().reads
        };
        let queued_at = clock::now().mono;
        let client = InUse(Some(self.client().await?));
        doubt.send();
        let started_at = clock::now().mono;
        times.observe_wait(started_at.since(queued_at));
        let timeout = call.timeout();
        let run = client.run(call, sql, parameters);
        let answer = tokio::time::timeout(timeout, run).await;
        times.observe_work(clock::now().mono.since(started_at));
        match answer {
            Ok(answer) => {
                client.release();
                answer.map_err(|error| self.server().failure(&error, timeout))
            }
            Err(_) => Err(Failure {
                error: self.server().timed_out(timeout),
                effect: Effect::NoAnswer,
            }),
        }
    }
}

/// The connection of a call. It is closed if the call was not answered, also because the caller stopped waiting: the
/// next call would wait behind this one.
struct InUse(Option<Client>);

impl InUse {
    /// Returns the connection to the pool.
    fn release(mut self) {
        self.0 = None;
    }

    async fn run(
        &self,
        call: Call,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, tokio_postgres::Error> {
        match &self.0 {
            Some(client) => run(client, call, sql, parameters).await,
            None => Ok(Vec::new()),
        }
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

async fn run(
    client: &Client,
    call: Call,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = client.prepare_cached(sql).await?;
    if !call.is_long {
        return client.query(&statement, parameters).await;
    }
    // Sent together. A transaction would hold its locks until parlor has read the answer and sent the commit.
    let (raised, rows, lowered) = join3(
        client.batch_execute(LONG_STATEMENT_TIMEOUT),
        client.query(&statement, parameters),
        client.batch_execute(STATEMENT_TIMEOUT),
    )
    .await;
    raised?;
    let rows = rows?;
    // The statement has taken effect, and the next call reports a lost connection.
    let _ = lowered;
    Ok(rows)
}
