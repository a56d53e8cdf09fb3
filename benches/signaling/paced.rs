//! The load of clients that send at a steady rate.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use parlor::clock::{Mono, now};
use tokio::task::{spawn_local, yield_now};
use tokio::time::timeout;

use crate::client::{Client, Writer, masked};
use crate::load::{Plan, is_message, open_all, run};
use crate::server::{ROOM, Server};

/// Messages that all clients together send in a second.
const DIRECTED_PER_SECOND: u32 = 5_000;
const BROADCASTS_PER_SECOND: u32 = 4_000;
/// Of a broadcast beside a frozen reader: 900 KB a second in each of 25 rooms.
const BROADCAST_BYTES: usize = 5_600;
/// Connections that are opened at a time.
const ORDERLY: usize = 64;
/// Digits of the time in a message, in nanoseconds.
const STAMP_DIGITS: usize = 20;
/// The time after which a message that was not delivered is lost.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(10);

/// CPU time per directed message, and the median and the 99th percentile of its latency, at a steady rate.
pub(crate) fn directed(server: &Rc<Server>, plan: Plan) -> Vec<f64> {
    run(async {
        let clients = open_all(server, plan.people, ORDERLY).await;
        let latencies = Rc::new(RefCell::new(Vec::new()));
        let mut senders = Vec::new();
        for (number, mut client) in clients.into_iter().enumerate() {
            let placeholder = "0".repeat(STAMP_DIGITS);
            let message = masked(server.person(number).message(&placeholder).as_bytes());
            senders.push((client.writer(), message));
            let latencies = latencies.clone();
            spawn_local(async move {
                while client
                    .read(|text| latencies.borrow_mut().extend(latency(text)))
                    .await
                {}
            });
        }
        // Until the first frames are acknowledged, the memory of sessions grows.
        pace(&mut senders, DIRECTED_PER_SECOND, plan.settling).await;
        latencies.borrow_mut().clear();
        let cpu = server.cpu();
        pace(&mut senders, DIRECTED_PER_SECOND, plan.span).await;
        let cpu = server.cpu() - cpu;
        let mut latencies = latencies.take();
        latencies.sort_unstable();
        let percentile = |part: usize| latencies[latencies.len() * part / 100] as f64 / 1e3;
        vec![
            cpu / 1e3 / latencies.len() as f64,
            percentile(50),
            percentile(99),
        ]
    })
}

/// One client in each room never reads, and the others broadcast: their lost messages, the closed connections of
/// frozen clients in percent, and the server's memory in MB.
pub(crate) fn frozen(server: &Rc<Server>, plan: Plan) -> Vec<f64> {
    run(async {
        let mut clients = Vec::new();
        for number in 0..plan.people {
            let person = server.person(number);
            clients.push(match number % ROOM {
                0 => Client::open_frozen(server, &person).await,
                _ => Client::open(server, &person, None).await,
            });
        }
        let delivered = Rc::new(Cell::new(0u64));
        let (mut senders, mut frozen) = (Vec::new(), Vec::new());
        for (number, mut client) in clients.into_iter().enumerate() {
            if number % ROOM == 0 {
                frozen.push(client);
                continue;
            }
            let message = server.person(number).broadcast(BROADCAST_BYTES);
            senders.push((client.writer(), masked(message.as_bytes())));
            let delivered = delivered.clone();
            spawn_local(async move {
                let count =
                    |text: &[u8]| delivered.set(delivered.get() + u64::from(is_message(text)));
                while client.read(count).await {}
            });
        }
        let sent = pace(&mut senders, BROADCASTS_PER_SECOND, plan.span).await;
        let expected = sent * (ROOM as u64 - 2);
        let end = now().mono + DELIVERY_TIMEOUT;
        while delivered.get() < expected && now().mono < end {
            yield_now().await;
        }
        let memory = server.memory() / 1e6;
        let ended = frozen.iter_mut().map(|client| client.read_to_the_end());
        let ended = ended.map(|reading| timeout(DELIVERY_TIMEOUT, reading));
        let closed = join_all(ended)
            .await
            .iter()
            .filter(|end| end.is_ok())
            .count();
        let lost = expected as f64 - delivered.get() as f64;
        vec![lost, 100.0 * closed as f64 / frozen.len() as f64, memory]
    })
}

/// Sends messages one after the other for this time; returns their number.
async fn pace(senders: &mut [(Writer, Vec<u8>)], per_second: u32, time: Duration) -> u64 {
    let interval = Duration::from_secs(1) / per_second;
    let (start, mut sent) = (now().mono, 0);
    let mut due = start;
    while due.since(start) < time {
        for (writer, message) in &mut *senders {
            // Other tasks run meanwhile: a timer would be a millisecond late.
            while now().mono < due {
                yield_now().await;
            }
            stamp(message, now().mono);
            writer.send(message).await;
            due = due + interval;
            sent += 1;
        }
    }
    sent
}

/// Writes the time into a message with a stamp.
fn stamp(message: &mut [u8], now: Mono) {
    if let Some(start) = stamp_start(message) {
        let digits = format!("{:0width$}", now.0, width = STAMP_DIGITS);
        message[start..start + STAMP_DIGITS].copy_from_slice(digits.as_bytes());
    }
}

/// Nanoseconds since the stamp of a message.
fn latency(text: &[u8]) -> Option<u64> {
    let start = stamp_start(text).filter(|_| is_message(text))?;
    let digits = std::str::from_utf8(text.get(start..start + STAMP_DIGITS)?).ok()?;
    Some(now().mono.0.saturating_sub(digits.parse().ok()?))
}

fn stamp_start(text: &[u8]) -> Option<usize> {
    let key = b"\"candidate\":\"";
    let start = text.windows(key.len()).position(|window| window == key)?;
    Some(start + key.len())
}
