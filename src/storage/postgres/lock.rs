//! The lock of a database: one parlor serves it at a time, or the nodes of a cluster.
//!
//! It is an advisory lock of a connection of its own, so the server releases it when the process or its host ends.

use std::time::Duration;

use deadpool_postgres::{Client, Object, Pool};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{self, Instant};

use super::call::CALL_TIMEOUT;
use super::error::ServerName;
use super::mark::{self, RedisId};
use crate::storage::StoreError;

/// The keys of the lock: "prlr" and "serv". Other advisory locks have one key, such as that of migrations.
const KEYS: (i32, i32) = (0x7072_6c72, 0x7365_7276);
/// How long a start waits for the end of another parlor, such as its predecessor at a restart.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts of a start.
const START_PAUSE: Duration = Duration::from_millis(50);
/// Interval of the checks that the lock is still held, and pause between two attempts to take it again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Timeout of the end of a session, in milliseconds.
const TERMINATION_MILLIS: i64 = 1000;

/// The server notices within half a minute that the host of this process is gone, and never ends an idle session.
const SESSION: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5;
    SET tcp_keepalives_count = 3; SET tcp_user_timeout = '25s'; SET idle_session_timeout = 0";

/// Ends an earlier session of this process that the server has not yet found to be dead.
const END_SESSION: &str = "SELECT pg_terminate_backend(pid, $3) FROM pg_stat_activity
    WHERE pid = $1 AND backend_start::text = $2";

/// The lock that a process takes to use a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreLock {
    /// None: for a command, which works beside a server.
    None,
    /// Excludes other processes that serve or copy the store. SQLite needs none: its data directory has a lock.
    Exclusive,
    /// For a node of a cluster: excludes all but other nodes.
    Shared,
}

/// Finds a session by its number and its start.
const FIND_SESSION: &str =
    "SELECT pid FROM pg_stat_activity WHERE pid = $1 AND backend_start::text = $2";

/// A held lock. It is released when this value is dropped.
pub(super) struct DatabaseLock {
    server: ServerName,
    /// The other process that has taken the lock after this one lost it.
    holder: watch::Receiver<Option<String>>,
    /// The last session of this process that had the lock.
    session: watch::Receiver<Option<Session>>,
    /// The marks of [`super::mark`] that the session shall have.
    mark: watch::Sender<Option<RedisId>>,
    keeper: JoinHandle<()>,
}

impl Drop for DatabaseLock {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl DatabaseLock {
    /// Takes the lock over a connection of `pool`. Waits a few seconds for another process that has it.
    pub(super) async fn acquire(
        pool: Pool,
        server: &ServerName,
        lock: StoreLock,
    ) -> Result<DatabaseLock, StoreError> {
        let mut keeper = Keeper::new(pool, server, lock);
        let deadline = Instant::now() + START_TIMEOUT;
        let mut is_waiting = false;
        while let Some(holder) = keeper.try_lock().await? {
            if Instant::now() >= deadline {
                return Err(server.in_use(holder));
            }
            if !is_waiting {
                tracing::info!(server = %server.0, holder, "waiting for another parlor to end");
            }
            is_waiting = true;
            time::sleep(START_PAUSE).await;
        }
        let (sender, holder) = watch::channel(None);
        let (mark, wanted_mark) = watch::channel(None);
        Ok(DatabaseLock {
            server: server.clone(),
            holder,
            session: keeper.holding.subscribe(),
            mark,
            keeper: tokio::spawn(keeper.run(sender, wanted_mark)),
        })
    }

    /// # Errors
    /// Another process has taken the lock after this one lost its connection.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &*self.holder.borrow() {
            Some(holder) => Err(self.server.in_use(holder.clone())),
            None => Ok(()),
        }
    }

    /// Returns the last session of this process that had the lock.
    pub(super) fn session(&self) -> Option<Session> {
        self.session.borrow().clone()
    }

    /// Sets, changes or removes the marks of [`super::mark`] within about a second.
    pub(super) fn set_mark(&self, marked: Option<RedisId>) {
        self.mark.send_if_modified(|known| {
            let is_other = *known != marked;
            *known = marked;
            is_other
        });
    }
}

/// Keeps the lock: takes it again after a lost connection.
struct Keeper {
    pool: Pool,
    server: ServerName,
    lock: StoreLock,
    /// The connection of the lock, also while another process has it.
    client: Option<Client>,
    /// The last session of this process that had the lock.
    holding: watch::Sender<Option<Session>>,
    /// The marks that the session of the lock has.
    marked: Option<RedisId>,
}

/// A session, as the server identifies it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Session {
    process: i32,
    start: String,
}

impl Session {
    /// Returns the number of the session, if it is one of this server and lives.
    pub(super) async fn find(&self, client: &Client) -> Result<Option<i32>, tokio_postgres::Error> {
        let row = client
            .query_opt(FIND_SESSION, &[&self.process, &self.start])
            .await?;
        row.map(|row| row.try_get(0)).transpose()
    }
}

impl Keeper {
    fn new(pool: Pool, server: &ServerName, lock: StoreLock) -> Keeper {
        Keeper {
            pool,
            server: server.clone(),
            lock,
            client: None,
            holding: watch::channel(None).0,
            marked: None,
        }
    }

    /// Checks the lock until the task is aborted. Reports each loss to another process once.
    async fn run(
        mut self,
        sender: watch::Sender<Option<String>>,
        mut wanted_mark: watch::Receiver<Option<RedisId>>,
    ) {
        let mut is_held = true;
        loop {
            // A mark that changes is not left waiting: a start waits for its own.
            let _ = time::timeout(CHECK_INTERVAL, wanted_mark.changed()).await;
            let holder = if is_held {
                let marked = *wanted_mark.borrow();
                self.keep_session(marked).await.map(|()| None)
            } else {
                self.try_lock().await
            };
            is_held = matches!(holder, Ok(None));
            // A server that does not answer is reported by the poller.
            let Ok(holder) = holder else {
                continue;
            };
            let server = &self.server.0;
            let was_lost = sender.borrow().is_some();
            match &holder {
                Some(holder) if !was_lost => {
                    tracing::error!(%server, holder, "another parlor uses the database");
                }
                None if was_lost => {
                    tracing::info!(%server, "no other parlor uses the database any more");
                }
                _ => {}
            }
            sender.send_replace(holder);
        }
    }

    /// Takes the lock, or returns the process that has it.
    async fn try_lock(&mut self) -> Result<Option<String>, StoreError> {
        let client = match self.client.take() {
            Some(client) => client,
            None => {
                let client = self.pool.get().await;
                client.map_err(|error| self.server.pool_failure(&error, CALL_TIMEOUT).error)?
            }
        };
        let holding = self.holding.borrow().clone();
        let answer = time::timeout(CALL_TIMEOUT, try_lock(&client, self.lock, holding.as_ref()));
        let answer = answer.await;
        Ok(match self.keep_answered(client, answer)? {
            Attempt::Locked(session) => {
                self.holding.send_replace(Some(session));
                None
            }
            Attempt::HeldBy(holder) => Some(holder),
        })
    }

    /// Checks that the session of the lock lives, and gives it these marks.
    async fn keep_session(&mut self, marked: Option<RedisId>) -> Result<(), StoreError> {
        if marked == self.marked {
            return self.check_session().await;
        }
        let Some(client) = self.client.take() else {
            return Err(self.server.failed("the connection of its lock is gone"));
        };
        let answer = time::timeout(CALL_TIMEOUT, mark::set(&client, self.marked, marked)).await;
        self.keep_answered(client, answer)?;
        self.marked = marked;
        Ok(())
    }

    /// Checks that the session of the lock lives.
    async fn check_session(&mut self) -> Result<(), StoreError> {
        let Some(client) = self.client.take() else {
            return Err(self.server.failed("the connection of its lock is gone"));
        };
        let answer = time::timeout(CALL_TIMEOUT, client.batch_execute("")).await;
        self.keep_answered(client, answer)
    }

    /// Keeps the connection if the server has answered, and closes it otherwise.
    fn keep_answered<T>(
        &mut self,
        client: Client,
        answer: Result<Result<T, tokio_postgres::Error>, time::error::Elapsed>,
    ) -> Result<T, StoreError> {
        let error = match answer {
            Ok(Ok(value)) => {
                self.client = Some(client);
                return Ok(value);
            }
            Ok(Err(error)) => self.server.failure(&error, CALL_TIMEOUT).error,
            Err(_) => self.server.timed_out(CALL_TIMEOUT),
        };
        drop(Object::take(client));
        // The next session has none.
        self.marked = None;
        Err(error)
    }
}

/// The result of an attempt to take the lock.
enum Attempt {
    Locked(Session),
    /// Another process has it, described in words.
    HeldBy(String),
}

/// Takes the lock. The session `predecessor` of this process must not keep it.
async fn try_lock(
    client: &Client,
    lock: StoreLock,
    predecessor: Option<&Session>,
) -> Result<Attempt, tokio_postgres::Error> {
    client.batch_execute(SESSION).await?;
    if let Some(Session { process, start }) = predecessor {
        let timeout = &TERMINATION_MILLIS;
        client
            .query(END_SESSION, &[process, start, timeout])
            .await?;
    }
    let function = match lock {
        StoreLock::Shared => "pg_try_advisory_lock_shared",
        StoreLock::Exclusive | StoreLock::None => "pg_try_advisory_lock",
    };
    let (first, second) = KEYS;
    let sql = format!(
        "SELECT {function}({first}, {second}), pid, backend_start::text
         FROM pg_stat_activity WHERE pid = pg_backend_pid()"
    );
    let row = client.query_one(&sql, &[]).await?;
    if row.try_get(0)? {
        return Ok(Attempt::Locked(Session {
            process: row.try_get(1)?,
            start: row.try_get(2)?,
        }));
    }
    // It may also be the next in a queue.
    let holder = find_holder(client, StoreLock::Exclusive, None).await?;
    Ok(Attempt::HeldBy(
        holder.unwrap_or("it has just ended".to_owned()),
    ))
}

/// Returns another process that keeps a start from this lock, described in words. The session `own` does not count.
pub(super) async fn find_holder(
    client: &Client,
    lock: StoreLock,
    own: Option<i32>,
) -> Result<Option<String>, tokio_postgres::Error> {
    let (first, second) = KEYS;
    let is_shared = lock == StoreLock::Shared;
    // The last number tells locks with two keys from those with one.
    let sql = format!(
        "SELECT concat_ws(', ', nullif(application_name, ''), host(client_addr),
                          'server process ' || pid)
         FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
         WHERE locktype = 'advisory' AND classid = {first} AND objid = {second} AND objsubid = 2
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND granted AND (mode = 'ExclusiveLock' OR NOT $1::boolean)
           AND pid IS DISTINCT FROM $2::integer
         LIMIT 1"
    );
    let row = client.query_opt(&sql, &[&is_shared, &own]).await?;
    row.map(|row| row.try_get(0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::PostgresOptions;
    use crate::storage::postgres::database::open_pool;
    use crate::storage::tests::server::{Database, server};

    fn keeper(database: &Database, lock: StoreLock) -> Keeper {
        let options = PostgresOptions {
            url: database.url().parse().unwrap(),
            password: None,
            ca_file: None,
            max_connections: 1,
        };
        let server = ServerName("db".into());
        let pool = open_pool(&options, 1, &server, "origin").unwrap();
        Keeper::new(pool, &server, lock)
    }

    #[tokio::test]
    async fn a_session_that_the_server_takes_for_alive_leaves_the_lock_to_its_successor() {
        let (database, another) = (server().create(None), server().create(None));
        let mut keeper_of_lock = keeper(&database, StoreLock::Exclusive);
        assert_eq!(keeper_of_lock.try_lock().await, Ok(None));
        assert_eq!(
            keeper(&another, StoreLock::Exclusive).try_lock().await,
            Ok(None)
        );
        // Its socket stays open, as that of a host that is gone.
        let _abandoned = Object::take(keeper_of_lock.client.take().unwrap());
        let mut other = keeper(&database, StoreLock::Exclusive);
        let holder = other.try_lock().await.unwrap().expect("another session");
        assert!(holder.starts_with("parlor, server process "), "{holder}");
        assert_eq!(keeper_of_lock.try_lock().await, Ok(None));
        assert_eq!(keeper_of_lock.check_session().await, Ok(()));
        assert!(other.try_lock().await.unwrap().is_some());
        drop(keeper_of_lock);
    }

    #[tokio::test]
    async fn nodes_share_the_lock_and_exclude_a_parlor_on_its_own() {
        use StoreLock::{Exclusive, Shared};
        let database = server().create(None);
        let (mut one, mut two) = (keeper(&database, Shared), keeper(&database, Shared));
        assert_eq!(one.try_lock().await, Ok(None));
        assert_eq!(two.try_lock().await, Ok(None));
        let mut alone = keeper(&database, Exclusive);
        assert!(alone.try_lock().await.unwrap().is_some());
        drop(Object::take(one.client.take().unwrap()));
        assert!(alone.try_lock().await.unwrap().is_some());
        drop(Object::take(two.client.take().unwrap()));
        while alone.try_lock().await.unwrap().is_some() {}
        assert!(one.try_lock().await.unwrap().is_some());
    }
}
