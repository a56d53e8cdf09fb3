//! Messages from one node to another, beside the same messages within one node.

use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use parlor::clock::{self, Mono};
use parlor::room::{Input, Outcome};
use parlor::service::{RoomHandle, frame_cost};
use tokio::task::JoinHandle;

use crate::nodes::{Client, Node};
use crate::server::Server;
use crate::{RUNS, median};

const PER_SECOND: u32 = 10_000;
const MESSAGE_BYTES: usize = 600;
const ROOMS: usize = 200;
const TIME: Duration = Duration::from_secs(5);
/// The last messages arrive within this time.
const REST: Duration = Duration::from_millis(500);
/// The name of the field with the time at which a message was sent.
const SENT: &[u8] = br#""sent":""#;

/// Delays in µs.
type Delays = Arc<Mutex<Vec<u64>>>;

/// The figures of one run.
struct Run {
    p50_us: f64,
    p99_us: f64,
    redis_us: f64,
}

/// Messages at even intervals are the worst case: nearly every one wakes up Redis and the receiver. A newcomer to a
/// room of five causes about 88 messages in bursts.
const AT_A_TIME: [u32; 2] = [1, 10];

pub(crate) async fn measure(server: &Server) {
    println!("messages of {MESSAGE_BYTES} bytes, {PER_SECOND} a second:");
    println!("  at a time   nodes   p50 µs   p99 µs   Redis, µs per message");
    for at_a_time in AT_A_TIME {
        measure_bursts(server, at_a_time).await;
    }
}

async fn measure_bursts(server: &Server, at_a_time: u32) {
    let mut alone = f64::NAN;
    for nodes in [1, 2, 10] {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            runs.push(run(server, nodes, at_a_time).await);
        }
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let (p50, p99) = (of(|run| run.p50_us), of(|run| run.p99_us));
        print!("  {at_a_time:>9} {nodes:>7} {p50:>8.0} {p99:>8.0}");
        if nodes == 1 {
            alone = p50;
            println!();
            continue;
        }
        println!(
            " {:>7.1} (at most 25); {:.0} µs added (less than 500)",
            of(|run| run.redis_us),
            p50 - alone
        );
    }
}

async fn run(server: &Server, count: usize, at_a_time: u32) -> Run {
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(if count == 1 {
            Node::alone()
        } else {
            Node::start(number, &server.url()).await
        });
    }
    let delays = Delays::default();
    let (mut senders, mut readers) = (Vec::new(), Vec::new());
    for number in 0..ROOMS {
        let room = format!("room-{number}");
        let (from, to) = (number % count, (number + 1 + number / count) % count);
        // Every node sends to every other one.
        let to = if from == to { (to + 1) % count } else { to };
        let receiver = nodes[to].join(&room, "bob").await;
        let sender = nodes[from].join(&room, "alice").await;
        readers.push(tokio::spawn(read(receiver, delays.clone())));
        senders.push(sender.handle);
    }
    // The receivers, who are older, are notified of the senders.
    tokio::time::sleep(REST).await;
    let before = server.cpu();
    let sending = tokio::task::spawn_blocking(move || send_all(senders, at_a_time));
    let (sent, senders) = sending.await.expect("the messages are sent");
    tokio::time::sleep(REST).await;
    let cpu = server.cpu() - before;
    let mut delays = std::mem::take(&mut *delays.lock().expect("no panic"));
    assert_eq!(delays.len(), sent, "messages are lost");
    delays.sort_unstable();
    let at = |share: usize| delays[delays.len() * share / 100] as f64;
    drop(senders);
    stop(readers, nodes).await;
    Run {
        p50_us: at(50),
        p99_us: at(99),
        redis_us: cpu / sent as f64,
    }
}

/// Sends messages at even intervals, some at a time, by all senders in turn.
fn send_all(senders: Vec<RoomHandle>, at_a_time: u32) -> (usize, Vec<RoomHandle>) {
    let interval = Duration::from_secs(1) * at_a_time / PER_SECOND;
    let (start, mut sent) = (clock::now().mono, 0);
    for sender in senders.iter().cycle() {
        let due = start + interval * (sent as u32 / at_a_time);
        let now = clock::now().mono;
        if now.since(start) >= TIME {
            break;
        }
        if now < due {
            std::thread::sleep(due.since(now));
        }
        let outcome = sender.receive(Input::Text(&message(clock::now().mono)));
        assert!(matches!(outcome, Outcome::Relayed { copies: 1, .. }));
        sent += 1;
    }
    (sent, senders)
}

/// A message that says when it was sent.
fn message(now: Mono) -> String {
    let mut text = format!(
        r#"{{"type":"ice-candidate","from":"alice","to":"bob","roomId":"r","data":{{"sent":"{:020}","x":""#,
        now.0
    );
    let missing = MESSAGE_BYTES.saturating_sub(text.len() + 3);
    text.extend(std::iter::repeat_n('x', missing));
    text.push_str(r#""}}"#);
    text
}

/// Takes what arrives, and notes how long each message took.
async fn read(client: Client, delays: Delays) {
    let mut frames: Vec<Bytes> = Vec::new();
    poll_fn(|context| {
        loop {
            let queue = client
                .outbox
                .take(context, usize::MAX, |frame| frames.push(frame.into()));
            if queue.close.is_some() {
                return Poll::Ready(());
            }
            if frames.is_empty() {
                return Poll::Pending;
            }
            let now = clock::now().mono;
            for frame in frames.drain(..) {
                client.outbox.sent(frame_cost(&frame));
                if let Some(sent) = sent(&frame) {
                    let delay = now.since(sent).as_micros() as u64;
                    delays.lock().expect("no panic").push(delay);
                }
            }
        }
    })
    .await;
}

fn sent(frame: &[u8]) -> Option<Mono> {
    let at = frame.windows(SENT.len()).position(|part| part == SENT)? + SENT.len();
    let digits = std::str::from_utf8(frame.get(at..at + 20)?).ok()?;
    digits.parse().ok().map(Mono)
}

/// Closes all connections, and ends the nodes.
async fn stop(readers: Vec<JoinHandle<()>>, nodes: Vec<Node>) {
    for reader in readers {
        reader.abort();
        let _ = reader.await;
    }
    for node in nodes {
        node.finish().await;
    }
}
