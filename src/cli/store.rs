//! `parlor store`: moves the data between SQLite and PostgreSQL, and prints the SQL for a role.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::admin::{Failure, Response};
use crate::config::{Config, StoreUrl};
use crate::data_dir::{self, DataDir};
use crate::storage::{self, PostgresOptions, Store, StoreLock};

/// The name of the store in the data directory, for `--to`.
const SQLITE: &str = "sqlite";
const NOT_ANOTHER: &str = "--to names the store of the configuration";

#[derive(Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy all data to an empty store and compare it; stop the server first
    ///
    /// The source is the store of the configuration. The settings store.password and store.ca_file are used for
    /// PostgreSQL at either end, unless URL has a password. An interrupted copy continues when the command runs
    /// again.
    Copy {
        /// postgres://USER@HOST/DATABASE, or "sqlite" for the data directory
        #[arg(long, value_name = "URL")]
        to: String,
    },
    /// Print the SQL for a role that has the rights that parlor needs, and no others
    Sql {
        /// Name of the role
        #[arg(long, default_value = "parlor")]
        role: String,
    },
}

pub(super) fn run(config: &Config, command: StoreCommand) -> Result<Response, Failure> {
    match command {
        StoreCommand::Copy { to } => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(copy(config, &to))
        }
        StoreCommand::Sql { role } => {
            let sql = storage::role_sql(&role);
            Ok(Response::new(json!({ "sql": sql }), sql))
        }
    }
}

async fn copy(config: &Config, to: &str) -> Result<Response, Failure> {
    let directory = data_dir::resolve(&config.server)?;
    // Only the server and this command take the locks, of the data directory and of databases.
    let data_dir = DataDir::acquire(&directory)?;
    let path = || Ok::<PathBuf, Failure>(data_dir.database_path()?);
    let configured = config.store.url.as_ref();
    let target = if to == SQLITE {
        if configured.is_none() {
            return Err(Failure::usage(NOT_ANOTHER));
        }
        Store::open(&path()?)?
    } else {
        let url: StoreUrl = to
            .parse()
            .map_err(|error| Failure::usage(format!("--to {error}")))?;
        let mut settings = config.store.clone();
        if url.has_password() {
            settings.password = None;
        }
        settings.url = Some(url);
        let options = PostgresOptions::configured(&settings).expect("the URL is set");
        if settings.url == config.store.url {
            return Err(Failure::usage(NOT_ANOTHER));
        }
        Store::connect_with(&options, StoreLock::Exclusive).await?
    };
    let source = Store::open_configured(&config.store, StoreLock::Exclusive, path).await?;
    let name = configured.map_or_else(|| directory.display().to_string(), ToString::to_string);
    let counts = storage::copy(&source, &name, &target).await?;
    let json: Map<String, Value> = counts
        .iter()
        .map(|(table, rows)| ((*table).to_owned(), json!(rows)))
        .collect();
    let rows = counts
        .iter()
        .map(|(table, rows)| vec![(*table).to_owned(), rows.to_string()]);
    let response = Response::table(Value::Object(json), &["TABLE", "ROWS"], rows);
    Ok(response
        .remark("Every row was compared. Set store.url to use the copy, or remove it for SQLite."))
}
