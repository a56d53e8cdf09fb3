//! How a command finds its server or database.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::commands::{Guest, start};
use crate::support::command::Cli;
use crate::support::{Builder, Daemon};

fn stderr(command: &mut Command) -> (i32, String) {
    let output = command.output().expect("parlor runs");
    let text = String::from_utf8(output.stderr).expect("text");
    (output.status.code().expect("an exit code"), text)
}

#[test]
fn without_a_server_a_command_uses_the_database_and_says_so() {
    let cli = Cli::new();
    let added = cli.run(&["user", "add", "alice"]);
    let remark = format!(
        "Using the database in {}: no server is running there.",
        cli.data_dir().display()
    );
    assert_eq!((added.code, added.stderr.trim_end()), (0, &remark[..]));
    assert!(
        cli.run(&["user", "disable", "alice"])
            .stdout
            .ends_with("Disabled user alice\n")
    );
    for command in ["status", "sessions", "reload", "drain", "upgrade"] {
        cli.refused(&[command], "`parlor serve` starts one");
    }
    cli.refused(&["session", "kill", "0123"], "`parlor serve` starts one");
    let daemon = start();
    let (code, said) = stderr(&mut daemon.command(&["user", "add", "alice"]));
    assert_eq!(
        (code, &said[..]),
        (0, ""),
        "through the socket there is nothing to say"
    );
}

#[test]
fn without_a_server_a_command_that_needs_one_does_not_ask_for_the_database() {
    let cli = Cli::new().env("PARLOR_STORE__URL", "postgres://parlor@127.0.0.1:1/parlor");
    fs::create_dir_all(cli.data_dir()).expect("a directory");
    let (code, said) = stderr(&mut cli.command(&["nodes"]));
    let directory = cli.data_dir().display();
    let no_server =
        format!("error: no server is running in {directory}: `parlor serve` starts one\n");
    assert_eq!((code, &said), (1, &no_server));
    // The cause stands before its consequence: the secret of the database may belong to the server alone.
    let (code, said) = stderr(&mut cli.command(&["user", "list"]));
    let server =
        "error: the PostgreSQL server postgres://parlor@127.0.0.1:1/parlor cannot be reached";
    let rest = said
        .strip_prefix(&no_server)
        .unwrap_or_else(|| panic!("{said}"));
    assert!(code == 1 && rest.contains(server), "{said}");
}

#[test]
fn without_the_socket_the_server_applies_changes_of_the_database() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let mut command = daemon.command(&["user", "disable", "alice"]);
    let nowhere = daemon.data_dir().join("nowhere");
    let (code, said) = stderr(command.env("PARLOR_ADMIN__SOCKET", nowhere));
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("applies the change within half a second"),
        "{said}"
    );
    assert_eq!(alice.close_code(), 4005);
}

#[test]
fn a_server_that_does_not_answer_is_not_reported_as_stopped() {
    let daemon = start();
    fs::remove_file(daemon.data_dir().join("parlor.sock")).unwrap();
    for command in ["status", "sessions", "reload", "drain", "upgrade"] {
        let (code, said) = stderr(&mut daemon.command(&[command]));
        let expected = format!(
            "error: the server that runs in {} does not answer at its socket\n",
            daemon.data_dir().display()
        );
        assert_eq!((code, said), (1, expected));
    }
}

#[test]
fn a_failure_names_the_database_that_was_used() {
    let cli = Cli::new();
    cli.run(&["user", "add", "alice"]);
    let outcome = cli.run(&["user", "disable", "mallory"]);
    let remark = format!("Using the database in {}: no", cli.data_dir().display());
    assert_eq!(outcome.code, 1);
    assert!(outcome.stderr.starts_with(&remark), "{}", outcome.stderr);
    cli.refused(&["user", "disable", "mallory"], "there is no user");
}

#[test]
fn a_command_never_reaches_the_server_of_another_directory() {
    let [here, there] = [start(), start()];
    there.cli_json(&["user", "add", "alice"]);
    let mut command = here.command(&["user", "list", "--json"]);
    let socket = there.data_dir().join("parlor.sock");
    let output = command
        .env("PARLOR_ADMIN__SOCKET", socket)
        .output()
        .unwrap();
    let users: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(users, json!([]));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("Using the database in "), "{said}");
}

#[test]
fn a_stale_socket_is_replaced_and_a_clean_stop_removes_it() {
    let daemon = start();
    let socket = daemon.data_dir().join("parlor.sock");
    daemon.signal("KILL");
    let daemon = daemon.restart();
    daemon.cli_json(&["status"]);
    daemon.restart_after(|| assert!(!socket.exists()));
}

#[test]
fn a_configured_socket_accepts_commands() {
    let place = tempfile::tempdir().unwrap();
    let socket = place.path().join("own.sock");
    let path = socket.to_str().expect("a plain path");
    let daemon = Builder::new().env("PARLOR_ADMIN__SOCKET", path).start();
    assert!(socket.exists() && !daemon.data_dir().join("parlor.sock").exists());
    daemon.cli_json(&["status"]);
    let runtime = tempfile::tempdir().unwrap();
    let directories = format!("{}:/nowhere", runtime.path().display());
    let daemon = Builder::new()
        .env("RUNTIME_DIRECTORY", &directories)
        .start();
    assert!(runtime.path().join("parlor.sock").exists());
    daemon.cli_json(&["status"]);
}

/// Under sudo, no variable names the directories of the unit.
#[test]
fn without_an_environment_the_systems_server_and_database_are_found() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("left out: only root can have directories of its own in their places");
        return;
    }
    let script = r#"
        set -e
        mount -t tmpfs none /var/lib
        mount -t tmpfs none /run
        mkdir /run/parlor /home-of-root
        trap 'rmdir /home-of-root' EXIT
        export HOME=/home-of-root
        set -- PARLOR_HTTP__LISTEN=127.0.0.1:0 PARLOR_TURN__LISTEN=127.0.0.1:0 \
            PARLOR_ADMIN__METRICS_LISTEN=
        ! "$PARLOR" user list 2> /run/missing
        STATE_DIRECTORY=/var/lib/parlor RUNTIME_DIRECTORY=/run/parlor \
            env "$@" "$PARLOR" serve 2> /run/log > /run/out &
        serve=$!
        while ! grep -q ready /run/log; do sleep 0.05; kill -0 $serve; done
        "$PARLOR" user add alice 2> /run/running
        kill $serve
        wait $serve
        "$PARLOR" user list 2> /run/alone > /run/list
        tail -n 9 /run/missing /run/running /run/alone /run/list
    "#;
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "sh", "-c", script]).env_clear();
    inside.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    inside
        .env("PARLOR", env!("CARGO_BIN_EXE_parlor"))
        .current_dir("/");
    let output = inside.output().expect("unshare runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    let parts: Vec<&str> = said.split("==> ").collect();
    let [_, missing, running, alone, list] = parts[..] else {
        panic!("{said}");
    };
    assert!(
        missing.contains("/home-of-root/.local/share/parlor does not exist"),
        "{said}"
    );
    assert!(
        running.contains("Using the server whose data directory is /var/lib/parlor."),
        "{said}"
    );
    assert!(
        alone.contains("Using the database in /var/lib/parlor: no server is running there."),
        "{said}"
    );
    assert!(list.contains("alice"), "{said}");
    assert!(
        fs::metadata("/home-of-root").is_err(),
        "nothing is left behind"
    );
}

#[test]
fn a_socket_path_that_is_too_long_is_rejected() {
    let long = format!("/tmp/{}", "s".repeat(200));
    let place = tempfile::tempdir().unwrap();
    let mut command = Daemon::start().command(&["serve"]);
    command.env("PARLOR_SERVER__DATA_DIR", place.path());
    let (code, said) = stderr(command.env("PARLOR_ADMIN__SOCKET", long));
    assert_eq!(code, 1, "{said}");
    assert!(
        said.contains("set admin.socket to a shorter path"),
        "{said}"
    );
}
