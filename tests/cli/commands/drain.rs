//! `parlor drain` from its start to the end of the server.

use std::process::{Child, Stdio};

use serde_json::{Value, json};

use crate::commands::{Guest, start};
use crate::support::Daemon;

#[test]
fn a_drain_shows_progress_and_exits_0_when_no_relay_was_interrupted() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let drain = spawn(&daemon, &["drain", "--timeout", "1000h"]);
    daemon.wait_for_log("\"draining\"");
    daemon.cli_json(&["user", "disable", "alice"]); // ends her connection and her relay
    assert_eq!(alice.close_code(), 4005);
    drop(alice);

    let output = drain.wait_with_output().expect("parlor ends");
    let (said, shown) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{shown}");
    assert!(
        said.starts_with("Drained in ") && said.ends_with(": no relay was interrupted\n"),
        "{said}"
    );
    assert!(
        shown.starts_with("Draining: 1 connection and 1 relay left, "),
        "{shown}"
    );
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_drain_that_times_out_exits_1_with_one_json_object() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let drain = spawn(&daemon, &["drain", "--timeout", "1s", "--json"]);
    assert_eq!(alice.close_code(), 1012);
    drop(alice.socket); // the relay stays
    let output = drain.wait_with_output().expect("parlor ends");
    assert_eq!(output.status.code(), Some(1));
    let response: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    let expected = json!({"connections": 1, "relays": 1, "timeout": 1, "seconds": 1, "cut_off": 1});
    assert_eq!(response, expected);
    assert_eq!(text(output.stderr), "");
    assert_eq!(daemon.wait().code(), Some(0));
}

#[test]
fn a_drain_that_a_signal_ends_reports_interrupted_relays() {
    let daemon = start();
    let _alice = Guest::enters(&daemon, "lobby", "alice");
    let drain = spawn(&daemon, &["drain", "--timeout", "1000h"]);
    daemon.wait_for_log("\"draining\"");
    daemon.signal("TERM");
    let output = drain.wait_with_output().expect("parlor ends");
    let said = text(output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.starts_with("Stopped after ") && said.ends_with(": 1 relay was interrupted\n"),
        "{said}"
    );
}

#[test]
fn a_detached_drain_returns_at_once_and_continues() {
    let daemon = start();
    let mut alice = Guest::enters(&daemon, "lobby", "alice");
    let response = daemon.cli(&["drain", "--timeout", "1000h", "--detach"]);
    assert!(response.status.success());
    let said = text(response.stdout);
    assert!(
        said.starts_with("Draining: 1 connection and 1 relay left, "),
        "{said}"
    );
    daemon.wait_for_log("\"draining\"");
    assert!(alice.has_relay());
}

fn spawn(daemon: &Daemon, args: &[&str]) -> Child {
    let mut command = daemon.command(args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("parlor starts")
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("text")
}
