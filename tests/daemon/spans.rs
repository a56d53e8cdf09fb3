//! The spans of connections, requests and WebSockets in the log.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::support::socket;
use crate::support::{Builder, DEADLINE, Daemon, turn};

/// A user of a daemon.
struct User {
    id: String,
    token: String,
}

impl User {
    /// Adds a user.
    fn new(daemon: &Daemon, name: &str) -> User {
        let id = daemon.cli_json(&["user", "add", name])["id"].take();
        let token = daemon.cli_json(&["token", "issue", name])["token"].take();
        let text = |value: Value| value.as_str().expect("a string").to_owned();
        let (id, token) = (text(id), text(token));
        User { id, token }
    }

    /// Joins `lobby`, opens a WebSocket and leaves again. Returns the client's address.
    fn visit_lobby(&self, daemon: &Daemon) -> SocketAddr {
        let client = Client::new(daemon.http()).with_token(&self.token);
        client.post("/api/rooms/lobby/join").ok();
        let opened = socket::open(daemon.http(), "lobby", &self.token, "");
        let mut socket = opened.expect("an upgrade");
        let address = socket.get_ref().local_addr().unwrap();
        assert!(socket::has_entered(&mut socket));
        client.post("/api/rooms/lobby/leave").ok();
        while socket.read().is_ok() {}
        address
    }
}

/// Returns the spans of a line in JSON, by their names.
fn spans(line: &str) -> Vec<(String, Value)> {
    let line: Value = serde_json::from_str(line).expect("JSON");
    let spans = line["spans"].as_array().cloned().unwrap_or_default();
    spans
        .into_iter()
        .map(|span| (span["name"].as_str().expect("a name").to_owned(), span))
        .collect()
}

fn names(spans: &[(String, Value)]) -> Vec<&str> {
    spans.iter().map(|(name, _)| &**name).collect()
}

fn message(line: &str) -> String {
    let line: Value = serde_json::from_str(line).expect("JSON");
    line["fields"]["message"].as_str().unwrap_or("").to_owned()
}

/// Sends these requests over one connection; returns its address.
fn requests(server: SocketAddr, paths: &[&str]) -> SocketAddr {
    let mut socket = TcpStream::connect(server).expect("the server listens");
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    for (index, path) in paths.iter().enumerate() {
        let last = index + 1 == paths.len();
        let end = if last { "Connection: close\r\n" } else { "" };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{end}\r\n");
        socket.write_all(request.as_bytes()).expect("a request");
    }
    let address = socket.local_addr().unwrap();
    let mut answers = String::new();
    socket.read_to_string(&mut answers).expect("answers");
    assert_eq!(answers.matches("HTTP/1.1 ").count(), paths.len());
    address
}

#[test]
fn lines_of_two_connections_have_different_numbers() {
    let daemon = Daemon::start();
    let paths = ["/healthz", "/api/auth/me?token=abc", "/nowhere"];
    let clients = [0, 1].map(|_| requests(daemon.http(), &paths).to_string());
    daemon.wait_for_logs(&["\"message\":\"request completed\""], 2 * paths.len());
    let log = daemon.log();
    let numbers = clients.map(|client| {
        let of_client = |line: &&String| line.contains(&client);
        let lines: Vec<_> = log.iter().filter(of_client).collect();
        // The token is missing: a line of its own before the response.
        let messages: Vec<_> = lines.iter().map(|line| message(line)).collect();
        assert_eq!(
            messages,
            [
                "request completed",
                "not authenticated",
                "request completed",
                "request completed"
            ]
        );
        let mut numbers = Vec::new();
        let mut routes = Vec::new();
        for line in lines {
            let spans = spans(line);
            assert_eq!(names(&spans), ["connection", "request"], "{line}");
            let (connection, request) = (&spans[0].1, &spans[1].1);
            assert_eq!(connection["peer"], client, "{line}");
            assert_eq!(connection["service"], "http", "{line}");
            assert_eq!(request["method"], "GET", "{line}");
            assert_eq!(request["client"], "127.0.0.1", "{line}");
            numbers.push(connection["connection"].as_u64().expect("a number"));
            routes.push(request["route"].clone());
        }
        assert_eq!(routes, ["/healthz", "/api/auth/me", "/api/auth/me", ""]);
        assert!(numbers.iter().all(|one| *one == numbers[0]), "{numbers:?}");
        numbers[0]
    });
    assert_ne!(numbers[0], numbers[1]);
    assert!(!log.concat().contains("abc"), "a query is logged");
}

#[test]
fn requests_over_http2_have_the_span_of_their_connection() {
    let daemon = Builder::new()
        .env("PARLOR_TLS__MODE", "self-signed")
        .start();
    let url = |path| format!("https://{}{path}", daemon.http());
    let urls = [url("/healthz"), url("/api/auth/me")];
    let mut curl = Command::new("curl");
    let curl = curl.args(["-sk", "--http2"]).args(urls).output();
    let curl = curl.expect("curl");
    assert!(curl.status.success(), "{curl:?}");
    let [health, me] = ["/healthz", "/api/auth/me"].map(|route| {
        let line = daemon.wait_for_log_of(route, |line| {
            line.contains("request completed") && line.contains(route)
        });
        spans(&line)
    });
    assert_eq!(names(&health), ["connection", "request"]);
    assert!(health[0].1["connection"].is_u64(), "{health:?}");
    assert_eq!(health[0], me[0]);
    assert_eq!(me[1].1["route"], "/api/auth/me");
}

#[test]
fn a_websocket_has_a_span_with_its_user_and_room_below_its_connection() {
    let daemon = Daemon::start();
    let alice = User::new(&daemon, "alice");
    let address = alice.visit_lobby(&daemon).to_string();
    let lines: Vec<_> = ["WebSocket admitted", "WebSocket ended"]
        .map(|text| daemon.wait_for_log(text))
        .into();
    let answered = daemon.wait_for_log("/api/ws/rooms/{room}");
    let of_request = spans(&answered);
    assert_eq!(names(&of_request), ["connection", "request"]);
    assert_eq!(of_request[1].1["user"], *alice.id);
    for line in &lines {
        let spans = spans(line);
        assert_eq!(names(&spans), ["connection", "websocket"], "{line}");
        assert_eq!(spans[0], of_request[0]);
        assert_eq!(spans[0].1["peer"], address);
        assert_eq!(spans[1].1["user"], *alice.id);
        assert_eq!(spans[1].1["room"], "lobby");
    }
    let ended: Value = serde_json::from_str(&lines[1]).expect("JSON");
    assert_eq!(ended["fields"]["code"], 4003);
    // The work of a request that outlives its client has its span, too.
    let left = daemon.wait_for_log("user left");
    let left = spans(&left);
    assert_eq!(left[1].1["route"], "/api/rooms/{room}/leave");
    assert!(!daemon.log().concat().contains(&alice.token));
}

#[test]
fn a_rejected_websocket_has_its_user_and_its_reason_in_one_span() {
    let daemon = Daemon::start();
    let alice = User::new(&daemon, "alice");
    for token in ["no.jwt.this", &alice.token] {
        let opened = socket::open(daemon.http(), "lobby", token, "");
        let mut socket = opened.expect("an upgrade");
        while socket.read().is_ok() {}
    }
    let reason = spans(&daemon.wait_for_log("WebSocket not authenticated"));
    let ended = spans(&daemon.wait_for_log("\"code\":4001"));
    assert_eq!(names(&reason), ["connection", "websocket"]);
    assert_eq!(reason, ended);
    assert_eq!(reason[1].1["user"], Value::Null);
    let not_member = spans(&daemon.wait_for_log("\"code\":4003"));
    assert_eq!(not_member[1].1["user"], *alice.id);
}

#[test]
fn text_lines_begin_with_their_spans() {
    let daemon = Builder::new().env("PARLOR_LOG__FORMAT", "text").start();
    let alice = User::new(&daemon, "alice");
    let address = alice.visit_lobby(&daemon);
    let (line, id) = (daemon.wait_for_log("WebSocket ended"), &alice.id);
    let number = line.split_once("connection{connection=").expect("a span").1;
    let number = number.split_once(' ').expect("a number").0;
    number.parse::<u64>().expect("a number");
    let connection =
        format!("DEBUG connection{{connection={number} service=\"http\" peer={address}}}");
    let websocket = format!("websocket{{room=\"lobby\" user=\"{id}\"}}");
    let text = format!("{connection}:{websocket}: WebSocket ended code=4003 by=\"server\"");
    assert!(line.ends_with(&text), "{line}");
    let request = format!(
        "{connection}:request{{method=GET route=\"/api/ws/rooms/{{room}}\" client=127.0.0.1 \
         user=\"{id}\"}}: request completed status=101"
    );
    daemon.wait_for_log(&request);
}

#[test]
fn allocations_over_tcp_name_their_connection() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .start();
    let numbers = [daemon.turn(), daemon.http()].map(|server| {
        let user = if server == daemon.turn() {
            "alice"
        } else {
            "bob"
        };
        turn::Client::tcp(server, user).allocated();
        let line = daemon.wait_for_log_of(user, |line| {
            line.contains("allocation granted") && line.contains(&format!("\"{user}\""))
        });
        let line: Value = serde_json::from_str(&line).expect("JSON");
        line["fields"]["connection"].as_u64().expect("a number")
    });
    assert_ne!(numbers[0], numbers[1]);
    turn::Client::udp(daemon.turn(), "carol", None).allocated();
    let line = daemon.wait_for_log_of("carol", |line| {
        line.contains("allocation granted") && line.contains("\"carol\"")
    });
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(line["fields"]["connection"], Value::Null);
}

#[test]
fn above_debug_a_connection_is_a_number_and_no_line_has_a_span() {
    let daemon = Builder::new()
        .env("PARLOR_TURN__SECRET", turn::SECRET)
        .env("PARLOR_TURN__MAX_ALLOCATIONS_PER_USER", "1")
        .env("PARLOR_LOG__LEVEL", "info")
        .start();
    let started = daemon.log().len();
    let alice = User::new(&daemon, "alice");
    let address = alice.visit_lobby(&daemon).to_string();
    let client = Client::new(daemon.http());
    client.with_token("no.jwt.this").get("/api/auth/me");
    let granted = turn::Client::udp(daemon.turn(), &alice.id, None).allocated();
    assert!(granted.port() > 0);
    // Two streams of one user: the second one is over the quota.
    let mut streams = [0, 1].map(|_| turn::Client::tcp(daemon.turn(), "dave"));
    streams[0].allocated();
    assert_eq!(streams[1].allocate().code(), Some(486));
    let line = daemon.wait_for_log("relay quota reached");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    assert!(line["fields"]["connection"].is_u64(), "{line}");
    // A line that is logged later than those of the requests.
    let guess = json!({"username": "nobody", "password": "a-guess"});
    client.post_json("/api/auth/login", &guess);
    daemon.wait_for_log("login refused");
    for line in &daemon.log()[started..] {
        let value: Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(value["spans"], Value::Null, "{line}");
        // This line is about an address, which fail2ban bans.
        if message(line) == "login refused" {
            continue;
        }
        for personal in [&*alice.id, "lobby", "dave", "127.0.0.1", &*address] {
            assert!(!line.contains(personal), "{personal} in {line}");
        }
    }
}
