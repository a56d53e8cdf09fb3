//! A handle on the server: the pool of connections, and the task that polls for changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use deadpool_postgres::{
    Client, Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_postgres::NoTls;

use super::call::{READ, STATEMENT_TIMEOUT, WRITE};
use super::changes::{FoundChanges, Poller};
use super::doubt::{Doubt, DoubtGuard};
use super::error::{Failure, ServerName};
use super::lock::{DatabaseLock, Session, StoreLock};
use super::mark::{self, RedisId};
use super::options::PostgresOptions;
use super::poll_requests::PollRequests;
use super::schema;
use super::tls_stream::Rustls;
use crate::config::SslMode;
use crate::metrics::StorageTimings;
use crate::storage::{Changes, ChatChanges, StoreError};
use crate::tls::{self, Verification};

/// Timeout for a new connection to one server, and for a free one of the pool: shorter than the timeout of a
/// request.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Timeout for each server if the URL names several, so that one that is down leaves time for the next.
const HOST_TIMEOUT: Duration = Duration::from_secs(1);
/// The time that is left for TLS and the password when the last server answers.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout for the settings of a new connection.
const SESSION_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a start waits for a server that cannot be reached yet.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause between two attempts of a start.
const START_PAUSE: Duration = Duration::from_millis(250);

/// Settings of each connection. The server cancels a statement before parlor stops waiting for it, and ends a
/// transaction whose client is gone. Functions rely on seeing what was committed while they waited for a lock.
const SESSION: &str =
    "SET search_path = parlor; SET TimeZone = 'UTC'; SET client_min_messages = warning;
    SET default_transaction_isolation = 'read committed'; SET lock_timeout = '3s';
    SET idle_in_transaction_session_timeout = '10s'";

/// Fails if there is no space for rows, and leaves nothing. Rows may have a disk of their own, and tables often have space
/// when the disk has none: only a new table always takes space.
const FIND_SPACE: &str = "
    DO $$ BEGIN
        CREATE TABLE parlor.space AS
            SELECT repeat('x', 2000) AS filler FROM generate_series(1, 64);
        RAISE SQLSTATE 'PRLOK';
    EXCEPTION WHEN SQLSTATE 'PRLOK' THEN NULL;
    END $$";

/// The database of a PostgreSQL server. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    /// Timeout for a connection, new or of the pool.
    client_timeout: Duration,
    server: ServerName,
    times: StorageTimings,
    changes: watch::Receiver<u64>,
    found_changes: FoundChanges,
    polls: Arc<PollRequests>,
    doubt: Doubt,
    poller: JoinHandle<()>,
    lock: Option<DatabaseLock>,
    /// Whether a statement has failed for want of space, and no check has found space since.
    is_disk_full: AtomicBool,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.poller.abort();
    }
}

impl Database {
    /// Connects, takes the lock, migrates the schema, and starts to poll for changes. Waits a few seconds for a
    /// server that is starting, and for another parlor that is ending.
    pub(crate) async fn open(
        options: &PostgresOptions,
        lock: StoreLock,
    ) -> Result<Database, StoreError> {
        let server = ServerName(options.url.to_string().into());
        let origin = uuid::Uuid::new_v4().to_string();
        let pool = open_pool(options, options.max_connections, &server, &origin)?;
        let timeouts = pool.timeouts();
        let client_timeout = timeouts.create.unwrap_or(CONNECT_TIMEOUT) + HOST_TIMEOUT;
        // A connection of its own: changes are noticed while all others are in use.
        let polled = open_pool(options, 1, &server, &origin)?;
        first_connection(&pool, &server).await?;
        let lock = match lock {
            StoreLock::None => None,
            StoreLock::Exclusive | StoreLock::Shared => {
                let pool = open_pool(options, 1, &server, &origin)?;
                Some(DatabaseLock::acquire(pool, &server, lock).await?)
            }
        };
        schema::migrate(&pool, &server).await?;
        let doubt = Doubt::default();
        let poller = Poller::start(polled, &server, &origin, &doubt).await?;
        let found_changes = FoundChanges::default();
        let (changed, changes) = watch::channel(0);
        let polls = Arc::new(PollRequests::default());
        let poller = tokio::spawn(poller.run(polls.clone(), found_changes.clone(), changed));
        Ok(Database {
            inner: Arc::new(Inner {
                pool,
                client_timeout,
                server,
                times: StorageTimings::default(),
                changes,
                found_changes,
                polls,
                doubt,
                poller,
                lock,
                is_disk_full: AtomicBool::new(false),
            }),
        })
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.clone()
    }

    pub(crate) fn poll_changes(&self) {
        self.inner.polls.request();
    }

    #[cfg(test)]
    pub(crate) fn stop_interval(&self) {
        self.inner.polls.stop_interval();
    }

    pub(crate) fn take_chat_changes(&self) -> ChatChanges {
        self.inner.found_changes.take_chats()
    }

    pub(crate) fn take_changes(&self) -> Changes {
        self.inner.found_changes.take()
    }

    pub(crate) fn times(&self) -> &StorageTimings {
        &self.inner.times
    }

    /// Writes to the write-ahead log, and waits until it is on the disk. After a statement that found no space for its
    /// rows, also writes a table. Also checks that no other parlor has taken the lock.
    pub(crate) async fn check_writable(&self) -> Result<(), StoreError> {
        // A standby has no write-ahead log of its own.
        let sql = "SELECT read_only, CASE WHEN NOT read_only
                       THEN pg_logical_emit_message(true, 'parlor', '') IS NULL END
                   FROM (SELECT current_setting('transaction_read_only')::boolean) s (read_only)";
        let read_only: bool = self
            .query_one(WRITE.without_doubt(), sql, &[], |row| row.try_get(0))
            .await?;
        if read_only {
            return Err(StoreError::ServerReadOnly(self.server().0.to_string()));
        }
        if self.inner.is_disk_full.load(Ordering::Relaxed) {
            self.query(WRITE.without_doubt(), FIND_SPACE, &[], |_| Ok(()))
                .await?;
            self.inner.is_disk_full.store(false, Ordering::Relaxed);
        }
        self.check_lock()
    }

    /// Checks that no other process has taken the lock.
    pub(crate) fn check_lock(&self) -> Result<(), StoreError> {
        self.inner.lock.as_ref().map_or(Ok(()), DatabaseLock::check)
    }

    /// Returns the session that has the lock, or last had it.
    pub(super) fn lock_session(&self) -> Option<Session> {
        self.inner.lock.as_ref().and_then(DatabaseLock::session)
    }

    /// Reports to other nodes, within about a second, which Redis this one reaches, if any.
    pub(crate) fn set_reached_redis(&self, reached: Option<RedisId>) {
        if let Some(lock) = &self.inner.lock {
            lock.set_mark(reached);
        }
    }

    /// Whether a node has reported that it reaches Redis.
    pub(crate) async fn is_redis_reached(&self) -> Result<bool, StoreError> {
        self.query_one(READ, &mark::query(), &[], |row| row.try_get(0))
            .await
    }

    /// The Redis that nodes reach, by their reports, each value once.
    pub(crate) async fn reached_redis(&self) -> Result<Vec<RedisId>, StoreError> {
        self.query(READ, &mark::ids_query(), &[&None::<i32>], mark::id)
            .await
    }

    /// A statement has failed because the disk is full.
    pub(super) fn note_full_disk(&self) {
        self.inner.is_disk_full.store(true, Ordering::Relaxed);
    }

    pub(super) fn server(&self) -> &ServerName {
        &self.inner.server
    }

    pub(super) fn doubt(&self, is_write: bool) -> DoubtGuard<'_> {
        self.inner.doubt.guard(is_write)
    }

    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let timeout = self.inner.client_timeout;
        match tokio::time::timeout(timeout, self.inner.pool.get()).await {
            Ok(client) => {
                client.map_err(|error| self.server().pool_failure(&error, CONNECT_TIMEOUT))
            }
            Err(_) => Err(self.server().no_connection(timeout)),
        }
    }
}

pub(super) fn open_pool(
    options: &PostgresOptions,
    size: usize,
    server: &ServerName,
    origin: &str,
) -> Result<Pool, StoreError> {
    let mut config = options
        .url
        .client_config()
        .map_err(|reason| server.refused(format!("its URL {reason}")))?;
    if let Some(password) = &options.password {
        config.password(password.expose());
    }
    if config.get_application_name().is_none() {
        config.application_name("parlor");
    }
    let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
    let (host_timeout, create_timeout) = match u32::try_from(hosts) {
        Ok(0 | 1) | Err(_) => (CONNECT_TIMEOUT, CONNECT_TIMEOUT),
        Ok(several) => (HOST_TIMEOUT, HOST_TIMEOUT * several + HANDSHAKE_TIMEOUT),
    };
    config
        .connect_timeout(host_timeout)
        .tcp_user_timeout(CONNECT_TIMEOUT)
        .keepalives_idle(Duration::from_secs(10));
    let manager = ManagerConfig {
        recycling_method: RecyclingMethod::Fast,
    };
    let verification = match options.url.ssl_mode() {
        SslMode::Disable => None,
        // As libpq does: authorities are verified where they are given.
        SslMode::Require if options.ca_file.is_none() => Some(Verification::None),
        SslMode::Require | SslMode::VerifyCa => Some(Verification::Authority),
        SslMode::VerifyFull => Some(Verification::Full),
    };
    let manager = match verification {
        None => {
            config.ssl_mode(tokio_postgres::config::SslMode::Disable);
            Manager::from_config(config, NoTls, manager)
        }
        Some(verification) => {
            config.ssl_mode(tokio_postgres::config::SslMode::Require);
            let tls = tls::client_config(verification, options.ca_file.as_deref())
                .map_err(|reason| server.refused(reason))?;
            Manager::from_config(config, Rustls(tls), manager)
        }
    };
    let session = format!("{SESSION}; {STATEMENT_TIMEOUT}; SET parlor.origin = '{origin}'");
    let pool = Pool::builder(manager)
        .max_size(size)
        .timeouts(Timeouts {
            wait: Some(CONNECT_TIMEOUT),
            create: Some(create_timeout),
            recycle: Some(CONNECT_TIMEOUT),
        })
        .runtime(Runtime::Tokio1)
        .post_create(Hook::async_fn(move |client, _| {
            let session = session.clone();
            Box::pin(async move {
                // The pool's timeouts do not include this.
                let set = client.batch_execute(&session);
                match tokio::time::timeout(SESSION_TIMEOUT, set).await {
                    Ok(set) => set.map_err(HookError::Backend),
                    Err(_) => Err(HookError::message(
                        "the settings of a connection were not answered",
                    )),
                }
            })
        }))
        .build();
    pool.map_err(|error| server.failed(error.to_string()))
}

/// Waits for the first connection. Only a server that cannot be reached is tried again.
async fn first_connection(pool: &Pool, server: &ServerName) -> Result<(), StoreError> {
    let deadline = Instant::now() + START_TIMEOUT;
    let mut is_waiting = false;
    while let Err(error) = pool.get().await {
        let error = server.pool_failure(&error, CONNECT_TIMEOUT).error;
        if Instant::now() >= deadline || !matches!(error, StoreError::ServerUnreachable { .. }) {
            return Err(error);
        }
        if !is_waiting {
            tracing::info!(%error, "waiting for the PostgreSQL server");
        }
        is_waiting = true;
        tokio::time::sleep(START_PAUSE).await;
    }
    Ok(())
}
