//! A start on PostgreSQL: the wait for the server, and the lock of the database.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::support::command::Cli;
use crate::support::http::Client;
use crate::support::postgres::server;
use crate::support::{Builder, DEADLINE};

/// The line of a start that waits for a server that does not answer.
const WAITS_FOR_SERVER: &str = "waiting for the PostgreSQL server";
/// The line of a start that waits for the lock.
const WAITS_FOR_PARLOR: &str = "waiting for another parlor to end";
pub(crate) const EARLY_STOP: &str = "stopping before the server was ready";

/// A `parlor serve` that may not become ready; killed when dropped.
pub(crate) struct Starting {
    child: Child,
    log: BufReader<ChildStderr>,
    /// Dropped before the deadline, it keeps the process from being killed.
    _deadline: mpsc::Sender<()>,
}

impl Starting {
    /// Starts in a data directory of its own with a store on PostgreSQL.
    fn on(url: &str) -> Starting {
        Starting::of(&other(url))
    }

    pub(crate) fn of(cli: &Cli) -> Starting {
        let mut child = cli
            .command(&["serve"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("parlor starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let (deadline, ended) = mpsc::channel();
        let process = child.id().to_string();
        // The end of the log ends every wait.
        thread::spawn(move || {
            if ended.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &process]).status();
            }
        });
        Starting {
            child,
            log,
            _deadline: deadline,
        }
    }

    /// Waits for a line that contains `text`, or for the end of the process.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let mut all = String::new();
        for line in self.log.by_ref().lines().map_while(Result::ok) {
            if line.contains(text) {
                return line;
            }
            all.push_str(&line);
        }
        panic!("no `{text}`: {all}");
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end; returns the exit code and the rest of the log.
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let lines = self.log.by_ref().lines().map_while(Result::ok);
        let log = lines.collect::<Vec<_>>().join("\n");
        (self.child.wait().expect("an end").code(), log)
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Another data directory for the store on PostgreSQL.
pub(crate) fn other(url: &str) -> Cli {
    Cli::new()
        .env("PARLOR_STORE__URL", url)
        .env("PARLOR_HTTP__LISTEN", "127.0.0.1:0")
        .env("PARLOR_TURN__LISTEN", "127.0.0.1:0")
        .env("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0")
}

#[test]
fn a_second_server_or_a_copy_on_a_database_in_use_is_refused_in_one_sentence() {
    let database = server().create(None);
    let url = database.url();
    let daemon = Builder::new().env("PARLOR_STORE__URL", &url).start();
    let starting = Starting::on(&url);
    let mut copies = [
        (Cli::new(), url.as_str()),
        (Cli::new().env("PARLOR_STORE__URL", &url), "sqlite"),
    ]
    .map(|(cli, target)| {
        let mut copy = cli.command(&["store", "copy", "--to", target]);
        let copy = copy.stderr(Stdio::piped()).spawn().expect("parlor starts");
        (cli, copy)
    });
    let (code, log) = starting.ended();
    assert_eq!(code, Some(1));
    assert!(log.contains(WAITS_FOR_PARLOR), "{log}");
    let holder = database.lock_sessions(true).pop().expect("a lock");
    let expected = format!(
        "another parlor uses the database {url} (parlor, server process {holder}); stop it, or name a \
         database of its own in `store.url`"
    );
    let errors: Vec<_> = log
        .lines()
        .filter_map(|line| line.strip_prefix("error: "))
        .collect();
    assert_eq!(errors, [&expected]);
    for (_, copy) in &mut copies {
        let stderr = copy.stderr.take().expect("a pipe");
        let errors: Vec<_> = BufReader::new(stderr)
            .lines()
            .map_while(Result::ok)
            .collect();
        assert_eq!(errors, [format!("error: {expected}")]);
        assert_eq!(copy.wait().expect("an end").code(), Some(1));
    }
    // A command is no second server.
    other(&url).json(&["user", "add", "alice"]);
    assert_eq!(daemon.cli_json(&["user", "list"])[0]["name"], "alice");
    assert_eq!(Client::new(daemon.http()).get("/readyz").status, 200);
}

#[test]
fn a_start_waits_until_another_server_has_ended() {
    let database = server().create(None);
    let url = database.url();
    let daemon = Builder::new().env("PARLOR_STORE__URL", &url).start();
    let cli = other(&url);
    let mut next = Starting::of(&cli);
    next.wait_for(WAITS_FOR_PARLOR);
    assert!(daemon.stop().success());
    next.wait_for(" ready");
    assert_eq!(database.lock_sessions(true).len(), 1);
}

#[test]
fn a_signal_ends_a_start_that_waits() {
    let database = server().create(None);
    let _daemon = Builder::new()
        .env("PARLOR_STORE__URL", &database.url())
        .start();
    // Nobody listens there.
    let nowhere = "postgres://parlor@127.0.0.1:1/parlor";
    for (url, line, signal) in [
        (nowhere, WAITS_FOR_SERVER, "TERM"),
        (nowhere, WAITS_FOR_SERVER, "INT"),
        (&database.url(), WAITS_FOR_PARLOR, "TERM"),
    ] {
        let mut starting = Starting::on(url);
        starting.wait_for(line);
        starting.signal(signal);
        let (code, log) = starting.ended();
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains(EARLY_STOP) && !log.contains("error"), "{log}");
    }
}

#[test]
fn a_start_without_a_server_fails_in_one_sentence_that_says_what_to_do() {
    let mut starting = Starting::on("postgres://parlor@127.0.0.1:1/parlor");
    starting.wait_for(WAITS_FOR_SERVER);
    let (code, log) = starting.ended();
    assert_eq!(code, Some(1), "{log}");
    let sentence = "error: the PostgreSQL server postgres://parlor@127.0.0.1:1/parlor cannot be reached: Connection \
        refused (os error 111); check that it runs, and `store.url`";
    assert_eq!(log, sentence);
}

#[test]
fn a_start_waits_for_a_server_that_is_still_starting() {
    let server = crate::support::postgres::Server::start();
    let database = server.create(None);
    server.kill();
    let cli = other(&database.url());
    let mut starting = Starting::of(&cli);
    starting.wait_for(WAITS_FOR_SERVER);
    server.restart();
    starting.wait_for(" ready");
}
