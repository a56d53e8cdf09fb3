//! Many people at once: everybody is connected, everybody is reached, and the daemon says how many
//! descriptors it has for them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use parlor::config::Auth;
use parlor::relay::descriptor_limit::raise_descriptor_limit;
use parlor::secret::Secret;
use parlor::storage::{JoinGrant, NewRoom, PostgresOptions, Store};
use parlor::token::{Claims, Tokens};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::support::{Builder, DEADLINE, Daemon};

/// Connections in a normal run; the variable `CONNECTIONS` asks for others
/// (`tests/long/connections`).
const CONNECTIONS: usize = 1000;
/// People in a room.
const ROOM: usize = 8;
/// Connections that are being opened at a time.
const AT_A_TIME: usize = 64;
/// Descriptors of this process that are not connections.
const OTHERS: usize = 64;
const SECRET: &str = "a secret of the tests, thirty-two bytes and more";

type Socket = WebSocketStream<TcpStream>;

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_all_receive_their_messages() {
    let requested =
        std::env::var("CONNECTIONS").map_or(CONNECTIONS, |n| n.parse().expect("a number"));
    let descriptors = raise_descriptor_limit() as usize;
    let people = requested.min(descriptors.saturating_sub(OTHERS)) / ROOM * ROOM;
    let place = TempDir::new().expect("a temporary directory");
    let builder = Builder::new();
    let store = match builder.postgres_url() {
        Some(url) => connect(url).await,
        None => Store::open(&place.path().join("parlor.db")).expect("a database"),
    };
    populate(store, people).await;
    let daemon = builder
        .env(
            "PARLOR_SERVER__DATA_DIR",
            place.path().to_str().expect("a plain path"),
        )
        .env("SECRET_KEY", SECRET)
        .env("PARLOR_HTTP__MAX_CONNECTIONS_PER_ADDRESS", "1000000")
        .env("PARLOR_LOG__LEVEL", "info")
        .start();

    let before = memory(&daemon);
    let sockets = open_all(daemon.http(), people).await;
    let each = (memory(&daemon) - before) / people as u64;
    println!(
        "{people} connections, {requested} requested for, {} rooms, {descriptors} descriptors allowed, \
         {each} bytes of the daemon's memory each",
        people / ROOM
    );
    each_receives_a_message_of_a_neighbour(sockets).await;
    let text = daemon.wait_for_log("descriptor limit");
    assert!(text.contains(&descriptors.to_string()), "{text}");
}

#[test]
fn an_incomplete_head_takes_a_few_kilobytes() {
    const CLIENTS: u64 = 1000;
    let daemon = Builder::new().env("PARLOR_LOG__LEVEL", "info").start();
    let before = memory(&daemon);
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(daemon.http()).expect("a connection");
            let half = b"GET / HTTP/1.1\r\nHost: talk.example.org\r\nAccept: */*\r\n";
            std::io::Write::write_all(&mut client, half).expect("sent");
            client
        })
        .collect();
    // Earlier connections have been read when a later one gets its response.
    let answer = crate::support::http::Client::new(daemon.http()).get("/healthz");
    assert_eq!(answer.status, 200);
    let each = (memory(&daemon) - before) / CLIENTS;
    println!("{each} bytes for half a head");
    assert!(each < 12 * 1024, "{each} bytes each");
    drop(clients);
}

#[test]
fn a_descriptor_limit_below_the_configured_connections_is_logged_at_the_start() {
    for (limit, warned) in [(6000, true), (7000, false)] {
        let cli = crate::support::command::Cli::new();
        let serve = "ulimit -n $0 && exec \"$1\" serve";
        let mut daemon = Command::new("sh")
            .args(["-c", serve, &limit.to_string()])
            .arg(env!("CARGO_BIN_EXE_parlor"))
            .env_clear()
            .env("PARLOR_SERVER__DATA_DIR", cli.data_dir())
            .env("PARLOR_HTTP__LISTEN", "127.0.0.1:0")
            .env("PARLOR_HTTP__MAX_CONNECTIONS", "1500")
            .env("PARLOR_TURN__LISTEN", "127.0.0.1:0")
            .env("PARLOR_TURN__MAX_ALLOCATIONS", "500")
            .env("PARLOR_ADMIN__METRICS_LISTEN", "127.0.0.1:0")
            .env("PARLOR_LOG__FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("sh starts");
        let lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
        let events = lines.map_while(|line| serde_json::from_str::<Value>(&line.ok()?).ok());
        let until_ready = events.take_while(|event| event["fields"]["message"] != "ready");
        let of_descriptors = |event: &Value| event["fields"]["descriptors"] == limit;
        let text: Vec<Value> = until_ready.filter(of_descriptors).collect();
        daemon.kill().expect("a kill");
        daemon.wait().expect("an end");
        assert!(!text.is_empty(), "the limit is not logged");
        let warnings = text.iter().filter(|event| event["level"] == "WARN").count();
        assert_eq!(warnings > 0, warned, "{limit}: {text:?}");
    }
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

fn room(number: usize) -> String {
    format!("room-{}", number / ROOM)
}

fn token(number: usize) -> String {
    let claims = Claims {
        sub: user(number),
        exp: parlor::clock::now().unix + 3600,
        ..Claims::default()
    };
    Tokens::new(&Auth::default(), &Secret::new(SECRET)).issue(&claims)
}

async fn connect(url: &str) -> Store {
    let options = PostgresOptions {
        url: url.parse().expect("a URL"),
        password: None,
        ca_file: None,
        max_connections: 16,
    };
    Store::connect(&options).await.expect("a server")
}

/// Fills a store in which everybody is a participant already.
async fn populate(store: Store, people: usize) {
    for number in (0..people).step_by(ROOM) {
        let new = NewRoom {
            id: Some(room(number)),
            name: room(number),
            ..NewRoom::default()
        };
        store.create_room(new).await.expect("a room");
    }
    let mut joining = JoinSet::new();
    for number in 0..people {
        let store = store.clone();
        joining.spawn(async move {
            let user = user(number);
            store.provision(&user, None).await.expect("a user");
            let joined = store.join(&room(number), &user, JoinGrant::None, 0).await;
            joined.expect("a participant");
        });
    }
    joining.join_all().await;
}

/// Everybody's connection, in order.
async fn open_all(server: SocketAddr, people: usize) -> Vec<Socket> {
    let turns = Arc::new(Semaphore::new(AT_A_TIME));
    let opening = (0..people).map(|number| {
        let turns = turns.clone();
        tokio::spawn(async move {
            let _turn = turns.acquire().await.expect("never closed");
            open(server, number).await
        })
    });
    let opening: Vec<_> = opening.collect();
    let mut sockets = Vec::with_capacity(people);
    for socket in opening {
        sockets.push(socket.await.expect("a connection"));
    }
    sockets
}

async fn open(server: SocketAddr, number: usize) -> Socket {
    let (room, token) = (room(number), token(number));
    let url = format!("ws://{server}/api/ws/rooms/{room}?token={token}");
    let small = WebSocketConfig::default()
        .read_buffer_size(4096)
        .write_buffer_size(0);
    let stream = TcpStream::connect(server).await.expect("a connection");
    let upgraded = client_async_with_config(url, stream, Some(small)).await;
    let mut socket = upgraded.expect("an upgrade").0;
    // A client that has no seat yet is not answered, and can't be reached by others.
    let ping = Message::Ping(Default::default());
    socket.send(ping).await.expect("sent");
    while !socket
        .next()
        .await
        .expect("open")
        .expect("a message")
        .is_pong()
    {}
    socket
}

/// Each sends a message to the next in their room, and each gets the one that was sent to them.
async fn each_receives_a_message_of_a_neighbour(sockets: Vec<Socket>) {
    let mut hearing = JoinSet::new();
    for (number, mut socket) in sockets.into_iter().enumerate() {
        hearing.spawn(async move {
            let first = number - number % ROOM;
            let next = first + (number + 1) % ROOM;
            let message = json!({"type": "offer", "from": user(number), "to": user(next),
                "roomId": room(number), "data": {}});
            socket.send(message.to_string().into()).await.expect("sent");
            let expected = user(first + (number + ROOM - 1) % ROOM);
            let offer = timeout(DEADLINE, offer(&mut socket)).await;
            assert_eq!(offer.expect("an offer in time")["from"], expected);
            socket
        });
    }
    let heard = hearing.join_all().await;
    drop(heard); // not before everybody has been reached
}

/// Returns the next offer, and skips the announcements before it.
async fn offer(socket: &mut Socket) -> Value {
    loop {
        let message = socket.next().await.expect("open").expect("a message");
        let Ok(text) = message.into_text() else {
            continue;
        };
        let message: Value = serde_json::from_str(&text).expect("JSON");
        if message["type"] == "offer" {
            return message;
        }
    }
}

/// Bytes of memory that the daemon has.
fn memory(daemon: &Daemon) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid()));
    let status = status.expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    1024 * kilobytes
        .expect("a figure")
        .parse::<u64>()
        .expect("a number")
}
