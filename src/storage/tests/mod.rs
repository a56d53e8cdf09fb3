//! Tests of the port, on both backends: a SQLite file in a temporary directory, and a database of a PostgreSQL
//! server that the tests start.

/// Runs each test on a store of its own, on SQLite and on PostgreSQL.
macro_rules! on_every_backend {
    ($($name:ident),* $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(Fixture::new()).await;
                }
            )*
        }

        mod on_postgres {
            use super::*;
            $(
                #[tokio::test]
                async fn $name() {
                    super::$name(Fixture::postgres().await).await;
                }
            )*
        }
    };
}

mod acme;
mod chat_access;
mod copies;
mod guests;
mod inactive;
mod invites;
mod lists;
mod members;
mod messages;
mod model;
mod moderation;
mod names;
mod races;
mod tokens;
mod waits;

#[path = "../../../tests/support/postgres.rs"]
pub(crate) mod server;

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::OnceCell;

use super::*;
use crate::clock;

pub(in crate::storage) const NOW: u64 = 1_700_000_000;
pub(in crate::storage) const FILE_NAME: &str = "parlor.db";

pub(in crate::storage) struct Fixture {
    pub(in crate::storage) store: Store,
    /// Has the file of SQLite.
    pub(in crate::storage) dir: tempfile::TempDir,
    /// The database of PostgreSQL.
    pub(in crate::storage) database: Option<server::Database>,
}

impl Fixture {
    /// A store on SQLite.
    pub(in crate::storage) fn new() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join(FILE_NAME)).unwrap();
        Fixture {
            store,
            dir,
            database: None,
        }
    }

    /// A store on PostgreSQL.
    pub(in crate::storage) async fn postgres() -> Fixture {
        /// The name of a database with the current schema.
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        let template = TEMPLATE.get_or_init(async || {
            let database = server::server().create(None);
            let store = connect(&database).await;
            drop(store.unwrap());
            database.into_template()
        });
        let database = server::server().create(Some(template.await));
        Fixture {
            store: connect(&database).await.unwrap(),
            dir: tempfile::tempdir().unwrap(),
            database: Some(database),
        }
    }

    /// Another store on the same data, as another process has it.
    pub(in crate::storage) async fn second_store(&self) -> Store {
        match &self.database {
            Some(database) => connect(database).await.unwrap(),
            None => Store::open(&self.dir.path().join(FILE_NAME)).unwrap(),
        }
    }

    /// A second process's view of the file of SQLite.
    pub(in crate::storage) fn other(&self) -> Connection {
        let other = Connection::open(self.dir.path().join(FILE_NAME)).unwrap();
        other.busy_timeout(Duration::from_secs(30)).unwrap();
        other
    }

    /// Runs SQL as another process.
    pub(in crate::storage) fn sql(&self, sql: &str) {
        match &self.database {
            Some(database) => {
                database.sql(&format!("SET search_path = parlor; {sql}"));
            }
            None => self.other().execute_batch(sql).unwrap(),
        }
    }

    /// Returns the number of rows of a table.
    pub(in crate::storage) fn count(&self, table: &str) -> u64 {
        self.number(&format!("SELECT count(*) FROM {table}"))
    }

    /// Returns the number of memberships of a user in a room that have ended.
    pub(in crate::storage) fn generation(&self, room: &str, user: &str) -> u64 {
        self.number(&format!(
            "SELECT generation FROM room_participants WHERE room_id = '{room}' AND user_id = '{user}'"
        ))
    }

    /// Runs a query for one number as another process.
    pub(in crate::storage) fn number(&self, sql: &str) -> u64 {
        match &self.database {
            Some(database) => {
                let number = database.sql(&format!("SET search_path = parlor; {sql}"));
                number.parse().unwrap()
            }
            None => {
                let number: i64 = self.other().query_row(sql, (), |row| row.get(0)).unwrap();
                number.unsigned_abs()
            }
        }
    }

    /// Fills the table beyond the limit, as an old version could.
    pub(in crate::storage) fn fill_invites(&self, count: u32) {
        self.fill_invites_of("r", count);
    }

    pub(in crate::storage) fn fill_invites_of(&self, room: &str, count: u32) {
        if self.database.is_some() {
            self.sql(&format!(
                "INSERT INTO room_invites (id, room_id, hash, created_at, expires_at)
                 SELECT 'i' || lpad(i::text, 6, '0'), '{room}', convert_to('h' || i, 'UTF8'),
                        '2023-01-01T00:00:00Z', '2999-01-01T00:00:00Z'
                 FROM generate_series(1, {count}) i"
            ));
            return;
        }
        self.sql(&format!(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
             INSERT INTO room_invites (id, room_id, hash, created_at, expires_at)
             SELECT printf('i%06d', i), '{room}', CAST(printf('h%d', i) AS BLOB),
                    '2023-01-01T00:00:00Z', '2999-01-01T00:00:00Z' FROM n"
        ));
    }

    pub(in crate::storage) async fn user(&self, name: &str) -> String {
        let new = NewUser {
            name: name.to_owned(),
            ..NewUser::default()
        };
        self.store.add_user(new).await.unwrap().id
    }

    pub(in crate::storage) async fn found(&self, id_or_name: &str) -> Option<User> {
        let called = self.store.find_users(id_or_name).await.unwrap();
        called.into_iter().next()
    }

    pub(in crate::storage) async fn room(
        &self,
        id: &str,
        private: bool,
        max_participants: Option<u32>,
    ) {
        let new = NewRoom {
            id: Some(id.to_owned()),
            name: id.to_owned(),
            private,
            max_participants,
            owner_id: None,
        };
        self.store.create_room(new).await.unwrap();
    }

    pub(in crate::storage) async fn invite(&self, room: &str, uses: Option<u32>) -> Invite {
        let new = NewInvite {
            room_id: room.to_owned(),
            created_by: None,
            ttl: Duration::from_secs(3600),
            uses,
        };
        self.store.create_invite(new).await.unwrap()
    }

    pub(in crate::storage) async fn guest(&self, room: &str, until: u64) -> String {
        let invite = self.invite(room, None).await;
        let text = invite.text.expose();
        let guest = self
            .store
            .redeem_invite(Some(room), text, "Guest", NOW, until);
        guest.await.unwrap().id
    }

    pub(in crate::storage) async fn join(&self, room: &str, user: &str) -> Result<Room, JoinError> {
        let joined = self.store.join(room, user, JoinGrant::None, NOW).await?;
        Ok(joined.room)
    }

    pub(in crate::storage) async fn members(&self, room: &str) -> Vec<String> {
        let members = self.store.participants(room, NOW).await.unwrap();
        members.into_iter().map(|member| member.user_id).collect()
    }
}

/// Makes reads of users from a file of SQLite fail, or succeed again.
pub(crate) fn set_broken(file: &Path, is_broken: bool) {
    let (from, to) = if is_broken {
        ("users", "broken")
    } else {
        ("broken", "users")
    };
    let other = Connection::open(file).unwrap();
    let sql = format!("ALTER TABLE {from} RENAME TO {to}");
    other.execute_batch(&sql).unwrap();
}

/// Connects as a process of parlor.
pub(crate) async fn connect(database: &server::Database) -> Result<Store, StoreError> {
    Store::connect(&options(database)).await
}

impl Store {
    /// From now on, PostgreSQL is polled for changes only by [`Store::poll_changes`].
    pub(crate) fn stop_interval(&self) {
        if let store::Backend::Postgres(database) = &self.backend {
            database.stop_interval();
        }
    }
}

/// How a database of the tests is reached.
pub(in crate::storage) fn options(database: &server::Database) -> PostgresOptions {
    PostgresOptions {
        url: database.url().parse().unwrap(),
        password: None,
        ca_file: None,
        max_connections: 8,
    }
}
