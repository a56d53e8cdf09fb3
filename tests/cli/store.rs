//! `parlor store`: the data moves to PostgreSQL and back.

use crate::support::command::Cli;
use crate::support::postgres::server;

/// Makes a directory with a user, a room and a member, and no server.
fn filled() -> Cli {
    let cli = Cli::new();
    cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "daily", "--id", "daily"]);
    cli.json(&["room", "add-member", "daily", "alice"]);
    cli
}

#[test]
fn the_data_moves_to_postgres_and_back() {
    let database = server().create(None);
    let cli = filled();
    let users = cli.json(&["user", "list"]);
    let copied = cli.json(&["store", "copy", "--to", &database.url()]);
    assert_eq!(copied["users"], 1);
    assert_eq!(copied["coworking_rooms"], 1);
    assert_eq!(copied["room_participants"], 1);
    cli.refused(
        &["store", "copy", "--to", &database.url()],
        "the target has data already",
    );
    let elsewhere = Cli::new().env("PARLOR_STORE__URL", &database.url());
    assert_eq!(elsewhere.json(&["user", "list"]), users);
    elsewhere.json(&["user", "add", "bob"]);
    let back = elsewhere.json(&["store", "copy", "--to", "sqlite"]);
    assert_eq!(back["users"], 2);
    let data_dir = elsewhere.data_dir().to_str().expect("a plain path");
    let local = Cli::new().env("PARLOR_SERVER__DATA_DIR", data_dir);
    assert_eq!(
        local.json(&["user", "list"]),
        elsewhere.json(&["user", "list"])
    );
}

#[test]
fn a_copy_needs_another_store_and_a_stopped_server() {
    let cli = filled();
    cli.misused(
        &["store", "copy", "--to", "sqlite"],
        "names the store of the configuration",
    );
    cli.misused(
        &["store", "copy", "--to", "mysql://x/y"],
        "--to is not a URL",
    );
}

#[test]
fn the_sql_for_a_role_creates_one_that_parlor_can_use() {
    let cli = Cli::new();
    let database = server().create(None);
    let role = database
        .url()
        .rsplit_once('/')
        .unwrap()
        .1
        .replace("test", "role");
    let sql = cli.json(&["store", "sql", "--role", &role]);
    database.sql(sql["sql"].as_str().unwrap());
    let url = database.url().replace("//parlor@", &format!("//{role}@"));
    let used = Cli::new().env("PARLOR_STORE__URL", &url);
    used.json(&["user", "add", "alice"]);
    database.sql(&format!("DROP OWNED BY {role};; DROP ROLE {role}"));
}
