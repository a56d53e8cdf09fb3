//! `parlor store`: the data moves to PostgreSQL and back.

use crate::support::command::Cli;
use crate::support::postgres::{Server, server};

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
fn an_unfinished_copy_serves_no_one_until_the_same_copy_has_finished() {
    let database = server().create(None);
    let local = filled();
    let remote = Cli::new().env("PARLOR_STORE__URL", &database.url());
    let to_remote = ["store", "copy", "--to", &database.url()];
    let back = filled();
    let unfinished = |database: &str, origin: &str| {
        format!(
            "the database {database} has an unfinished copy of {origin}: run the same `parlor store copy` again"
        )
    };
    // As after an interruption before the last rows.
    local.json(&to_remote);
    let origin = local.data_dir().to_str().unwrap();
    database.sql(&format!(
        "CREATE TABLE parlor.unfinished_copy AS SELECT '{origin}' AS source;;
         DELETE FROM parlor.room_participants"
    ));
    let refusal = unfinished(&database.url(), origin);
    remote.refused(&["user", "add", "bob"], &refusal);
    remote.refused(&["store", "copy", "--to", "sqlite"], &refusal);
    remote.refused(&["serve"], &refusal);
    assert_eq!(local.json(&to_remote)["room_participants"], 1);
    remote.json(&["user", "add", "bob"]);

    let path = back.data_dir().join("parlor.db");
    std::fs::remove_file(&path).unwrap();
    let url = database.url();
    let same_directory = || {
        let data_dir = back.data_dir().to_str().unwrap();
        Cli::new().env("PARLOR_SERVER__DATA_DIR", data_dir)
    };
    let source = same_directory().env("PARLOR_STORE__URL", &url);
    source.json(&["store", "copy", "--to", "sqlite"]);
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(&format!(
        "CREATE TABLE unfinished_copy (source TEXT NOT NULL) STRICT;
         INSERT INTO unfinished_copy VALUES ('{url}'); DELETE FROM room_participants"
    ))
    .unwrap();
    drop(file);
    let refusal = unfinished(path.to_str().unwrap(), &url);
    back.refused(&["user", "add", "carol"], &refusal);
    back.refused(&["serve"], &refusal);
    let copied = source.json(&["store", "copy", "--to", "sqlite"]);
    assert_eq!(copied["users"], 2);
    back.json(&["user", "add", "carol"]);
}

#[test]
fn a_copy_needs_another_store_and_a_stopped_server() {
    let cli = filled();
    cli.misused(
        &["store", "copy", "--to", "sqlite"],
        "names the store of the configuration",
    );
    let url = "postgres://parlor@127.0.0.1:1/parlor";
    Cli::new().env("PARLOR_STORE__URL", url).misused(
        &["store", "copy", "--to", url],
        "names the store of the configuration",
    );
    cli.misused(
        &["store", "copy", "--to", "mysql://x/y"],
        "--to is not a URL",
    );
}

#[test]
fn the_sql_for_a_role_creates_one_that_parlor_can_use() {
    let database = server().create(None);
    // The owner of the database is not a superuser.
    let (owner, role) = (database.role("owner"), database.role("role"));
    database.sql(&format!(
        "CREATE ROLE {owner} LOGIN CREATEROLE;; ALTER DATABASE {} OWNER TO {owner}",
        database.name()
    ));
    let sql = Cli::new().json(&["store", "sql", "--role", &role]);
    let sql = sql["sql"].as_str().unwrap();
    database.sql(&format!("SET SESSION AUTHORIZATION {owner}; {sql}"));
    let url = database.url_of(&role);
    let used = Cli::new().env("PARLOR_STORE__URL", &url);
    used.json(&["user", "add", "alice"]);
    // The grants for readers are comments.
    let reader = database.role("reader");
    let grants = sql.lines().filter_map(|line| line.strip_prefix("-- "));
    let grants = grants.filter(|line| line.starts_with("GRANT") || line.starts_with("ALTER"));
    let grants = grants
        .collect::<String>()
        .replace(" reader", &format!(" {reader}"));
    let names = database.sql(&format!(
        "CREATE ROLE {reader};; SET SESSION AUTHORIZATION {owner}; {grants};;
         RESET SESSION AUTHORIZATION; SET ROLE {reader}; SELECT name FROM parlor.users"
    ));
    assert_eq!(names, "alice");
}

#[test]
fn the_documented_commands_restore_a_dump_with_the_role_of_parlor() {
    let database = server().create(None);
    let role = database.role("role");
    let sql = Cli::new().json(&["store", "sql", "--role", &role]);
    database.sql(sql["sql"].as_str().unwrap());
    let url = database.url_of(&role);
    let cli = Cli::new().env("PARLOR_STORE__URL", &url);
    let run = |program: &str| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/run/postgresql.md");
        let document = std::fs::read_to_string(path).unwrap();
        let command = document.lines().find(|line| line.starts_with(program));
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", command.expect(program)]);
        shell.env("URL", &url).current_dir(cli.place());
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    cli.json(&["user", "add", "alice"]);
    cli.json(&["room", "create", "daily", "--id", "daily"]);
    let users = cli.json(&["user", "list"]);
    run("pg_dump ");
    cli.json(&["user", "add", "bob"]);
    cli.json(&["room", "add-member", "daily", "bob"]);
    run("pg_restore ");
    assert_eq!(cli.json(&["user", "list"]), users);
    cli.json(&["room", "add-member", "daily", "alice"]);
}

#[test]
fn a_password_in_the_url_of_the_target_replaces_that_of_the_settings() {
    let server = Server::start_with("", |data| {
        let rules = "local all parlor trust\nlocal all all scram-sha-256\n";
        std::fs::write(data.join("pg_hba.conf"), rules).unwrap();
    });
    let database = server.create(None);
    database.sql(&format!(
        "CREATE ROLE target LOGIN PASSWORD 'right';; GRANT CREATE ON DATABASE {} TO target",
        database.name()
    ));
    let cli = filled().env("PARLOR_STORE__PASSWORD", "wrong");
    let failed = &["store", "copy", "--to", &database.url_of("target")];
    cli.refused(failed, "password authentication failed");
    let url = database.url_of("target:right");
    assert_eq!(cli.json(&["store", "copy", "--to", &url])["users"], 1);
}
