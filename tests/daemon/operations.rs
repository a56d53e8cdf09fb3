//! Monitoring: readiness and log lines.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::metrics::{caller, scrape, value};
use crate::support::http::Client;
use crate::support::{Builder, DEADLINE, Daemon, log_fields, turn};
use serde_json::{Value, json};

#[test]
fn readiness_names_the_part_that_is_not_ready() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let ready = client.get("/readyz").ok();
    assert_eq!(ready["checks"], json!({"store": "ok", "relay": "ok"}));

    let path = daemon.data_dir().join("parlor.db");
    let other = rusqlite::Connection::open(path).expect("the database opens");
    other.busy_timeout(DEADLINE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").expect("a lock");
    let answer = client.get("/readyz");
    assert_eq!(answer.refusal(), (503, "not-ready".to_owned()));
    let response = answer.json();
    assert_eq!(response["checks"]["relay"], "ok");
    assert_ne!(response["checks"]["store"], "ok");
    let detail = response["detail"].as_str().expect("a sentence");
    assert!(detail.starts_with("Not ready: the database "), "{detail}");
    assert_eq!(client.get("/readyz").status, 503);
    // Metrics that need no database are still there.
    assert!(scrape(&daemon).contains("parlor_turn_allocations"));
    client.get("/healthz").ok();

    other.execute_batch("ROLLBACK").expect("no lock any more");
    client.get("/readyz").ok();
    // Of /readyz, /healthz and /metrics.
    daemon.wait_for_logs(&["\"message\":\"request completed\""], 6);
    let log = daemon.log();
    let causes = log.iter().filter(|line| line.contains("not ready: "));
    assert_eq!(
        causes.count(),
        1,
        "repeated requests do not repeat the log line"
    );
}

/// Waits for a logged event of a user and returns its fields, and those of its spans.
fn event(daemon: &Daemon, user: &str, message: &str) -> Value {
    let field = format!("\"user\":\"{user}\"");
    let message = format!("\"message\":\"{message}\"");
    let line = daemon.wait_for_log_of(&message, |line| {
        line.contains(&message) && line.contains(&field)
    });
    log_fields(&line)
}

#[test]
fn one_user_id_connects_login_websocket_and_allocation() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start();
    let alice = caller(&daemon, "alice");
    let me = alice.get("/api/auth/me").ok();
    let id = me["id"].as_str().expect("an id");
    alice.post("/api/rooms/lobby/join").ok();

    let mut socket = TcpStream::connect(daemon.http()).expect("the server listens");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let token = daemon.cli_json(&["token", "issue", "alice"])["token"].take();
    let request = format!(
        "GET /api/ws/rooms/lobby?token={} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        token.as_str().expect("a token"),
        daemon.http()
    );
    socket.write_all(request.as_bytes()).expect("a request");
    assert_eq!(event(&daemon, id, "WebSocket admitted")["room"], "lobby");
    turn::Client::udp(daemon.turn(), id, Some("lobby")).allocated();
    alice.post("/api/rooms/lobby/leave").ok();
    socket.read_to_end(&mut Vec::new()).expect("an end");

    let issued = event(&daemon, id, "ICE credentials issued");
    assert_eq!(issued["room"], "lobby");
    assert_eq!(event(&daemon, id, "user joined")["room"], "lobby");
    assert_eq!(event(&daemon, id, "user left")["room"], "lobby");
    let completed = event(&daemon, id, "request completed");
    assert_eq!(completed["client"], "127.0.0.1");
    let granted = event(&daemon, id, "allocation granted");
    assert_eq!(
        (&granted["room"], &granted["transport"]),
        (&json!("lobby"), &json!("udp"))
    );
    assert_eq!(event(&daemon, id, "allocation ended")["room"], "lobby");
    let ended = event(&daemon, id, "WebSocket ended");
    assert_eq!(
        (&ended["room"], &ended["code"]),
        (&json!("lobby"), &json!(4003))
    );
}

#[test]
fn rejections_are_logged_with_their_reason() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    let guess = json!({"username": "nobody", "password": "a-guess"});
    client.post_json("/api/auth/login", &guess);
    let line = daemon.wait_for_log("login refused");
    assert!(line.contains("\"level\":\"INFO\""), "{line}");
    assert!(line.contains("\"client\":\"127.0.0.1\""), "{line}");
    assert!(line.contains("wrong name or password"), "{line}");

    client.with_token("no.jwt.this").get("/api/auth/me");
    let line = daemon.wait_for_log("the token is not a JWT");
    assert!(line.contains("\"level\":\"DEBUG\""), "{line}");
    let line = daemon.wait_for_log_of("the response", |line| {
        line.contains("request completed") && line.contains("\"route\":\"/api/auth/me\"")
    });
    assert!(line.contains("\"code\":\"unauthorized\""), "{line}");
}

#[test]
fn each_limit_that_an_attack_reaches_is_logged_once() {
    let daemon = Daemon::start();
    let client = Client::new(daemon.http());
    // An invalid login counts as an attempt, and takes no time.
    for _ in 0..200 {
        client.post_json("/api/auth/login", &json!({}));
        client.post_json("/api/auth/guest", &json!({}));
    }
    daemon.wait_for_log("too many attempts from one address");
    daemon.wait_for_log("too many attempts at invites from one address");
    let log = daemon.log();
    let response = log
        .iter()
        .filter(|line| line.contains("login rate limit reached"));
    assert_eq!(response.count(), 2, "one for each limit");
}

/// Opens the database as another process does.
fn another_process(daemon: &Daemon) -> rusqlite::Connection {
    let path = daemon.data_dir().join("parlor.db");
    let other = rusqlite::Connection::open(path).expect("the database opens");
    other.busy_timeout(DEADLINE).unwrap();
    other
}

#[test]
fn changes_by_another_process_are_logged() {
    let daemon = Daemon::start();
    let id = daemon.cli_json(&["user", "add", "alice"])["id"].take();
    let id = id.as_str().expect("an id");
    let time = "2020-01-01T00:00:00Z";
    let other = another_process(&daemon);
    let write = |sql: &str| other.execute_batch(sql).expect("a write");
    write(&format!("UPDATE users SET disabled_at = '{time}'"));
    event(&daemon, id, "user disabled or deleted by another process");
    write("UPDATE users SET disabled_at = NULL");
    event(&daemon, id, "user enabled by another process");
    write(&format!("UPDATE coworking_rooms SET closed_at = '{time}'"));
    let line = daemon.wait_for_log("room closed by another process");
    assert!(line.contains("\"room\":\"lobby\""), "{line}");
}

#[test]
fn a_forgotten_guest_is_not_logged_as_enabled() {
    let daemon = Daemon::start();
    let id = daemon.cli_json(&["user", "add", "alice"])["id"].take();
    let id = id.as_str().expect("an id");
    let time = "2020-01-01T00:00:00Z";
    let other = another_process(&daemon);
    let write = |sql: &str| other.execute_batch(sql).expect("a write");
    write(&format!("UPDATE users SET disabled_at = '{time}'"));
    let disabled = "user disabled or deleted by another process";
    event(&daemon, id, disabled);
    write("DELETE FROM users");
    let bob = daemon.cli_json(&["user", "add", "bob"])["id"].take();
    write(&format!("UPDATE users SET disabled_at = '{time}'"));
    event(&daemon, bob.as_str().expect("an id"), disabled);
    // When the next change is logged, all lines about the previous one have been written.
    write(&format!("UPDATE coworking_rooms SET closed_at = '{time}'"));
    daemon.wait_for_log("room closed by another process");
    assert!(!daemon.log().concat().contains("user enabled"));
}

/// Makes the server log one line for each of this many requests.
fn fill_the_log(daemon: &Daemon, lines: usize) {
    let mut socket = TcpStream::connect(daemon.metrics()).expect("the server listens");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut writing = socket.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        for _ in 0..lines / 100 {
            writing.write_all(request.repeat(100).as_bytes())?;
        }
        writing.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    });
    let mut answers = String::new();
    socket.read_to_string(&mut answers).expect("answers");
    sender.join().unwrap().expect("requests");
    assert!(answers.matches("HTTP/1.1 200").count() > lines);
}

#[test]
fn an_unread_log_blocks_neither_relay_nor_http_nor_shutdown() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start();
    daemon.pause_reading(true);
    // More than pipe and queue can hold together.
    fill_the_log(&daemon, 8_000);
    let dropped = value(&scrape(&daemon), "parlor_log_lines_dropped_total");
    assert!(dropped > 100.0, "{dropped}");
    // The server tries to log each of these.
    let mut guess = turn::Client::udp(daemon.turn(), "alice", None);
    guess.minted.credential = "a guess".to_owned();
    assert_eq!(guess.allocate().code(), Some(401));
    turn::Client::udp(daemon.turn(), "alice", None).allocated();
    Client::new(daemon.http()).get("/readyz").ok();

    daemon.pause_reading(false);
    let line = daemon.wait_for_log("log lines were dropped: standard error was not read");
    let count =
        |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["fields"]["count"].as_f64();
    let announced = count(&line).expect("a number");
    let counted = value(&scrape(&daemon), "parlor_log_lines_dropped_total");
    assert!(
        dropped <= announced && announced == counted,
        "{dropped} {announced} {counted}"
    );
    fill_the_log(&daemon, 100);
    let log = daemon.log();
    let announcements = log
        .iter()
        .filter(|line| line.contains("log lines were dropped"));
    assert_eq!(announcements.count(), 1);

    daemon.pause_reading(true);
    fill_the_log(&daemon, 1_000);
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn queued_log_lines_are_written_before_exit() {
    let daemon = Daemon::start();
    fill_the_log(&daemon, 100);
    daemon.signal("TERM");
    daemon.wait_for_log("stopping");
    let answered = daemon.log();
    let answered = answered
        .iter()
        .filter(|line| line.contains("\"route\":\"/healthz\""));
    assert_eq!(answered.count(), 101);
}

#[test]
fn the_documentation_has_every_line_that_the_source_logs_and_no_other() {
    let source = source(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let logged = logged_lines(&source);
    let text = include_str!("../../docs/reference/log-lines.md");
    let levels = ["error", "warn", "info", "debug"];
    let mut lines = BTreeSet::new();
    for row in text.lines() {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        // A line without backticks is a description of variable text.
        if cells.len() != 6 || !levels.contains(&cells[1]) || !cells[2].starts_with('`') {
            continue;
        }
        for line in cells[2].split("`, `") {
            let line = line.trim_matches('`');
            let begin = line.trim_end_matches('…');
            assert!(source.contains(&format!("\"{begin}")), "{line}");
            let is_new = lines.insert((cells[1], line));
            assert!(is_new, "{line} stands there twice");
        }
    }
    assert!(logged.len() > 100, "{logged:?}");
    for (level, message) in &logged {
        let has = |(known, line): &(&str, &str)| match line.strip_suffix('…') {
            Some(begin) => known == level && message.starts_with(begin),
            None => known == level && message == line,
        };
        assert!(
            lines.iter().any(has),
            "log-lines.md lacks {level} {message}"
        );
    }
}

/// Returns the level and the text of each event in a source text, except for variable texts.
fn logged_lines(source: &str) -> BTreeSet<(&str, String)> {
    let calls = source.split("tracing::").skip(1);
    let calls = calls.filter_map(|call| call.split_once("!("));
    let calls = calls.filter(|(level, _)| ["error", "warn", "info", "debug"].contains(level));
    let lines = calls.filter_map(|(level, args)| Some((level, last_literal(args)?)));
    lines.filter(|(_, text)| !text.starts_with('{')).collect()
}

/// Returns the last string literal among the arguments of a macro, which is an event's message.
fn last_literal(args: &str) -> Option<String> {
    let (mut last, mut depth) = (None, 1);
    let mut chars = args.chars();
    while depth > 0 {
        match chars.next()? {
            '(' => depth += 1,
            ')' => depth -= 1,
            '"' => last = Some(literal(&mut chars)?),
            _ => {}
        }
    }
    last
}

/// Reads a string literal to its closing quote. A backslash at the end of a line joins it to the next.
fn literal(chars: &mut std::str::Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '"' => return Some(text),
            '\\' => match chars.next()? {
                '\n' => {
                    let rest = chars.as_str().trim_start();
                    *chars = rest.chars();
                }
                escaped => text.push(escaped),
            },
            other => text.push(other),
        }
    }
}

/// Returns the text of all Rust files below a directory.
fn source(directory: &Path) -> String {
    let entries = fs::read_dir(directory).expect("a directory");
    let texts = entries.map(|entry| {
        let path = entry.expect("an entry").path();
        match path.extension().is_some_and(|known| known == "rs") {
            true => fs::read_to_string(&path).expect("text"),
            false if path.is_dir() => source(&path),
            false => String::new(),
        }
    });
    texts.collect()
}
