//! The load: as little work per message as possible, so that the server is what is measured.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{sleep, timeout};

use crate::server::{Person, Server};

/// Messages that each person keeps in flight.
const IN_FLIGHT: usize = 8;
const WARM_UP: Duration = Duration::from_secs(1);
const SPAN: Duration = Duration::from_secs(4);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections that are being opened at a time, where it is not a storm.
const ORDERLY: usize = 64;

/// CPU time per message while each message that arrives sends the next.
pub(crate) fn flood(server: &Server, people: usize) -> f64 {
    run(async {
        let connections = open_all(server, people, ORDERLY).await;
        let delivered = Rc::new(Cell::new(0u64));
        for (number, stream) in connections.into_iter().enumerate() {
            let message = masked(server.person(number).message.as_bytes());
            spawn_local(pass_on(stream, message, delivered.clone()));
        }
        sleep(WARM_UP).await;
        let (cpu, before) = (server.cpu(), delivered.get());
        sleep(SPAN).await;
        (server.cpu() - cpu) / 1e3 / (delivered.get() - before) as f64
    })
}

/// CPU time per connection while all are cut and all come back at once.
pub(crate) fn storm(server: &Server, people: usize) -> f64 {
    run(async {
        let connections = open_all(server, people, ORDERLY).await;
        sleep(WARM_UP).await;
        let cpu = server.cpu();
        drop(connections);
        let connections = open_all(server, people, people).await;
        // What the servers still have to tell each other's members belongs to the storm.
        sleep(WARM_UP).await;
        let spent = server.cpu() - cpu;
        drop(connections);
        spent / 1e3 / people as f64
    })
}

/// Memory that a connection adds while nothing happens.
pub(crate) fn idle(server: &Server, people: usize) -> f64 {
    run(async {
        let before = server.memory();
        let connections = open_all(server, people, ORDERLY).await;
        sleep(WARM_UP).await;
        let grown = server.memory() - before;
        drop(connections);
        grown / people as f64
    })
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    LocalSet::new().block_on(&runtime, work)
}

async fn open_all(server: &Server, people: usize, at_a_time: usize) -> Vec<TcpStream> {
    let turns = Rc::new(Semaphore::new(at_a_time));
    let opening: Vec<JoinHandle<TcpStream>> = (0..people)
        .map(|number| {
            let (turns, address, person) = (turns.clone(), server.address, server.person(number));
            spawn_local(async move {
                let _turn = turns.acquire().await.expect("never closed");
                open(address, person).await
            })
        })
        .collect();
    let mut connections = Vec::with_capacity(people);
    for connection in opening {
        let connection = timeout(CONNECT_TIMEOUT, connection).await;
        connections.push(connection.expect("in time").expect("a connection"));
    }
    connections
}

async fn open(address: std::net::SocketAddr, person: Person) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.set_nodelay(true).expect("an option");
    let request = format!(
        "GET {} HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        person.path
    );
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    // Byte by byte: a frame may follow at once.
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "no upgrade");
    stream
}

/// Sends the first messages, and one more for each that arrives.
async fn pass_on(mut stream: TcpStream, message: Vec<u8>, delivered: Rc<Cell<u64>>) {
    let batch = message.repeat(IN_FLIGHT);
    if stream.write_all(&batch).await.is_err() {
        return;
    }
    let (mut buffer, mut filled) = (vec![0; 16 * 1024], 0);
    loop {
        match stream.read(&mut buffer[filled..]).await {
            Ok(0) | Err(_) => return,
            Ok(read) => filled += read,
        }
        let (texts, used) = count_texts(&buffer[..filled]);
        buffer.copy_within(used..filled, 0);
        filled -= used;
        delivered.set(delivered.get() + texts as u64);
        // Announcements may come on top of the messages in flight.
        let answer = &batch[..message.len() * texts.min(IN_FLIGHT)];
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

/// How many whole messages (announcements aside) stand in these bytes, and the bytes they take.
fn count_texts(bytes: &[u8]) -> (usize, usize) {
    let (mut texts, mut used) = (0, 0);
    while let [first, length, rest @ ..] = &bytes[used..] {
        let (head, length) = match (*length, rest) {
            (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
            (126, _) => break,
            (short, _) => (2, usize::from(short)),
        };
        let Some(payload) = bytes.get(used + head..used + head + length) else {
            break;
        };
        texts += usize::from(*first == 0x81 && payload.starts_with(b"{\"type\":\"ice"));
        used += head + length;
    }
    (texts, used)
}

/// A client's text frame; a mask of zeros leaves the text as it is.
fn masked(text: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x81, 0x80 | 126];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}
