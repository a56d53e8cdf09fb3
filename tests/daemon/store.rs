//! Guarantees of the database, observed from other processes.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::process::Stdio;

use crate::support::http::Client;
use crate::support::{Builder, Daemon, parlor};
use rusqlite::Connection;

fn database(daemon: &Daemon) -> Connection {
    Connection::open(daemon.data_dir().join("parlor.db")).expect("the database opens")
}

/// The environment of a command that works on the database without the admin socket.
fn environment_without_socket(daemon: &Daemon) -> HashMap<String, String> {
    let dir = daemon.data_dir().to_str().unwrap();
    let variables = [
        ("PARLOR_SERVER__DATA_DIR", dir),
        ("PARLOR_ADMIN__SOCKET", "/nowhere"),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn an_acknowledged_join_survives_a_kill() {
    let daemon = Daemon::start();
    let mut users = BTreeSet::new();
    for number in 0..5 {
        let name = format!("user-{number}");
        let id = daemon.cli_json(&["user", "add", &name])["id"].to_string();
        let issued = daemon.cli_json(&["token", "issue", &name]);
        let caller = Client::new(daemon.http()).with_token(issued["token"].as_str().unwrap());
        caller.post("/api/rooms/lobby/join").ok();
        users.insert(id);
    }
    daemon.signal("KILL");
    let daemon = daemon.restart();
    let issued = daemon.cli_json(&["token", "issue", "user-0"]);
    let caller = Client::new(daemon.http()).with_token(issued["token"].as_str().unwrap());
    let answer = caller.get("/api/rooms/lobby/participants").ok();
    let members = answer["participants"].as_array().unwrap().iter();
    let members: BTreeSet<_> = members
        .map(|member| member["user_id"].to_string())
        .collect();
    assert_eq!(members, users);
}

#[test]
fn commands_in_many_processes_write_beside_the_server() {
    let daemon = Daemon::start();
    let environment = environment_without_socket(&daemon);
    let running: Vec<_> = (0..8)
        .map(|number| {
            let mut command = parlor(&environment);
            command.args(["user", "add", &format!("user-{number}")]);
            command
                .stdout(Stdio::null())
                .spawn()
                .expect("parlor starts")
        })
        .collect();
    for mut command in running {
        assert!(command.wait().unwrap().success());
    }
    let users = daemon.cli_json(&["user", "list"]);
    assert_eq!(users.as_array().unwrap().len(), 8);
}

#[test]
fn a_restart_finds_all_data_unchanged() {
    let daemon = Daemon::start();
    daemon.cli_json(&["user", "add", "alice"]);
    let daemon = daemon.restart();
    assert_eq!(daemon.cli_json(&["user", "list"])[0]["name"], "alice");
    let journal: String = database(&daemon)
        .query_row("PRAGMA journal_mode", (), |row| row.get(0))
        .unwrap();
    assert_eq!(journal, "wal");
}

#[test]
fn a_newer_schema_is_rejected_with_one_sentence_and_exit_code_1() {
    let daemon = Daemon::start();
    database(&daemon)
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let environment = environment_without_socket(&daemon);
    let output = parlor(&environment)
        .args(["user", "list"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("schema 99") && said.contains("parlor.db"),
        "{said}"
    );
}

#[test]
fn the_tables_have_the_names_of_the_existing_schema() {
    let daemon = Builder::new().start();
    let database = database(&daemon);
    let mut names = database
        .prepare("SELECT name FROM pragma_table_list WHERE schema = 'main' AND strict")
        .unwrap();
    let names: BTreeSet<String> = names
        .query_map((), |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let expected = [
        "acme_values",
        "coworking_rooms",
        "room_audit",
        "room_bans",
        "room_invites",
        "room_messages",
        "room_moderators",
        "room_participants",
        "users",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
}
